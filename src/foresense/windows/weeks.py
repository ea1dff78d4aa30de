"""Weeks of 10,080 minutes by the wall clock, and what a week must be before a model may see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from foresense.config.actigraphy import WearConfig, WeekConfig
from foresense.signals.actigraphy import (
    ACTIVITY_UNITS,
    DAYS_PER_WEEK,
    MINUTES_PER_DAY,
    MINUTES_PER_WEEK,
    Minutes,
    days_by_clock,
)
from foresense.windows.wear import Wear, choi_worn


class WeekError(ValueError):
    """A week that a model cannot be given; the message lists all that is wrong with it."""


@dataclass(frozen=True, eq=False)
class Weeks:
    """Weeks of several people, from a midnight of the wall clock on.

    Attributes:
        values: (n_weeks, 10080), float64, activity as recorded, also where not worn; finite.
        owners: (n_weeks,), int64: row of the person.
        first_days: (n_weeks,), int64: days since 1970-01-01 of each first day.
        n_valid_days: (n_weeks,), int64: days with enough wear.
        wear_h: (n_weeks,): hours worn.
        n_filled: (n_weeks,), int64: missing minutes that hold the mean of the same minute on the other days.
    """

    values: np.ndarray
    owners: np.ndarray
    first_days: np.ndarray
    n_valid_days: np.ndarray
    wear_h: np.ndarray
    n_filled: np.ndarray

    @property
    def weekdays(self) -> np.ndarray:
        """(n_weeks,), int64: day of the week of the first minute, 0 is Monday."""
        return (self.first_days + 3) % DAYS_PER_WEEK  # 1970-01-01 was a Thursday

    def taken(self, keep: np.ndarray) -> "Weeks":
        """Only the weeks `keep` (positions or a mask)."""
        return Weeks(
            self.values[keep],
            self.owners[keep],
            self.first_days[keep],
            self.n_valid_days[keep],
            self.wear_h[keep],
            self.n_filled[keep],
        )


@dataclass(frozen=True)
class RefusedWeek:
    """A stretch of seven days that does not count.

    Attributes:
        owner: Row of the person.
        first_day: Days since 1970-01-01.
        reason: Why.
    """

    owner: int
    first_day: int
    reason: str


def cut_weeks(minutes: Minutes, wear: Wear, rules: WeekConfig | None = None) -> tuple[Weeks, tuple[RefusedWeek, ...]]:
    """Cut weeks of days, from the first whole day of each person to the last one.

    A week has 7 x 1440 minutes by the wall clock, so that a minute of the week is the same time of day for everybody.
    The hour that the clock skips in spring is missing, and filled, as any other missing minute up to
    `rules.max_missing_min`, with the mean of that minute of the day on the other days; a minute that the clock shows
    twice in autumn holds the mean of both. A week with more missing minutes, with fewer valid days than
    `wear.rules.min_valid_days`, or with one value throughout is refused.

    Args:
        minutes: As recorded, not masked by wear: a model of NHANES weeks has seen the zeros of a device that lay there.
        wear: Of the same minutes.
        rules: Absent: `WeekConfig()`.

    Returns:
        The weeks, by person and time, and those that were refused.
    """
    rules = rules or WeekConfig()
    days = days_by_clock(minutes)
    n_known = (~np.isnan(days.values)).sum(axis=2)
    is_whole = n_known >= MINUTES_PER_DAY - rules.max_missing_min
    kept: list[tuple[int, int]] = []
    refused: list[RefusedWeek] = []
    for person, whole in enumerate(np.flatnonzero(one) for one in is_whole):
        for day in range(whole[0], whole[-1] + 2 - DAYS_PER_WEEK, rules.stride_days) if len(whole) else ():
            week = slice(day, day + DAYS_PER_WEEK)
            n_valid = int(wear.is_valid_day[person, week].sum())
            if reason := _why_not(days.values[person, week], n_valid, wear.rules, rules):
                refused.append(RefusedWeek(person, int(days.first_day[person]) + day, reason))
            else:
                kept.append((person, day))
    return _weeks(days.values, days.first_day, wear, kept), tuple(refused)


def _why_not(week: np.ndarray, n_valid: int, worn: WearConfig, rules: WeekConfig) -> str:
    """Why a week (7, 1440) does not count; empty if it does."""
    n_missing = int(np.isnan(week).sum())
    if n_missing > rules.max_missing_min:
        return f"{n_missing} minutes are missing, at most {rules.max_missing_min} can be filled"
    if n_valid < worn.min_valid_days:
        return (
            f"{n_valid} day(s) with at least {worn.min_wear_h:g} h of wear, at least {worn.min_valid_days} are needed"
        )
    if np.nanmax(week) == np.nanmin(week):
        return f"activity is {np.nanmax(week):g} throughout: the device was not worn"
    return ""


def _weeks(days: np.ndarray, first_day: np.ndarray, wear: Wear, kept: Sequence[tuple[int, int]]) -> Weeks:
    owners = np.array([person for person, _ in kept], np.int64)
    begins = np.array([day for _, day in kept], np.int64)
    at = begins[:, None] + np.arange(DAYS_PER_WEEK)
    values = days[owners[:, None], at] if len(kept) else np.empty((0, DAYS_PER_WEEK, MINUTES_PER_DAY))
    missing = np.isnan(values)
    n_here = (~missing).sum(axis=1, keepdims=True)
    means = np.where(missing, 0.0, values).sum(axis=1, keepdims=True) / np.maximum(n_here, 1)
    filled = np.where(missing, np.broadcast_to(means, values.shape), values)
    return Weeks(
        values=filled.reshape(len(kept), MINUTES_PER_WEEK),
        owners=owners,
        first_days=first_day[owners] + begins,
        n_valid_days=wear.is_valid_day[owners[:, None], at].sum(axis=1),
        wear_h=wear.wear_h[owners[:, None], at].sum(axis=1),
        n_filled=missing.sum(axis=(1, 2)),
    )


@dataclass(frozen=True)
class WeekFacts:
    """What `check_week` found of a week that may be used.

    Attributes:
        weekday: Of the first minute, 0 is Monday.
        start_minute: Minute of the local day of the first minute.
        wear_h: Hours worn (Choi 2011).
        n_valid_days: Stretches of 24 h from the start on with enough wear.
    """

    weekday: int
    start_minute: int
    wear_h: float
    n_valid_days: int


def check_week(
    values: np.ndarray,
    *,
    unit: str,
    epoch_s: float,
    start: datetime,
    time_zone: str,
    rules: WearConfig | None = None,
) -> WeekFacts:
    """Check all that a model needs to be true of one week that somebody gives it.

    Args:
        values: (10080,): activity of each minute, not scaled.
        unit: One of counts, mims, enmo, unknown.
        epoch_s: Seconds of one value: 60.
        start: Time of the first value, with a zone, or local time of `time_zone`; a week begins at local midnight.
        time_zone: IANA name.
        rules: Of wear; absent: `WearConfig()`.

    Raises:
        WeekError: everything that is wrong, one sentence each.
    """
    rules = rules or WearConfig()
    given = np.asarray(values)
    problems = [*_wrong_time(start, time_zone)]
    if unit not in ACTIVITY_UNITS:
        problems.append(f"unit is {unit!r}, expected one of {', '.join(ACTIVITY_UNITS)}")
    if epoch_s != 60:
        problems.append(f"epochs are {epoch_s:g} s long, expected 60 s; convert them with windows.minutes.to_minutes")
    wear_h, n_valid = 0.0, 0
    if given.shape != (MINUTES_PER_WEEK,) or given.dtype.kind not in "iuf":
        problems.append(
            f"expected {MINUTES_PER_WEEK} numbers, one for each minute of a week, found shape {given.shape} of "
            f"{given.dtype}"
        )
    else:
        problems += _wrong_values(given.astype(np.float64))
        worn = choi_worn(given[None].astype(np.float64), rules)[0]
        hours = worn.reshape(DAYS_PER_WEEK, MINUTES_PER_DAY).sum(axis=1) / 60
        wear_h, n_valid = float(hours.sum()), int((hours >= rules.min_wear_h).sum())
        if n_valid < rules.min_valid_days:
            problems.append(
                f"worn on {n_valid} day(s) for at least {rules.min_wear_h:g} h ({wear_h:.0f} h of the week), at least "
                f"{rules.min_valid_days} are needed; record longer"
            )
    if problems:
        raise WeekError("this week cannot be used: " + "; ".join(problems))
    local = start.astimezone(ZoneInfo(time_zone)) if start.tzinfo else start
    return WeekFacts(local.weekday(), local.hour * 60 + local.minute, wear_h, n_valid)


def _wrong_values(values: np.ndarray) -> list[str]:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        return [f"{len(bad)} value(s) are not finite, the first at minute {bad[0]}; fill or leave out"]
    low = np.flatnonzero(values < 0)
    if len(low):
        return [
            f"{len(low)} value(s) are below zero, the first at minute {low[0]} ({values[low[0]]:g}); give activity as "
            "it was recorded, not scaled"
        ]
    if values.max() == values.min():
        return [f"activity is {values[0]:g} throughout (deviation 0): the device was not worn"]
    return []


def _wrong_time(start: datetime, time_zone: str) -> list[str]:
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [f"{time_zone!r} is no time zone; give an IANA name like 'Europe/Oslo', or 'UTC'"]
    local = start.astimezone(zone) if start.tzinfo else start
    if (local.hour, local.minute, local.second) != (0, 0, 0):
        return [f"the week begins at {local:%H:%M:%S} local time ({time_zone}), expected midnight"]
    return []
