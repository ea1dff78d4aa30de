"""Means and deviations of every minute of the week over training people: what the Actigraphy Transformer expects.

Ruan et al., AI foundation models for wearable movement data in mental health research, arXiv 2411.15240, standardise
each of the 10,080 columns across participants. Mean and deviation of a minute belong to one kind of counter: do not use
those of one device for another.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foresense.signals import SignalError, write_bytes
from foresense.signals.actigraphy import ACTIVITY_UNITS, MINUTES_PER_DAY, MINUTES_PER_WEEK, ActivityUnit
from foresense.windows.weeks import WeekError

_VERSION = 1


@dataclass(frozen=True, eq=False)
class ScaledWeeks:
    """Weeks as a model takes them.

    Attributes:
        values: (n_weeks, 10080), float32.
        scaled_by: `reference`: mean and deviation of training people. `itself`: each week by its own, which hides how
            active somebody is, and which no model was trained with; say so wherever a result is shown.
    """

    values: np.ndarray
    scaled_by: Literal["reference", "itself"]


@dataclass(frozen=True, eq=False)
class MinuteScaler:
    """Mean and deviation of each minute of the week.

    Attributes:
        mean: (10080,), float64, from Monday 00:00 on, in `unit`.
        deviation: (10080,), float64, > 0: population deviation, as scikit-learn's StandardScaler.
        unit: Of the activity.
        device: Which counter, and where it was worn.
        n_people: Whom it was fitted on.
        n_weeks: Of these people.
    """

    mean: np.ndarray
    deviation: np.ndarray
    unit: ActivityUnit
    device: str
    n_people: int
    n_weeks: int

    def scale(self, weeks: np.ndarray, weekdays: np.ndarray, unit: ActivityUnit) -> ScaledWeeks:
        """Subtract the mean and divide by the deviation of each minute of the week.

        Args:
            weeks: (n_weeks, 10080), activity.
            weekdays: (n_weeks,): day of the week of each first minute, 0 is Monday.
            unit: Of `weeks`.

        Raises:
            WeekError: another unit or shape, or a week with one value throughout.
        """
        if unit != self.unit:
            raise WeekError(
                f"weeks in {unit!r}, the reference was fitted on {self.unit!r} ({self.device}); fit one for this device"
            )
        _require_weeks(weeks)
        at = minutes_of_week(weekdays)
        return ScaledWeeks(((weeks - self.mean[at]) / self.deviation[at]).astype(np.float32), "reference")

    def save(self, path: Path) -> None:
        """Write a safetensors file; equal scalers give equal bytes."""
        from safetensors.numpy import save

        facts = {
            "version": _VERSION,
            "unit": self.unit,
            "device": self.device,
            "n_people": self.n_people,
            "n_weeks": self.n_weeks,
        }
        arrays = {"mean": self.mean, "deviation": self.deviation}
        write_bytes(path, save(arrays, metadata={"scaler": json.dumps(facts, sort_keys=True)}))  # one key: fixed order


def load_minute_scaler(path: Path) -> MinuteScaler:
    """Read what `MinuteScaler.save` wrote.

    Raises:
        FileNotFoundError: no such file.
        SignalError: no such scaler, another version, or numbers that cannot be right.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it is written when a model of weeks is trained")
    try:
        with safe_open(path, framework="numpy") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {}).get("scaler", "{}"))
            mean, deviation = file.get_tensor("mean"), file.get_tensor("deviation")
    except SafetensorError as error:
        raise SignalError(f"{path}: no scaler of minutes ({error}); it was cut off or is another file") from error
    if facts.get("version") != _VERSION or facts.get("unit") not in ACTIVITY_UNITS:
        raise SignalError(f"{path}: expected a scaler of minutes, version {_VERSION}, found {facts}; fit it again")
    shape = (MINUTES_PER_WEEK,)
    is_right = mean.shape == deviation.shape == shape and np.isfinite(mean).all() and np.isfinite(deviation).all()
    if not is_right or (deviation <= 0).any():
        raise SignalError(
            f"{path}: mean {mean.shape} and deviation {deviation.shape} must be {shape}, finite, and the deviation "
            "above 0; fit it again"
        )
    return MinuteScaler(mean, deviation, facts["unit"], facts["device"], facts["n_people"], facts["n_weeks"])


def fit_minute_scaler(
    weeks: np.ndarray,
    weekdays: np.ndarray,
    owners: np.ndarray,
    *,
    unit: ActivityUnit,
    device: str,
    pool_min: int = 1,
) -> MinuteScaler:
    """Fit on weeks of the training people, and no others.

    Args:
        weeks: (n_weeks, 10080), activity.
        weekdays: (n_weeks,): day of the week of each first minute, 0 is Monday.
        owners: (n_weeks,): person of each.
        unit: Of the activity.
        device: Which counter, and where it was worn.
        pool_min: Odd; mean and deviation of a minute are those of so many minutes around it. 1 is what the paper does
            with thousands of people; with dozens a minute at night can be 0 in every week.

    Raises:
        WeekError: fewer than two weeks, a week with one value throughout, or a minute without a deviation.
    """
    if len(weeks) < 2:
        raise WeekError(f"a scaler of minutes needs at least two weeks of training people, found {len(weeks)}")
    if pool_min < 1 or pool_min % 2 == 0:
        raise WeekError(f"pool_min is {pool_min}; expected an odd number of minutes, such as 1 or 31")
    _require_weeks(weeks)
    by_minute = np.empty_like(weeks, dtype=np.float64)
    np.put_along_axis(by_minute, minutes_of_week(weekdays), weeks, axis=1)
    means = by_minute.mean(axis=0)
    mean = _pooled(means, pool_min)
    between = np.maximum(_pooled(means**2, pool_min) - mean**2, 0.0)  # 0 for a minute alone
    deviation = np.sqrt(_pooled(by_minute.var(axis=0), pool_min) + between)
    still = np.flatnonzero(deviation == 0)
    if len(still):
        day, minute = divmod(int(still[0]), MINUTES_PER_DAY)
        raise WeekError(
            f"{len(still)} minute(s) of the week have the same activity in all {len(weeks)} weeks, the first on day "
            f"{day} (0 is Monday) at {minute // 60:02d}:{minute % 60:02d}; give more people, or set pool_min to more "
            f"than {pool_min}"
        )
    return MinuteScaler(mean, deviation, unit, device, len(np.unique(owners)), len(weeks))


def scale_by_itself(weeks: np.ndarray) -> ScaledWeeks:
    """Standardise each week by its own mean and deviation: only where there is no reference, and flagged.

    Args:
        weeks: (n_weeks, 10080), in one unit.

    Raises:
        WeekError: a week with one value throughout.
    """
    _require_weeks(weeks)
    mean, deviation = weeks.mean(axis=1, keepdims=True), weeks.std(axis=1, keepdims=True)
    return ScaledWeeks(((weeks - mean) / deviation).astype(np.float32), "itself")


def minutes_of_week(weekdays: np.ndarray) -> np.ndarray:
    """(n_weeks, 10080), int64: minute since Monday 00:00 of each minute of weeks that begin on these days."""
    return (weekdays[:, None] * MINUTES_PER_DAY + np.arange(MINUTES_PER_WEEK)) % MINUTES_PER_WEEK


def _pooled(of_minutes: np.ndarray, pool_min: int) -> np.ndarray:
    """Cyclic mean over `pool_min` minutes around each minute of the week."""
    half = pool_min // 2
    turned = np.concatenate([of_minutes[len(of_minutes) - half :], of_minutes, of_minutes[:half]])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(turned, pool_min).mean(axis=1))


def _require_weeks(weeks: np.ndarray) -> None:
    if weeks.ndim != 2 or weeks.shape[1] != MINUTES_PER_WEEK:
        raise WeekError(f"expected weeks (n_weeks, {MINUTES_PER_WEEK}), found {weeks.shape}")
    same = np.flatnonzero(weeks.max(axis=1, initial=-np.inf) == weeks.min(axis=1, initial=np.inf))
    if len(same):
        raise WeekError(
            f"week {same[0]} has the activity {weeks[same[0], 0]:g} throughout (deviation 0): the device was not worn; "
            "leave this week out"
        )
