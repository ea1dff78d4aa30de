"""Labelled recordings of people: stretches of samples with a label for each, and the windows cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foresense.signals.files import read_json, replaced_folder, write_json
from foresense.signals.recording import SignalError

if TYPE_CHECKING:
    import pandas as pd

#: Label of a sample that nobody has labelled.
UNLABELLED = -1
_NPY = (1, 0)  # fixed version of the .npy header, so that equal arrays are equal bytes


@dataclass(frozen=True, eq=False)
class LabelledRecording:
    """What one person wore: stretches of samples at one rate, end to end, and a label for each sample.

    Attributes:
        person: Name of the person.
        samples: (n_samples, n_channels), float32, physical units, finite.
        labels: (n_samples,), int16: index into the classes of the set; -1 where there is no label.
        stretches: (n_stretches,), int64, rising from 0: first sample of each stretch; nothing is known between two.
        start_ns: (n_stretches,), int64: time of that sample, nanoseconds since 1970 UTC; 0 in a set without time.

    Raises:
        SignalError: shapes that do not fit together, or a sample that is not finite.
    """

    person: str
    samples: np.ndarray
    labels: np.ndarray
    stretches: np.ndarray
    start_ns: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.samples)
        if self.samples.ndim != 2 or len(self.labels) != n or len(self.stretches) != len(self.start_ns):
            raise SignalError(
                f"person {self.person!r}: samples {self.samples.shape}, {len(self.labels)} labels, "
                f"{len(self.stretches)} stretches with {len(self.start_ns)} start times do not fit together"
            )
        if n and (self.stretches[0] != 0 or np.any(np.diff(self.stretches) <= 0) or self.stretches[-1] >= n):
            raise SignalError(f"person {self.person!r}: stretches must rise from 0 and begin inside {n} samples")
        if not np.isfinite(self.samples).all():
            row = int(np.argwhere(~np.isfinite(self.samples))[0, 0])
            raise SignalError(f"person {self.person!r}: sample {row} is not finite; leave it out and begin a stretch")

    @property
    def ends(self) -> np.ndarray:
        """(n_stretches,), int64: the sample after each stretch."""
        return np.append(self.stretches[1:], len(self.samples))


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Labelled recordings of several people.

    Attributes:
        people: In the order of their names.
        channels: Name of each column of the samples.
        units: Unit of each column.
        rate_hz: Samples per second.
        classes: Name of each label.
        has_time: Whether the start times of stretches are real; else there is no order between them.
        time_zone: IANA name of local time.
    """

    people: tuple[LabelledRecording, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    classes: tuple[str, ...]
    has_time: bool
    time_zone: str = "UTC"


def write_labelled(folder: Path, found: LabelledSet, *, facts: dict[str, object]) -> None:
    """Write a folder of arrays, one set of them for each person, and `manifest.json`; complete or absent.

    Args:
        folder: Replaced as a whole.
        found: The people.
        facts: Deterministic facts for the manifest; no clock times.
    """
    with replaced_folder(folder) as beside:
        for number, one in enumerate(found.people):
            for name in ("samples", "labels", "stretches", "start_ns"):
                write_array(beside / f"{number:04d}-{name}.npy", getattr(one, name))
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "kind": "labelled",
                "people": [one.person for one in found.people],
                "channels": list(found.channels),
                "units": list(found.units),
                "rate_hz": found.rate_hz,
                "classes": list(found.classes),
                "has_time": found.has_time,
                "time_zone": found.time_zone,
                **facts,
            },
        )


def read_labelled(folder: Path) -> LabelledSet:
    """Read what `write_labelled` wrote, samples memory-mapped.

    Raises:
        FileNotFoundError: no manifest: the step `ingest` has not finished.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense ingest {folder.name}` first")
    content = read_json(manifest)
    people = tuple(
        LabelledRecording(
            person=person,
            samples=np.load(folder / f"{number:04d}-samples.npy", mmap_mode="r", allow_pickle=False),
            labels=np.load(folder / f"{number:04d}-labels.npy", allow_pickle=False),
            stretches=np.load(folder / f"{number:04d}-stretches.npy", allow_pickle=False),
            start_ns=np.load(folder / f"{number:04d}-start_ns.npy", allow_pickle=False),
        )
        for number, person in enumerate(content["people"])
    )
    return LabelledSet(
        people=people,
        channels=tuple(content["channels"]),
        units=tuple(content["units"]),
        rate_hz=content["rate_hz"],
        classes=tuple(content["classes"]),
        has_time=content["has_time"],
        time_zone=content["time_zone"],
    )


@dataclass(frozen=True, eq=False)
class LabelledWindows:
    """Windows of labelled recordings: offsets into one array of samples, each with its label, person and sequence.

    Attributes:
        samples: (n_rows, n_channels), float32, physical units (memory-mapped when read from disk).
        starts: (n,), int64: row where each window begins; by person, then by time.
        labels: (n,), int64: index into `classes`.
        owners: (n,), int64: index into `people`.
        sequences: (n,), int64, never falling: windows with one number follow one another without a gap.
        times_ns: (n,), int64: begin of each window, nanoseconds since 1970 UTC; 0 in a set without time.
        is_apart: (n,), bool: begins where the one before it in its sequence ends, or is the first; these windows
            together hold every sample once, and are what is judged.
        folds: (n_people,), int64: number of the group of people that each person belongs to.
        length: Samples of a window.
        people: Their names.
        channels: Name of each column.
        units: Unit of each column.
        rate_hz: Samples per second.
        classes: Name of each label.
        has_time: Whether times are real.
        time_zone: IANA name of local time.
    """

    samples: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    owners: np.ndarray
    sequences: np.ndarray
    times_ns: np.ndarray
    is_apart: np.ndarray
    folds: np.ndarray
    length: int
    people: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    classes: tuple[str, ...]
    has_time: bool
    time_zone: str

    @property
    def n_folds(self) -> int:
        """Groups of people."""
        return int(self.folds.max()) + 1

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """Copy windows: (n, length, n_channels), float32, physical units.

        Args:
            numbers: (n,), int: which windows.
        """
        view = np.lib.stride_tricks.sliding_window_view(self.samples, self.length, axis=0)
        return np.ascontiguousarray(view[self.starts[numbers]].transpose(0, 2, 1))

    def of_people(self, folds: Sequence[int]) -> np.ndarray:
        """(k,), int64: numbers of the windows of the people in these groups."""
        return np.flatnonzero(np.isin(self.folds[self.owners], folds))

    def local_times(self) -> pd.DatetimeIndex:
        """(n,): begin of each window in local time.

        Raises:
            SignalError: a set without time.
        """
        import pandas as pd

        if not self.has_time:
            raise SignalError("these windows have no real time: leave features of the clock and smoothing out")
        return pd.to_datetime(self.times_ns, unit="ns", utc=True).tz_convert(self.time_zone)


_ARRAYS = ("samples", "starts", "labels", "owners", "sequences", "times_ns", "is_apart", "folds")
_FACTS = ("length", "people", "channels", "units", "rate_hz", "classes", "has_time", "time_zone")


def write_labelled_windows(folder: Path, windows: LabelledWindows) -> None:
    """Write as `open_labelled_windows` reads; equal windows give equal bytes. `folder` is created."""
    folder.mkdir(parents=True)
    for name in _ARRAYS:
        write_array(folder / f"{name}.npy", getattr(windows, name))
    write_json(folder / "index.json", {name: getattr(windows, name) for name in _FACTS})


def open_labelled_windows(folder: Path) -> LabelledWindows:
    """Open windows, samples memory-mapped.

    Raises:
        FileNotFoundError: the step `window` has not finished.
    """
    if not (folder / "index.json").is_file():
        raise FileNotFoundError(
            f"{folder / 'index.json'}: not there; run `foresense window {folder.parent.name}` first"
        )
    index = read_json(folder / "index.json")
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r" if name == "samples" else None, allow_pickle=False)
        for name in _ARRAYS
    }
    facts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in index.items()}
    return LabelledWindows(**arrays, **facts)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array of any shape as `.npy` with a header of a fixed version."""
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=_NPY, allow_pickle=False)
