"""Minutes of activity of several people: what a wrist or hip counter has recorded, and the days by the clock.

Two grids, because a day has 23 or 25 hours when the clock changes:

- **elapsed minutes** (`Minutes`) follow one another without a jump. What looks at neighbouring minutes uses them: sleep
  scoring, wear time, rest periods.
- **clock days** (`ClockDays`) put a minute where the wall clock shows it, 1440 a day. What compares days uses them:
  profiles, interdaily stability, weeks for a model. The hour that the clock skips in spring holds no value; an hour
  that it goes through twice in autumn holds the mean of both passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from foresense.signals.recording import Recording, SignalError

if TYPE_CHECKING:
    import pandas as pd

#: What one minute is: `counts` of a counter (zero crossings, digital integration), `mims` (Monitor-Independent Movement
#: Summary, John et al. 2019), `enmo` (Euclidean norm minus one, in g), or not known.
ActivityUnit = Literal["counts", "mims", "enmo", "unknown"]
ACTIVITY_UNITS: tuple[ActivityUnit, ...] = get_args(ActivityUnit)
MINUTES_PER_DAY = 1440
DAYS_PER_WEEK = 7
MINUTES_PER_WEEK = DAYS_PER_WEEK * MINUTES_PER_DAY
MINUTE_S = 60.0


@dataclass(frozen=True, eq=False)
class Minutes:
    """Activity of several people by elapsed minute, rows of one length.

    Attributes:
        people: Name of each row.
        values: (n_people, n_minutes), float64, >= 0, in `unit`; NaN where nothing was recorded, and after the end of
            a recording that is shorter than the longest.
        clock: (n_people, n_minutes), int64: minutes since 1970-01-01 00:00 of the wall clock, at each elapsed minute.
        unit: Of the values.

    Raises:
        SignalError: shapes that do not fit together, a value below zero or infinite, or another unit.
    """

    people: tuple[str, ...]
    values: np.ndarray
    clock: np.ndarray
    unit: ActivityUnit

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.clock.shape != self.values.shape or len(self.people) != len(self.values):
            raise SignalError(
                f"minutes: {len(self.people)} people, values {self.values.shape} and clock {self.clock.shape} do not "
                "fit together; expected (n_people, n_minutes) twice"
            )
        if self.unit not in ACTIVITY_UNITS:
            raise SignalError(f"minutes: unit {self.unit!r}; expected one of {', '.join(ACTIVITY_UNITS)}")
        bad = np.isinf(self.values) | (self.values < 0)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise SignalError(
                f"person {self.people[row]!r}: minute {column} is {self.values[row, column]:g}; expected a finite "
                "value of at least 0 (activity is not scaled here), or NaN where nothing was recorded"
            )

    def with_values(self, values: np.ndarray) -> Minutes:
        """The same people and times with other values, (n_people, n_minutes)."""
        return Minutes(self.people, values, self.clock, self.unit)


def gather_minutes(recordings: Sequence[Recording], unit: ActivityUnit) -> Minutes:
    """Put recordings of one channel into rows, each with the wall clock of its own time zone.

    Args:
        recordings: One for each person, a sample every 60 s.
        unit: Of their samples.

    Raises:
        SignalError: no recording, another interval, several channels, or a person twice.
    """
    names = tuple(one.asset for one in recordings)
    twice = sorted({name for name in names if names.count(name) > 1})
    if not recordings or twice:
        raise SignalError(f"minutes: expected one recording for each person, found {twice or 'none'} more than once")
    for one in recordings:
        if one.interval_s != MINUTE_S or len(one.channels) != 1:
            raise SignalError(
                f"recording {one.asset!r}: {len(one.channels)} channel(s) every {one.interval_s:g} s, expected one "
                "channel every 60 s; convert epochs to minutes first (windows.minutes.to_minutes)"
            )
    n_minutes = max(len(one.samples) for one in recordings)
    values = np.full((len(recordings), n_minutes), np.nan)
    clock = np.empty((len(recordings), n_minutes), np.int64)
    for row, one in enumerate(recordings):
        values[row, : len(one.samples)] = one.samples[:, 0]
        clock[row] = _clock(one.start, one.time_zone, n_minutes)
    return Minutes(people=names, values=values, clock=clock, unit=unit)


def _clock(start: pd.Timestamp, time_zone: str, n_minutes: int) -> np.ndarray:
    import pandas as pd

    elapsed = pd.date_range(start.tz_convert("UTC"), periods=n_minutes, freq="min")
    local_ns: np.ndarray = elapsed.tz_convert(time_zone).tz_localize(None).as_unit("ns").asi8
    return local_ns // 60_000_000_000


@dataclass(frozen=True, eq=False)
class ClockDays:
    """Activity of several people by day and minute of the wall clock.

    Attributes:
        people: Name of each row.
        values: (n_people, n_days, 1440), float64, in `unit`; NaN where there is no value: not recorded, not worn,
            skipped by the clock, or before the first and after the last day of a person.
        first_day: (n_people,), int64: days since 1970-01-01 of each person's day 0.
        unit: Of the values.
    """

    people: tuple[str, ...]
    values: np.ndarray
    first_day: np.ndarray
    unit: ActivityUnit

    @property
    def weekdays(self) -> np.ndarray:
        """(n_people, n_days), int64: 0 is Monday."""
        return (self.first_day[:, None] + np.arange(self.values.shape[1]) + 3) % DAYS_PER_WEEK  # 1970-01-01: Thursday

    def with_values(self, values: np.ndarray) -> ClockDays:
        """The same people and days with other values, (n_people, n_days, 1440)."""
        return ClockDays(self.people, values, self.first_day, self.unit)


def days_by_clock(minutes: Minutes, values: np.ndarray | None = None) -> ClockDays:
    """Lay elapsed minutes on the wall clock; a minute that the clock shows twice gets the mean of what is known of it.

    Args:
        minutes: With the clock of each elapsed minute.
        values: (n_people, n_minutes), float64: laid instead of the activity (states, a mask as 0 and 1).
    """
    laid = minutes.values if values is None else values
    first_day = minutes.clock[:, 0] // MINUTES_PER_DAY
    n_days = int((minutes.clock[:, -1] // MINUTES_PER_DAY - first_day).max()) + 1
    n_people, n_cells = len(minutes.people), n_days * MINUTES_PER_DAY
    cells = minutes.clock - first_day[:, None] * MINUTES_PER_DAY + np.arange(n_people)[:, None] * n_cells
    known = ~np.isnan(laid)
    sums = np.bincount(cells[known], weights=laid[known], minlength=n_people * n_cells)
    counts = np.bincount(cells[known], minlength=n_people * n_cells)
    means = np.divide(sums, counts, out=np.full(n_people * n_cells, np.nan), where=counts > 0)
    return ClockDays(minutes.people, means.reshape(n_people, n_days, MINUTES_PER_DAY), first_day, minutes.unit)
