"""The wrist in the catalog: statistics of three axes of acceleration, and five numbers of local time."""

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from foresense.features.contexts import Contexts, Features
from foresense.features.statistical import NAMES, UNITS, statistical_features
from foresense.signals import SignalError

VERSION = 1  # of the numbers of both families
ORDER = 2  # of the list: a version of `statistical.NAMES`
AXES = ("x", "y", "z")
TIME_NAMES = ("hour", "minute", "weekday", "is_weekend", "quarter_of_day")


def statistical(contexts: Contexts) -> Features:
    """The 56 statistical features of each context.

    Args:
        contexts: (n, context, 3), three channels in g whose names are x, y, z or end in _x, _y, _z, in any order.

    Returns:
        Features named as in `statistical.NAMES[2]`.

    Raises:
        SignalError: other channels or units.
        ValueError: contexts that `statistical.measure_statistics` refuses.
    """
    _require_g(contexts)
    axes = [channel.rpartition("_")[2] for channel in contexts.channels]
    if sorted(axes) != list(AXES):
        raise SignalError(
            f"features.families: wrist_statistics expects channels named x, y, z (or ending in _x, _y, _z), found "
            f"{list(contexts.channels)}; name them so in the source"
        )
    samples = contexts.samples[..., [axes.index(axis) for axis in AXES]]
    values = statistical_features(samples, 1 / contexts.interval_s, version=ORDER)
    return Features(names=NAMES[ORDER], units=UNITS[ORDER], values=values)


def time_of_day(contexts: Contexts) -> Features:
    """Local time of the newest sample of each context, in the five numbers of the published patch transformer.

    `hour` = whole hour / 24, `minute` = whole minute / 60, `weekday` = day / 7 from Monday 0, `is_weekend` 0 or 1
    (Saturday, Sunday), `quarter_of_day` = whole hour // 6, 0..3. The source takes UTC; a day is lived in local time.

    Args:
        contexts: Only their times are read.

    Returns:
        5 features without unit ("1").
    """
    local = pd.DatetimeIndex(pd.to_datetime(contexts.issued_s, unit="s", utc=True)).tz_convert(
        ZoneInfo(contexts.time_zone)
    )
    hour, weekday = local.hour.to_numpy(), local.dayofweek.to_numpy()
    columns = (hour / 24, local.minute.to_numpy() / 60, weekday / 7, weekday >= 5, hour // 6)
    values = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    return Features(names=TIME_NAMES, units=("1",) * len(TIME_NAMES), values=values)


def _require_g(contexts: Contexts) -> None:
    if contexts.units != ("g", "g", "g"):
        given = [f"{name} ({unit})" for name, unit in zip(contexts.channels, contexts.units, strict=True)]
        raise SignalError(
            f"features.families: wrist_statistics expects three channels in g, found {given}; leave out the others, "
            "and give the unit g in the source (m/s2: divide by 9.80665)"
        )
