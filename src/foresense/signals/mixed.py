"""Mixed recordings: numeric channels full of holes beside categories that change in time, and what never changes.

Codes of a category: 0 not measured, 1 not in the vocabulary, 2 ... the values of the vocabulary in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foresense.signals.files import read_json, replaced_folder, write_json
from foresense.signals.labelled import write_array
from foresense.signals.mixed_columns import FIRST_VALUE
from foresense.signals.recording import SignalError


@dataclass(frozen=True)
class NumericChannel:
    """A channel of numbers.

    Attributes:
        name: Of the column.
        unit: Of its values.
    """

    name: str
    unit: str


@dataclass(frozen=True)
class CategoricalChannel:
    """A channel of categories.

    Attributes:
        name: Of the column.
        values: The vocabulary; the first one has code 2.
    """

    name: str
    values: tuple[str, ...]

    @property
    def n_codes(self) -> int:
        """Codes that this channel can have: missing, unseen, and one for each value."""
        return FIRST_VALUE + len(self.values)


@dataclass(frozen=True, eq=False)
class MixedRecording:
    """One station or one stay on a regular grid.

    Attributes:
        name: Of the station or stay.
        numeric: (n_steps, n_numeric), float32, physical units; NaN: not measured; never infinite.
        categories: (n_steps, n_categorical), int64 codes.
        static_numeric: (n_static_numeric,), float32: what does not change; NaN: not known.
        static_categories: (n_static_categorical,), int64 codes.
        outcomes: (n_outcomes,), float32: what became of it; NaN: not known. A class is its number.
        start_ns: Begin of the first step, nanoseconds since 1970 UTC; 0 in a set without time.

    Raises:
        SignalError: shapes or kinds that do not fit together, an infinite number, a negative code, or no step at all.
    """

    name: str
    numeric: np.ndarray
    categories: np.ndarray
    static_numeric: np.ndarray
    static_categories: np.ndarray
    outcomes: np.ndarray
    start_ns: int

    def __post_init__(self) -> None:
        for name, array, ndim, kind in (
            ("numeric", self.numeric, 2, np.float32),
            ("categories", self.categories, 2, np.int64),
            ("static_numeric", self.static_numeric, 1, np.float32),
            ("static_categories", self.static_categories, 1, np.int64),
            ("outcomes", self.outcomes, 1, np.float32),
        ):
            if array.ndim != ndim or array.dtype != kind:
                raise SignalError(
                    f"recording {self.name!r}: {name} must have {ndim} dimension(s) of {np.dtype(kind).name}, found "
                    f"shape {array.shape} of {array.dtype.name}; convert it where it is made"
                )
            if array.dtype == np.float32 and np.isinf(array).any():
                place = np.argwhere(np.isinf(array))[0].tolist()
                raise SignalError(
                    f"recording {self.name!r}: {name}{place} is infinite; expected a finite number, NaN where it was "
                    "not measured"
                )
            if array.dtype == np.int64 and (array < 0).any():
                raise SignalError(f"recording {self.name!r}: {name} holds codes below 0; 0 is missing, 1 unseen")
        if not 0 < len(self.numeric) == len(self.categories):
            raise SignalError(
                f"recording {self.name!r}: {len(self.numeric)} steps of numbers and {len(self.categories)} of "
                "categories; expected as many, and at least one"
            )

    @property
    def n_steps(self) -> int:
        """Length of the grid."""
        return len(self.numeric)


@dataclass(frozen=True, eq=False)
class MixedSet:
    """Mixed recordings of one kind.

    Attributes:
        recordings: In the order of their names, each name once.
        numeric: What each column of `MixedRecording.numeric` is; the other channels likewise.
        categorical: With the vocabulary that the codes are numbers of: of a source, all values that it found.
        static_numeric: Of a whole recording.
        static_categorical: Of a whole recording.
        outcomes: Of a whole recording; a class has the unit `1`.
        interval_s: Seconds from one step to the next.
        has_time: Whether start times are real.
        time_zone: IANA name of local time.

    Raises:
        SignalError: a recording that does not fit the channels, or names that are not in order, each once.
    """

    recordings: tuple[MixedRecording, ...]
    numeric: tuple[NumericChannel, ...]
    categorical: tuple[CategoricalChannel, ...]
    static_numeric: tuple[NumericChannel, ...]
    static_categorical: tuple[CategoricalChannel, ...]
    outcomes: tuple[NumericChannel, ...]
    interval_s: float
    has_time: bool
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        names = [one.name for one in self.recordings]
        if names != sorted(set(names)):
            raise SignalError(f"recordings must be in the order of their names, each name once; found {names[:5]} ...")
        groups = (*self._columns, self.outcomes)
        twice = [[one.name for one in group] for group in groups if len({one.name for one in group}) < len(group)]
        if twice:
            raise SignalError(f"channels {twice[0]}: a name stands there twice; rename one")
        for one in self.recordings:
            widths = (
                one.numeric.shape[1],
                one.categories.shape[1],
                len(one.static_numeric),
                len(one.static_categories),
                len(one.outcomes),
            )
            if widths != tuple(len(group) for group in groups):
                raise SignalError(
                    f"recording {one.name!r}: {widths} numeric, categorical, static numeric, static categorical "
                    f"channels and outcomes, expected {tuple(len(group) for group in groups)}"
                )
            _check_codes(one.name, one.categories.max(axis=0), self.categorical)
            _check_codes(one.name, one.static_categories, self.static_categorical)

    @property
    def _columns(self) -> tuple[Sequence[NumericChannel | CategoricalChannel], ...]:
        return self.numeric, self.categorical, self.static_numeric, self.static_categorical

    def only(
        self,
        *,
        numeric: Sequence[str] | None = None,
        categorical: Sequence[str] | None = None,
        static_numeric: Sequence[str] | None = None,
        static_categorical: Sequence[str] | None = None,
    ) -> MixedSet:
        """The same recordings with some of their channels, in the order asked for; None keeps all of a kind.

        Raises:
            SignalError: a channel that is not there.
        """
        asked = (numeric, categorical, static_numeric, static_categorical)
        a, b, c, d = (_places(group, names) for group, names in zip(self._columns, asked, strict=True))
        return replace(
            self,
            recordings=tuple(
                replace(
                    one,
                    numeric=one.numeric[:, a],
                    categories=one.categories[:, b],
                    static_numeric=one.static_numeric[c],
                    static_categories=one.static_categories[d],
                )
                for one in self.recordings
            ),
            numeric=tuple(self.numeric[place] for place in a),
            categorical=tuple(self.categorical[place] for place in b),
            static_numeric=tuple(self.static_numeric[place] for place in c),
            static_categorical=tuple(self.static_categorical[place] for place in d),
        )


def _places(group: Sequence[NumericChannel | CategoricalChannel], names: Sequence[str] | None) -> list[int]:
    known = [channel.name for channel in group]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SignalError(f"no channel {', '.join(map(repr, unknown))}; known of this kind: {known}")
    return [known.index(name) for name in (known if names is None else names)]


def _check_codes(recording: str, highest: np.ndarray, channels: Sequence[CategoricalChannel]) -> None:
    for code, channel in zip(highest.tolist(), channels, strict=True):
        if code >= channel.n_codes:
            raise SignalError(
                f"recording {recording!r}: {channel.name!r} has code {code}, expected at most {channel.n_codes - 1} "
                f"({len(channel.values)} values); encode it with this vocabulary"
            )


_ARRAYS = ("numeric", "categories", "static_numeric", "static_categories", "outcomes")
_CHANNELS = {
    "numeric": NumericChannel,
    "categorical": CategoricalChannel,
    "static_numeric": NumericChannel,
    "static_categorical": CategoricalChannel,
    "outcomes": NumericChannel,
}


def write_mixed(folder: Path, found: MixedSet, *, facts: dict[str, object]) -> None:
    """Write a folder of arrays, recordings end to end, and `manifest.json`; complete or absent, equal sets equal bytes.

    Args:
        folder: Replaced as a whole.
        found: At least one recording.
        facts: Deterministic facts for the manifest; no clock times.

    Raises:
        SignalError: no recording.
    """
    if not found.recordings:
        raise SignalError(f"{folder}: not one recording to write; look into what the source refused")
    with replaced_folder(folder) as beside:
        for name in _ARRAYS:
            parts = [getattr(one, name) for one in found.recordings]
            write_array(beside / f"{name}.npy", np.concatenate(parts) if parts[0].ndim == 2 else np.stack(parts))
        steps = [one.n_steps for one in found.recordings]
        write_array(beside / "first.npy", np.cumsum([0, *steps], dtype=np.int64))
        write_array(beside / "start_ns.npy", np.array([one.start_ns for one in found.recordings], np.int64))
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "kind": "mixed",
                "recordings": [one.name for one in found.recordings],
                **{kind: channels_to_json(getattr(found, kind)) for kind in _CHANNELS},
                "interval_s": found.interval_s,
                "has_time": found.has_time,
                "time_zone": found.time_zone,
                **facts,
            },
        )


def open_mixed(folder: Path) -> MixedSet:
    """Open what `write_mixed` wrote; what changes in time is memory-mapped.

    Raises:
        FileNotFoundError: no manifest: the step `ingest` has not finished.
        SignalError: the manifest is of another kind or version.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense ingest {folder.name}` first")
    content = read_json(manifest)
    if (content.get("kind"), content.get("schema_version")) != ("mixed", 1):
        raise SignalError(
            f"{manifest}: expected kind 'mixed', version 1, found {content.get('kind')!r}, version "
            f"{content.get('schema_version')!r}; run `foresense ingest {folder.name}` again"
        )
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r" if number < 2 else None, allow_pickle=False)
        for number, name in enumerate(_ARRAYS)
    }
    first, start_ns = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("first", "start_ns"))
    return MixedSet(
        recordings=tuple(
            MixedRecording(
                name=name,
                numeric=arrays["numeric"][first[number] : first[number + 1]],
                categories=arrays["categories"][first[number] : first[number + 1]],
                static_numeric=arrays["static_numeric"][number],
                static_categories=arrays["static_categories"][number],
                outcomes=arrays["outcomes"][number],
                start_ns=int(start_ns[number]),
            )
            for number, name in enumerate(content["recordings"])
        ),
        **{kind: channels_from_json(kind, content[kind]) for kind in _CHANNELS},
        interval_s=content["interval_s"],
        has_time=content["has_time"],
        time_zone=content["time_zone"],
    )


def channels_to_json(channels: Sequence[NumericChannel | CategoricalChannel]) -> list[dict[str, object]]:
    """Channels as JSON has them."""
    return [asdict(channel) for channel in channels]


def channels_from_json(kind: str, content: list[dict[str, Any]]) -> Any:
    """Channels of one kind (`numeric`, `categorical`, `static_numeric`, `static_categorical`, `outcomes`)."""
    return tuple(
        _CHANNELS[kind](**{key: tuple(value) if isinstance(value, list) else value for key, value in channel.items()})
        for channel in content
    )
