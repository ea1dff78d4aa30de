"""When a counter was worn, and which days count."""

from dataclasses import dataclass

import numpy as np

from foresense.config.actigraphy import WearConfig
from foresense.signals.actigraphy import ClockDays, Minutes, days_by_clock
from foresense.windows.runs import Runs, counted_before, painted, runs_of


def choi_worn(counts: np.ndarray, rules: WearConfig | None = None) -> np.ndarray:
    """Wear time by Choi et al., Medicine and Science in Sports and Exercise 43, 2011, "New algorithm".

    Not worn is a stretch of at least 90 minutes without a count. Inside of it up to 2 minutes in a row may have counts
    (somebody moved the device), if there is no count in the 30 minutes before and after them; whether there is one is
    asked of the counts as they were recorded. Nothing is known before the first and after the last minute, and of a
    missing one: such minutes end no stretch and do not make it longer, and a missing minute is not worn.

    The published limits were found for counts of a uniaxial ActiGraph on the hip. On a wrist they take sleep for a
    device that lies there, and some counters write small counts when they do: set `window_min` and `idle` for those.

    Args:
        counts: (n_people, n_minutes), >= 0; NaN where nothing was recorded.
        rules: The limits; absent: the published ones.

    Returns:
        (n_people, n_minutes), bool: worn.
    """
    rules = rules or WearConfig()
    moved = counts > rules.idle  # NaN is not above
    n_before = counted_before(moved)
    spikes = runs_of(moved)
    short = spikes.taken(spikes.lengths <= rules.interruption_min)
    first = np.maximum(short.begins - rules.stream_min, 0)
    last = np.minimum(short.ends + rules.stream_min, counts.shape[1])
    n_around = (n_before[short.rows, short.begins] - n_before[short.rows, first]) + (
        n_before[short.rows, last] - n_before[short.rows, short.ends]
    )
    artefacts = painted(short.taken(n_around == 0), counts.shape)
    still = runs_of(~moved | artefacts)
    known = ~np.isnan(counts)
    n_known = counted_before(known)
    n_still = n_known[still.rows, still.ends] - n_known[still.rows, still.begins]
    return np.asarray(known & ~painted(still.taken(n_still >= rules.window_min), counts.shape))


def stuck(counts: np.ndarray, rules: WearConfig | None = None) -> np.ndarray:
    """(n_people, n_minutes), bool: inside of `rules.stuck_min` minutes or more of one value above `rules.idle`.

    Of no source: more than half of the counters of the set Depresjon hold one value for hours, such as 3, 81 or 457; on
    a wrist no two hours are the same to the count.

    Args:
        counts: (n_people, n_minutes); NaN where nothing was recorded, which ends a run.
        rules: Absent: `WearConfig()`.
    """
    rules = rules or WearConfig()
    same = runs_of((np.diff(counts, axis=1) == 0) & (counts[:, 1:] > rules.idle))  # k equal steps are k + 1 minutes
    long = same.taken(same.lengths >= rules.stuck_min - 1)
    return painted(Runs(long.rows, long.begins, long.ends + 1), counts.shape)


@dataclass(frozen=True, eq=False)
class Wear:
    """What was worn of recordings of several people.

    Attributes:
        worn: (n_people, n_minutes), bool, by elapsed minute.
        wear_h: (n_people, n_days): hours worn of each day of the wall clock; a day with a clock change has up to 23
            in spring, and the two passages of one hour count once in autumn.
        is_valid_day: (n_people, n_days), bool: worn for at least `rules.min_wear_h` hours.
        not_worn: Stretches that were recorded and not worn, by elapsed minute.
        rules: The limits.
    """

    worn: np.ndarray
    wear_h: np.ndarray
    is_valid_day: np.ndarray
    not_worn: Runs
    rules: WearConfig

    @property
    def n_valid_days(self) -> np.ndarray:
        """(n_people,), int64."""
        return np.asarray(self.is_valid_day.sum(axis=1))

    def reasons(self) -> np.ndarray:
        """(n_people,), str: why a person has too few days that count; empty where there are enough."""
        return np.array(
            [
                f"{n} day(s) with at least {self.rules.min_wear_h:g} h of wear, at least "
                f"{self.rules.min_valid_days} are needed"
                if n < self.rules.min_valid_days
                else ""
                for n in self.n_valid_days.tolist()
            ],
            dtype=object,
        )


def find_wear(minutes: Minutes, rules: WearConfig | None = None) -> Wear:
    """Find wear time by `choi_worn` and `stuck`, and the days that count."""
    rules = rules or WearConfig()
    worn = choi_worn(minutes.values, rules) & ~stuck(minutes.values, rules)
    by_clock = days_by_clock(minutes, worn.astype(np.float64)).values
    wear_h = np.nansum(by_clock, axis=2) / 60
    not_worn = runs_of(~worn & ~np.isnan(minutes.values))
    return Wear(worn, wear_h, wear_h >= rules.min_wear_h, not_worn, rules)


def worn_minutes(minutes: Minutes, wear: Wear) -> Minutes:
    """The same minutes, NaN where the counter was not worn."""
    return minutes.with_values(np.where(wear.worn, minutes.values, np.nan))


def valid_days(minutes: Minutes, wear: Wear) -> ClockDays:
    """Activity by the wall clock on days that count, NaN where not worn and on all other days."""
    days = days_by_clock(minutes, np.where(wear.worn, minutes.values, np.nan))
    return days.with_values(np.where(wear.is_valid_day[:, :, None], days.values, np.nan))
