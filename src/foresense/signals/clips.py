"""Machines whose condition is known, by sound, vibration or image; and the clips that are cut from them.

A recording is one stretch of samples of one machine, or one image of one module. A clip is what a detector judges: a
stretch of a recording, or an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foresense.signals.files import read_json, replaced_folder, write_json
from foresense.signals.labelled import write_array
from foresense.signals.recording import SignalError

#: Label of a recording whose condition nobody knows.
UNKNOWN = -1
#: Number of the normal condition: it is the first of the classes.
NORMAL = 0

ClipPart = Literal["train", "validation", "test"]
#: Parts in the order of their numbers in `Clips.parts`; UNUSED clips belong to none of them.
CLIP_PARTS: tuple[ClipPart, ...] = ("train", "validation", "test")
UNUSED = -1


@dataclass(frozen=True, eq=False)
class ConditionSet:
    """Recordings of machines, each in one condition, end to end in one array.

    Attributes:
        samples: (n_rows,), float32: sound or vibration in `unit`; or (n_rows, height, width), uint8: a grey image each.
        starts: (n_recordings,), int64, rising from 0: first row of each recording.
        names: Of each recording: its file, or what a simulation calls it.
        assets: What each recording is of: a module, a bearing, a machine. An asset may have several recordings.
        labels: (n_recordings,), int64: index into `classes`, or UNKNOWN.
        groups: What a split can hold out -> its value for each recording: `{"load": ("0", "0", "3", ...)}`.
        classes: Names of the conditions, the normal one first.
        unit: Of the samples.
        rate_hz: Samples per second; None for images.

    Raises:
        SignalError: parts that do not fit together, or a sample that is not finite.
    """

    samples: np.ndarray
    starts: np.ndarray
    names: tuple[str, ...]
    assets: tuple[str, ...]
    labels: np.ndarray
    groups: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...]
    unit: str
    rate_hz: float | None

    def __post_init__(self) -> None:
        counts = {"starts": len(self.starts), "assets": len(self.assets), "labels": len(self.labels)}
        counts |= {f"group {name!r}": len(values) for name, values in self.groups.items()}
        n, n_rows = len(self.names), len(self.samples)
        wrong = {name: count for name, count in counts.items() if count != n}
        if not n or wrong:
            raise SignalError(f"{n} recordings, but {wrong or 'at least one is needed'}; one value for each recording")
        if self.starts[0] != 0 or np.any(np.diff(self.starts) <= 0) or self.starts[-1] >= n_rows:
            raise SignalError(f"recordings must begin at rows that rise from 0 and lie inside the {n_rows} samples")
        n_axes = 1 if self.rate_hz is not None else 3
        if self.samples.ndim != n_axes:
            raise SignalError(
                f"samples: expected {n_axes} axes ({'sound or vibration' if n_axes == 1 else 'images'}), found shape "
                f"{self.samples.shape} with rate_hz {self.rate_hz}"
            )
        if np.any((self.labels < UNKNOWN) | (self.labels >= len(self.classes))):
            raise SignalError(f"labels: expected {UNKNOWN} or an index into {self.classes}, found {set(self.labels)}")
        if self.rate_hz is not None and not np.isfinite(self.samples).all():
            row = int(np.argmin(np.isfinite(self.samples)))
            owner = int(np.searchsorted(self.starts, row, side="right")) - 1
            raise SignalError(f"recording {self.names[owner]!r}: sample {row - self.starts[owner]} is not finite")

    @property
    def ends(self) -> np.ndarray:
        """(n_recordings,), int64: the row after each recording."""
        return np.append(self.starts[1:], len(self.samples))

    @property
    def is_image(self) -> bool:
        """Whether a row is an image."""
        return self.rate_hz is None

    def group(self, name: str) -> np.ndarray:
        """(n_recordings,), str: value of a group for each recording.

        Raises:
            SignalError: no such group.
        """
        if name not in self.groups:
            raise SignalError(f"no group {name!r} of recordings (known: {', '.join(sorted(self.groups)) or 'none'})")
        return np.asarray(self.groups[name])


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips of recordings: places in their samples, never copies.

    Attributes:
        found: The recordings.
        starts: (n,), int64: first row of each clip; by recording, then by time.
        owners: (n,), int64: recording that each clip lies in.
        parts: (n,), int64: index into CLIP_PARTS, or UNUSED.
        length: Rows of a clip; 1 for images.
        hop: Rows from one clip to the next of the same recording.
    """

    found: ConditionSet
    starts: np.ndarray
    owners: np.ndarray
    parts: np.ndarray
    length: int
    hop: int

    @property
    def labels(self) -> np.ndarray:
        """(n,), int64: condition of each clip, or UNKNOWN."""
        return np.asarray(self.found.labels[self.owners])

    @property
    def assets(self) -> np.ndarray:
        """(n,), str: asset of each clip."""
        return np.asarray(np.asarray(self.found.assets)[self.owners])

    @property
    def hop_s(self) -> float | None:
        """Seconds from one clip to the next; None for images."""
        return None if self.found.rate_hz is None else self.hop / self.found.rate_hz

    @property
    def offsets(self) -> np.ndarray:
        """(n,), int64: rows from the begin of its recording to each clip."""
        return np.asarray(self.starts - self.found.starts[self.owners])

    def of(self, part: ClipPart) -> np.ndarray:
        """(k,), int64: numbers of the clips of a part."""
        return np.flatnonzero(self.parts == CLIP_PARTS.index(part))

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """Copy clips: (k, length) samples, or (k, height, width) grey levels.

        Args:
            numbers: (k,), int: which clips.
        """
        if self.found.is_image:
            return np.asarray(self.found.samples[self.starts[numbers]])
        view = np.lib.stride_tricks.sliding_window_view(self.found.samples, self.length)
        return np.asarray(view[self.starts[numbers]])


_FACTS = ("names", "assets", "classes", "unit", "rate_hz")


def write_conditions(folder: Path, found: ConditionSet, *, facts: Mapping[str, object]) -> None:
    """Write arrays and `manifest.json`; complete or absent, and equal sets give equal bytes.

    Args:
        folder: Replaced as a whole.
        found: The recordings.
        facts: Deterministic facts for the manifest; no clock times.
    """
    with replaced_folder(folder) as beside:
        _write_set(beside, found, facts)


def read_conditions(folder: Path) -> ConditionSet:
    """Read what `write_conditions` wrote, samples memory-mapped.

    Raises:
        FileNotFoundError: no manifest: the step `ingest` has not finished.
    """
    return _read_set(folder, "ingest", folder.name)


def write_clips(folder: Path, clips: Clips) -> None:
    """Write as `open_clips` reads; equal clips give equal bytes. `folder` is created."""
    folder.mkdir(parents=True)
    _write_set(folder, clips.found, {"length": clips.length, "hop": clips.hop})
    for name in ("starts", "owners", "parts"):
        write_array(folder / f"clip_{name}.npy", getattr(clips, name))


def open_clips(folder: Path) -> Clips:
    """Open clips, samples memory-mapped.

    Raises:
        FileNotFoundError: the step `window` has not finished.
    """
    found = _read_set(folder, "window", folder.parent.name)
    facts = read_json(folder / "manifest.json")
    arrays = {name: np.load(folder / f"clip_{name}.npy", allow_pickle=False) for name in ("starts", "owners", "parts")}
    return Clips(found=found, length=facts["length"], hop=facts["hop"], **arrays)


def _write_set(folder: Path, found: ConditionSet, facts: Mapping[str, object]) -> None:
    for name in ("samples", "starts", "labels"):
        write_array(folder / f"{name}.npy", getattr(found, name))
    content: dict[str, Any] = {"schema_version": 1, "kind": "conditions"}
    content |= {name: getattr(found, name) for name in _FACTS} | {"groups": dict(found.groups)}
    write_json(folder / "manifest.json", {**content, **facts})


def _read_set(folder: Path, step: str, pipeline: str) -> ConditionSet:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense {step} {pipeline}` first")
    content = read_json(manifest)
    facts: dict[str, Any] = {
        name: tuple(content[name]) if isinstance(content[name], list) else content[name] for name in _FACTS
    }
    return ConditionSet(
        samples=np.load(folder / "samples.npy", mmap_mode="r", allow_pickle=False),
        starts=np.load(folder / "starts.npy", allow_pickle=False),
        labels=np.load(folder / "labels.npy", allow_pickle=False),
        groups={name: tuple(values) for name, values in content["groups"].items()},
        **facts,
    )


@dataclass(frozen=True, eq=False)
class FoundRecording:
    """One recording as a source found it; `join_recordings` makes a set of several.

    Attributes:
        name: Of its file.
        asset: What it is of.
        label: Index into the classes, or UNKNOWN.
        samples: (n,) of sound or vibration, or (height, width) of an image.
        groups: What a split can hold out -> its value; the same names for all recordings of a set.
    """

    name: str
    asset: str
    label: int
    samples: np.ndarray
    groups: Mapping[str, str]


def join_recordings(
    recordings: Sequence[FoundRecording], *, classes: tuple[str, ...], unit: str, rate_hz: float | None
) -> ConditionSet:
    """Lay recordings end to end.

    Args:
        recordings: In the order of the result, at least one.
        classes: As in `ConditionSet`.
        unit: Likewise.
        rate_hz: Likewise.

    Raises:
        SignalError: none, or recordings that do not fit together.
    """
    if not recordings:
        raise SignalError("no recording: at least one is needed")
    rows = [one.samples[None] if rate_hz is None else one.samples for one in recordings]
    return ConditionSet(
        samples=np.concatenate(rows),
        starts=np.cumsum([0, *(len(own) for own in rows[:-1])]),
        names=tuple(one.name for one in recordings),
        assets=tuple(one.asset for one in recordings),
        labels=np.array([one.label for one in recordings], np.int64),
        groups={name: tuple(one.groups[name] for one in recordings) for name in recordings[0].groups},
        classes=classes,
        unit=unit,
        rate_hz=rate_hz,
    )
