"""Local time of mixed windows: the clock of the newest step that a model sees, and the season of the target."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from foresense.signals import SignalError
from foresense.signals.mixed_windows import MixedWindows

#: The four static numbers that a calendar appends to those of the schema, in this order.
CALENDAR = ("hour_sin", "hour_cos", "month_sin", "month_cos")
_S_NS = 10**9


@dataclass(frozen=True, eq=False)
class LocalClock:
    """Local time of the newest step of each window.

    Attributes:
        hour: (n,), float64, 0 to below 24.
        month: (n,), int64, 1..12.
    """

    hour: np.ndarray
    month: np.ndarray

    @property
    def calendar(self) -> np.ndarray:
        """(n, 4), float32, in the order of CALENDAR; one turn in 24 hours and in 12 months from January."""
        turns = (self.hour / 24, (self.month - 1) / 12)
        waves = [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
        return np.stack(waves, axis=1).astype(np.float32)


def newest_steps_ns(windows: MixedWindows) -> np.ndarray:
    """(n,), int64: begin of the newest step of each window, nanoseconds since 1970 UTC.

    Raises:
        SignalError: the windows have no real time.
    """
    if not windows.has_time:
        raise SignalError(
            "the local clock of windows without real time: set train.calendar to false and features.family to summary"
        )
    steps_after = 1 if windows.ahead is None else windows.ahead  # an outcome's time is the end of the newest step
    return np.asarray(windows.times_ns - steps_after * round(windows.schemas[0].interval_s * _S_NS))


def clock_of(windows: MixedWindows) -> LocalClock:
    """The local clock of the newest step of each window.

    Raises:
        SignalError: the windows have no real time.
    """
    local = _local(newest_steps_ns(windows), windows.time_zone)
    hour = local.hour.to_numpy() + local.minute.to_numpy() / 60 + local.second.to_numpy() / 3600
    return LocalClock(hour.astype(np.float64), local.month.to_numpy().astype(np.int64))


def months_of_targets(windows: MixedWindows) -> np.ndarray:
    """(n,), int64, 1..12: local month of each target; the windows have real time."""
    return np.asarray(_local(windows.times_ns, windows.time_zone).month.to_numpy(), np.int64)


def _local(times_ns: np.ndarray, time_zone: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(times_ns, unit="ns", utc=True)).tz_convert(
        ZoneInfo(time_zone)  # pandas reads a name by pytz, whose changes of the clock end in 2037
    )
