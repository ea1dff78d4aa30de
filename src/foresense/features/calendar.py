"""Calendar features: where in the day, the week and the year a forecast is issued, in local time."""

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from foresense.features.contexts import Contexts, Features

VERSION = 1
NAMES = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "day_of_year_sin", "day_of_year_cos")


def calendar(contexts: Contexts) -> Features:
    """Sine and cosine of the local hour, weekday and day of year of the newest sample of each context.

    The hour turns once in 24 h of the wall clock (minutes and seconds count), the weekday once in 7 whole days from
    Monday, the day of year once in the days of its own year from 1 January. Local time follows the zone's changes
    of the clock.

    Args:
        contexts: (n, context, n_channels); only their times are read.

    Returns:
        6 features without unit ("1").
    """
    local = pd.DatetimeIndex(pd.to_datetime(contexts.issued_s, unit="s", utc=True)).tz_convert(
        ZoneInfo(contexts.time_zone)  # pandas reads a name by pytz, whose changes of the clock end in 2037
    )
    hour = local.hour.to_numpy() + local.minute.to_numpy() / 60 + local.second.to_numpy() / 3600
    days = np.where(local.is_leap_year, 366, 365)
    turns = (hour / 24, local.dayofweek.to_numpy() / 7, (local.dayofyear.to_numpy() - 1) / days)
    values = [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
    return Features(names=NAMES, units=("1",) * len(NAMES), values=np.stack(values, axis=1))
