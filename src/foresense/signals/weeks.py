"""Weeks of minutes of several people as a model takes them, and who is held out in which turn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresense.signals.actigraphy import ACTIVITY_UNITS, MINUTES_PER_WEEK, ActivityUnit, Minutes
from foresense.signals.files import read_json, write_json
from foresense.signals.recording import SignalError

#: What a person is for in a turn.
TRAIN, VALIDATION, TEST = 0, 1, 2
_ARRAYS = ("values", "owners", "first_days", "labels", "roles")
_NPY = (1, 0)  # fixed version of the .npy header, so that equal arrays are equal bytes
_DAYS = 3  # 1970-01-01 was a Thursday, and Monday is 0


@dataclass(frozen=True, eq=False)
class WeekWindows:
    """Weeks by the wall clock, each of one person.

    Attributes:
        values: (n_weeks, 10080), float32: activity as recorded, in `unit`.
        owners: (n_weeks,), int64: row of the person.
        first_days: (n_weeks,), int64: days since 1970-01-01 of the first day.
        people: Names; what is known of a person belongs to all weeks of the person.
        labels: (n_people,), int64: 1 is `positive`.
        roles: (n_turns, n_people), int8: TRAIN, VALIDATION or TEST.
        unit: Of the activity.
        positive: Name of label 1.
        device: Which counter, and where it was worn.

    Raises:
        SignalError: arrays that do not fit together.
    """

    values: np.ndarray
    owners: np.ndarray
    first_days: np.ndarray
    people: tuple[str, ...]
    labels: np.ndarray
    roles: np.ndarray
    unit: ActivityUnit
    positive: str
    device: str

    def __post_init__(self) -> None:
        n, n_people = len(self.owners), len(self.people)
        fits = self.values.shape == (n, MINUTES_PER_WEEK) and len(self.first_days) == n
        if not fits or len(self.labels) != n_people or self.roles.shape[1:] != (n_people,):
            raise SignalError(
                f"weeks {self.values.shape}, {n} owners, {len(self.first_days)} first days, {n_people} people, "
                f"{len(self.labels)} labels and roles {self.roles.shape} do not fit together"
            )

    @property
    def weekdays(self) -> np.ndarray:
        """(n_weeks,), int64: day of the week of the first minute, 0 is Monday."""
        return (self.first_days + _DAYS) % 7

    @property
    def week_labels(self) -> np.ndarray:
        """(n_weeks,), int64: label of each week's person."""
        return np.asarray(self.labels[self.owners])

    def people_of(self, turn: int, role: int) -> np.ndarray:
        """(n,), int64: rows of the people with a role in a turn."""
        return np.flatnonzero(self.roles[turn] == role)

    def weeks_of(self, turn: int, role: int) -> np.ndarray:
        """(n,), int64: rows of the weeks of these people."""
        return np.flatnonzero(self.roles[turn][self.owners] == role)

    def minutes(self) -> Minutes:
        """Each week as if it were a recording of its own, on the wall clock: what is asked of a week is asked of it."""
        names = tuple(
            f"{self.people[owner]} from day {day}" for owner, day in zip(self.owners, self.first_days, strict=True)
        )
        clock = self.first_days[:, None] * 1440 + np.arange(MINUTES_PER_WEEK)
        return Minutes(names, self.values.astype(np.float64), clock, self.unit)


def write_week_windows(folder: Path, windows: WeekWindows) -> None:
    """Write arrays and `weeks.json` into a new folder; equal windows are equal bytes."""
    folder.mkdir(parents=True)
    for name in _ARRAYS:
        with (folder / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array(
                file, np.ascontiguousarray(getattr(windows, name)), version=_NPY, allow_pickle=False
            )
    facts = {
        "people": list(windows.people),
        "unit": windows.unit,
        "positive": windows.positive,
        "device": windows.device,
    }
    write_json(folder / "weeks.json", {"schema_version": 1, **facts})


def open_week_windows(folder: Path) -> WeekWindows:
    """Open what `write_week_windows` wrote, values memory-mapped.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        SignalError: another unit than a known one.
    """
    if not (folder / "weeks.json").is_file():
        raise FileNotFoundError(
            f"{folder / 'weeks.json'}: not there; run `foresense window {folder.parent.name}` first"
        )
    facts = read_json(folder / "weeks.json")
    if facts["unit"] not in ACTIVITY_UNITS:
        raise SignalError(
            f"{folder / 'weeks.json'}: unit {facts['unit']!r}, expected one of {', '.join(ACTIVITY_UNITS)}"
        )
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    return WeekWindows(
        **arrays,
        people=tuple(facts["people"]),
        unit=facts["unit"],
        positive=facts["positive"],
        device=facts["device"],
    )
