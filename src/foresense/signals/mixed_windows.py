"""Windows of mixed recordings: offsets into their arrays, targets, parts, and a schema of each training part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.signals.files import read_json, write_json
from foresense.signals.labelled import write_array
from foresense.signals.mixed import CategoricalChannel, NumericChannel, channels_from_json, channels_to_json
from foresense.signals.mixed_schema import MixedSchema, code_tables
from foresense.signals.recording import SignalError
from foresense.signals.windows import PARTS, Part

#: Class of a window whose target is a value and has no classes.
NO_CLASS = -1
#: Part of a window where groups of recordings say which part it is in; group of a recording where time does.
NOT_SET = -1


@dataclass(frozen=True, eq=False)
class MixedBatch:
    """Copies of windows, as a model of mixed recordings takes them.

    Attributes:
        numbers: (n, n_numeric, length), float32, physical units; NaN: not measured.
        categories: (n, n_categorical, length), int64 codes of the schema that was asked for.
        lengths: (n,), int64: real steps; all of them.
        static_numbers: (n, n_static_numeric), float32; NaN: not known.
        static_categories: (n, n_static_categorical), int64 codes likewise.
        targets: (n,), float32, unit of the target.
        classes: (n,), int64: number of the class; -1 where there are no classes.
    """

    numbers: np.ndarray
    categories: np.ndarray
    lengths: np.ndarray
    static_numbers: np.ndarray
    static_categories: np.ndarray
    targets: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, eq=False)
class MixedWindows:
    """Windows of one length: the row where each begins, and what is asked for.

    Attributes:
        numeric: (n_rows, n_numeric), float32, recordings end to end (memory-mapped when read from disk).
        categories: (n_rows, n_categorical), int64 codes of the vocabularies `categorical` (memory-mapped likewise).
        static_numeric: (n_recordings, n_static_numeric), float32.
        static_categories: (n_recordings, n_static_categorical), int64 codes of `static_categorical`.
        starts: (n,), int64: row where each window begins; by recording, then by part, then by time.
        targets: (n,), float32, finite.
        classes: (n,), int64: number of a class; -1 where there are none.
        times_ns: (n,), int64: begin of the step of the target, of an outcome the recording's end; nanoseconds since
            1970 UTC; 0 in a set without time.
        owners: (n,), int64: place in `recordings`.
        parts: (n,), int64: place in `PARTS`; -1 where groups of recordings decide.
        folds: (n_recordings,), int64: group of each recording; -1 where time decides.
        schemas: Of the training part: one, or one for each group that is the test.
        categorical: Channels of `categories` with all values of the source.
        static_categorical: Of `static_categories` likewise.
        length: Steps of a window.
        ahead: Steps from the last one of a window to its target; None: an outcome.
        target: What is asked for.
        class_names: Of the classes; empty: there are none.
        recordings: Their names.
        has_time: Whether times are real.
        time_zone: IANA name of local time.
    """

    numeric: np.ndarray
    categories: np.ndarray
    static_numeric: np.ndarray
    static_categories: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    times_ns: np.ndarray
    owners: np.ndarray
    parts: np.ndarray
    folds: np.ndarray
    schemas: tuple[MixedSchema, ...]
    categorical: tuple[CategoricalChannel, ...]
    static_categorical: tuple[CategoricalChannel, ...]
    length: int
    ahead: int | None
    target: NumericChannel
    class_names: tuple[str, ...]
    recordings: tuple[str, ...]
    has_time: bool
    time_zone: str

    @property
    def n_folds(self) -> int:
        """Ways to choose the parts: one where time does, else one for each group."""
        return len(self.schemas)

    def of_part(self, part: Part, fold: int = 0) -> np.ndarray:
        """(k,), int64: numbers of the windows of a part.

        Args:
            part: Which.
            fold: Group that is the test; the next one is validation, the others train. 0 where time decides.

        Raises:
            SignalError: no such fold.
        """
        self._require(fold)
        if self.folds[0] == NOT_SET:
            return np.flatnonzero(self.parts == PARTS.index(part))
        return np.flatnonzero(np.isin(self.folds[self.owners], groups_of(part, fold, self.n_folds)))

    def gather(self, numbers: np.ndarray, fold: int = 0) -> MixedBatch:
        """Copy windows, categories in the codes of the schema of `fold`.

        Args:
            numbers: (k,), int: which windows.
            fold: As of `of_part`.

        Raises:
            SignalError: no such fold.
        """
        self._require(fold)
        schema, starts, owners = self.schemas[fold], self.starts[numbers], self.owners[numbers]
        categories, static = self._cut(self.categories, starts), self.static_categories[owners]
        for column, table in enumerate(code_tables(self.categorical, schema.categorical)):
            categories[:, column] = table[categories[:, column]]
        for column, table in enumerate(code_tables(self.static_categorical, schema.static_categorical)):
            static[:, column] = table[static[:, column]]
        return MixedBatch(
            numbers=self._cut(self.numeric, starts),
            categories=categories,
            lengths=np.full(len(starts), self.length, np.int64),
            static_numbers=self.static_numeric[owners],
            static_categories=static,
            targets=self.targets[numbers],
            classes=self.classes[numbers],
        )

    def _cut(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(n, n_columns, length): a copy, and the only one."""
        view = np.lib.stride_tricks.sliding_window_view(rows, self.length, axis=0)
        return np.ascontiguousarray(view[starts])

    def _require(self, fold: int) -> None:
        if not 0 <= fold < self.n_folds:
            raise SignalError(f"fold {fold}: expected 0 .. {self.n_folds - 1}; these windows have {self.n_folds}")


def groups_of(part: Part, fold: int, n_folds: int) -> list[int]:
    """Groups of recordings that make a part when group `fold` is the test: the next one chooses, the others train."""
    test, validation = fold, (fold + 1) % n_folds
    training = [group for group in range(n_folds) if group not in (test, validation)]
    return {"train": training, "validation": [validation], "test": [test]}[part]


_MAPPED = ("numeric", "categories")
_ARRAYS = (
    *_MAPPED,
    "static_numeric",
    "static_categories",
    "starts",
    "targets",
    "classes",
    "times_ns",
    "owners",
    "parts",
    "folds",
)
_FACTS = ("length", "ahead", "class_names", "recordings", "has_time", "time_zone")
_VOCABULARIES = ("categorical", "static_categorical")


def write_mixed_windows(folder: Path, windows: MixedWindows) -> None:
    """Write as `open_mixed_windows` reads; equal windows give equal bytes. `folder` is created.

    A model takes `schema-<fold>.json` with it.
    """
    folder.mkdir(parents=True)
    for name in _ARRAYS:
        write_array(folder / f"{name}.npy", getattr(windows, name))
    for fold, schema in enumerate(windows.schemas):
        write_json(folder / f"schema-{fold}.json", schema.to_json())
    write_json(
        folder / "index.json",
        {
            "schema_version": 1,
            "n_schemas": len(windows.schemas),
            "target": channels_to_json([windows.target])[0],
            **{name: channels_to_json(getattr(windows, name)) for name in _VOCABULARIES},
            **{name: getattr(windows, name) for name in _FACTS},
        },
    )


def open_mixed_windows(folder: Path) -> MixedWindows:
    """Open windows; what changes in time is memory-mapped.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        SignalError: the index is of another version.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; run `foresense window {folder.parent.name}` first")
    index = read_json(path)
    if index.get("schema_version") != 1:
        raise SignalError(
            f"{path}: expected version 1, found {index.get('schema_version')!r}; run `foresense window "
            f"{folder.parent.name}` again"
        )
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r" if name in _MAPPED else None, allow_pickle=False)
        for name in _ARRAYS
    }
    schemas = [folder / f"schema-{fold}.json" for fold in range(index["n_schemas"])]
    facts: dict[str, Any] = {
        name: tuple(index[name]) if isinstance(index[name], list) else index[name] for name in _FACTS
    }
    return MixedWindows(
        **arrays,
        **facts,
        **{name: channels_from_json(name, index[name]) for name in _VOCABULARIES},
        schemas=tuple(MixedSchema.from_json(read_json(one), str(one)) for one in schemas),
        target=NumericChannel(**index["target"]),
    )
