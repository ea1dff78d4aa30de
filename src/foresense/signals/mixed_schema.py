"""What a model of mixed recordings knows of its channels: units, vocabularies and scales of the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from foresense.signals.mixed import (
    CategoricalChannel,
    MixedRecording,
    MixedSet,
    NumericChannel,
    channels_from_json,
    channels_to_json,
)
from foresense.signals.mixed_columns import (
    FIRST_VALUE,
    UNSEEN,
    OtherIntervalError,
    SchemaError,
    WrongShapeError,
    check_names,
    check_units,
    codes_of,
    numbers_of,
)
from foresense.signals.recording import SignalError

VERSION = 1


@dataclass(frozen=True)
class Stretch:
    """Steps of one recording that follow one another.

    Attributes:
        recording: Its place in the set.
        first: First step.
        end: Step after the last.
    """

    recording: int
    first: int
    end: int


@dataclass(frozen=True)
class Encoded:
    """A table as a model takes it.

    Attributes:
        numeric: (n_steps, n_numeric), float32, NaN: not measured; (n_static_numeric,) of a static row.
        categories: (n_steps, n_categorical), int64 codes; (n_static_categorical,) of a static row.
        n_unseen: For each categorical channel, how many cells the training part never showed.
    """

    numeric: np.ndarray
    categories: np.ndarray
    n_unseen: dict[str, int]


@dataclass(frozen=True)
class MixedSchema:
    """Channels of a model in their order, with what was fitted on the training part.

    Attributes:
        numeric: Channels of numbers.
        categorical: Channels of categories; `values` are those of the training part, sorted.
        static_numeric: Of a whole recording.
        static_categorical: Of a whole recording.
        means: For each of `numeric`, over the measured values of the training part; 0 where there is none.
        deviations: Population deviations; 1 of a constant channel, and of one without a value.
        static_means: Likewise of `static_numeric`, each training recording once.
        static_deviations: Likewise.
        constant: Names of channels with one value all through the training part.
        unmeasured: Names of channels without a value in the training part.
        interval_s: Seconds from one step to the next.

    Raises:
        SchemaError: numbers that do not fit the channels, or a deviation that is not positive.
    """

    numeric: tuple[NumericChannel, ...]
    categorical: tuple[CategoricalChannel, ...]
    static_numeric: tuple[NumericChannel, ...]
    static_categorical: tuple[CategoricalChannel, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    static_means: tuple[float, ...]
    static_deviations: tuple[float, ...]
    constant: tuple[str, ...]
    unmeasured: tuple[str, ...]
    interval_s: float

    def __post_init__(self) -> None:
        scales = (self.means, self.deviations, self.static_means, self.static_deviations)
        channels = (self.numeric, self.numeric, self.static_numeric, self.static_numeric)
        if any(len(scale) != len(group) for scale, group in zip(scales, channels, strict=True)):
            raise SchemaError(
                f"schema: {[len(scale) for scale in scales]} means, deviations, static means and static deviations, "
                f"expected {[len(group) for group in channels]}; fit the schema again"
            )
        if not np.isfinite([*self.means, *self.static_means]).all():
            raise SchemaError(f"schema: means {self.means} {self.static_means} must be finite; fit the schema again")
        deviations = np.array([*self.deviations, *self.static_deviations])
        if not (np.isfinite(deviations) & (deviations > 0)).all():
            raise SchemaError(f"schema: deviations {deviations.tolist()} must be positive; fit the schema again")

    def to_json(self) -> dict[str, object]:
        """As `write_json` takes it; `from_json` gives an equal schema back, floats to the last bit."""
        groups = ("numeric", "categorical", "static_numeric", "static_categorical")
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"schema_version": VERSION} | kept | {name: channels_to_json(getattr(self, name)) for name in groups}

    @classmethod
    def from_json(cls, content: Any, where: str = "schema") -> MixedSchema:
        """Read what `to_json` gave.

        Args:
            content: As `read_json` gives it.
            where: For messages: the file.

        Raises:
            SchemaError: another version, or keys that are missing or unknown.
        """
        expected = {field.name for field in fields(cls)}
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != VERSION:
            raise SchemaError(f"{where}: expected a schema of version {VERSION}, found {version!r}; export it again")
        found = set(content) - {"schema_version"}
        if found != expected:
            raise SchemaError(
                f"{where}: keys missing {sorted(expected - found)}, unknown {sorted(found - expected)}; the file was "
                "edited by hand, export the model again"
            )
        groups = ("numeric", "categorical", "static_numeric", "static_categorical")
        plain: dict[str, Any] = {
            key: tuple(content[key]) if isinstance(content[key], list) else content[key]
            for key in expected.difference(groups)
        }
        return cls(**plain, **{kind: channels_from_json(kind, content[kind]) for kind in groups})

    def encode(
        self, table: Mapping[str, object], *, units: Mapping[str, str] | None = None, where: str = "table"
    ) -> Encoded:
        """Columns of a table, what changes in time, as the model takes them.

        Args:
            table: Name of each channel to its values, (n_steps,); a pandas DataFrame also is one.
            units: Unit of numeric columns; those that are not named are taken to be right.
            where: For messages: the file.

        Raises:
            SchemaError: one of its kinds: a column missing or not expected, another unit, an infinite value, text where
                a number is expected, another shape. A value that the training part never showed is no error: it is
                code 1 and counted.
        """
        return _encoded(table, self.numeric, self.categorical, units or {}, where)

    def encode_static(
        self, row: Mapping[str, object], *, units: Mapping[str, str] | None = None, where: str = "static row"
    ) -> Encoded:
        """What does not change, one value for each channel, as the model takes it.

        Args:
            row: Name of each static channel to its value.
            units: As of `encode`.
            where: For messages: the file.

        Raises:
            SchemaError: as of `encode`.
        """
        wrong = [name for name, value in row.items() if np.ndim(value) != 0]  # type: ignore[arg-type]
        if wrong:
            raise WrongShapeError(f"{where}: {wrong} hold several values; expected one for each recording")
        columns: dict[str, object] = {name: [value] for name, value in row.items()}
        found = _encoded(columns, self.static_numeric, self.static_categorical, units or {}, where)
        return Encoded(found.numeric.reshape(-1), found.categories.reshape(-1), found.n_unseen)

    def recode(self, found: MixedSet) -> tuple[MixedSet, dict[str, int]]:
        """The same recordings with codes of this vocabulary, and how many cells of each channel it never saw.

        Args:
            found: With exactly the channels of this schema (`MixedSet.only` chooses), in any order.

        Raises:
            SchemaError: channels, units or the interval differ.
        """
        for of_schema, of_set in ((self.numeric, found.numeric), (self.static_numeric, found.static_numeric)):
            check_names([one.name for one in of_set], [one.name for one in of_schema], "set")
            check_units({one.name: one.unit for one in of_set}, {one.name: one.unit for one in of_schema}, "set")
        check_names([one.name for one in found.categorical], [one.name for one in self.categorical], "set")
        check_names(
            [one.name for one in found.static_categorical], [one.name for one in self.static_categorical], "set"
        )
        if found.interval_s != self.interval_s:
            raise OtherIntervalError(
                f"set: steps are {found.interval_s:g} s apart, expected {self.interval_s:g} s; lay the recordings on "
                "that grid, or train a model on this one"
            )
        ordered = found.only(
            numeric=[one.name for one in self.numeric],
            categorical=[one.name for one in self.categorical],
            static_numeric=[one.name for one in self.static_numeric],
            static_categorical=[one.name for one in self.static_categorical],
        )
        changing = code_tables(ordered.categorical, self.categorical)
        static = code_tables(ordered.static_categorical, self.static_categorical)
        recordings = tuple(_recoded(one, changing, static) for one in ordered.recordings)
        n_unseen = {
            channel.name: int(sum((one.categories[:, index] == UNSEEN).sum() for one in recordings))
            for index, channel in enumerate(self.categorical)
        } | {
            channel.name: sum(int(one.static_categories[index] == UNSEEN) for one in recordings)
            for index, channel in enumerate(self.static_categorical)
        }
        own = replace(
            ordered,
            recordings=recordings,
            categorical=self.categorical,
            static_categorical=self.static_categorical,
        )
        return own, n_unseen


def fit_schema(found: MixedSet, training: Sequence[Stretch]) -> MixedSchema:
    """Vocabularies, means and deviations of the training part alone, in float64; missing values do not count.

    Args:
        found: Recordings whose vocabularies may know more than the training part.
        training: The steps of the training part; a recording with several stretches counts once in what is static.

    Raises:
        SignalError: no stretch, one outside of its recording, or two that overlap.
    """
    _check_stretches(found, training)
    parts = [found.recordings[one.recording].numeric[one.first : one.end] for one in training]
    own = [found.recordings[number] for number in sorted({one.recording for one in training})]
    static = np.stack([one.static_numeric for one in own])
    means, deviations, constant, unmeasured = _scales(parts)
    static_means, static_deviations, static_constant, static_unmeasured = _scales([static])
    seen = [found.recordings[one.recording].categories[one.first : one.end] for one in training]
    return MixedSchema(
        numeric=found.numeric,
        categorical=_vocabularies(seen, found.categorical),
        static_numeric=found.static_numeric,
        static_categorical=_vocabularies([np.stack([one.static_categories for one in own])], found.static_categorical),
        means=means,
        deviations=deviations,
        static_means=static_means,
        static_deviations=static_deviations,
        constant=_named(found, constant, static_constant),
        unmeasured=_named(found, unmeasured, static_unmeasured),
        interval_s=found.interval_s,
    )


def _check_stretches(found: MixedSet, training: Sequence[Stretch]) -> None:
    if not training:
        raise SignalError("no training stretch; a schema is fitted on the steps of the training part")
    for one in training:
        if not 0 <= one.recording < len(found.recordings):
            raise SignalError(f"{one}: there are {len(found.recordings)} recordings")
        if not 0 <= one.first < one.end <= found.recordings[one.recording].n_steps:
            raise SignalError(f"{one}: the recording has {found.recordings[one.recording].n_steps} steps")
    ordered = sorted(training, key=lambda one: (one.recording, one.first))
    for before, after in pairwise(ordered):
        if before.recording == after.recording and after.first < before.end:
            raise SignalError(f"{before} and {after} overlap: their steps would count twice")


def _scales(
    parts: Sequence[np.ndarray],
) -> tuple[tuple[float, ...], tuple[float, ...], np.ndarray, np.ndarray]:
    """Means, deviations, and which columns are constant or without a value; two passes, so that nothing cancels."""
    n_columns = parts[0].shape[1]
    count, total, squares = np.zeros(n_columns), np.zeros(n_columns), np.zeros(n_columns)
    lowest, highest = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
    for part in parts:
        count += (~np.isnan(part)).sum(axis=0)
        total += np.nansum(part, axis=0, dtype=np.float64)
        lowest = np.fmin(lowest, np.fmin.reduce(part, axis=0))
        highest = np.fmax(highest, np.fmax.reduce(part, axis=0))
    unmeasured, constant = count == 0, lowest == highest
    means = total / np.maximum(count, 1)
    means[constant] = lowest[constant]
    for part in parts:
        squares += np.nansum((part.astype(np.float64) - means) ** 2, axis=0)
    deviations = np.where(constant | unmeasured, 1.0, np.sqrt(squares / np.maximum(count, 1)))
    return tuple(means.tolist()), tuple(deviations.tolist()), constant, unmeasured


def _vocabularies(
    parts: Sequence[np.ndarray], channels: Sequence[CategoricalChannel]
) -> tuple[CategoricalChannel, ...]:
    found = []
    for index, channel in enumerate(channels):
        codes = {code for part in parts for code in np.unique(part[:, index]).tolist() if code >= FIRST_VALUE}
        values = sorted(channel.values[code - FIRST_VALUE] for code in codes)
        found.append(CategoricalChannel(channel.name, tuple(values)))
    return tuple(found)


def _named(found: MixedSet, changing: np.ndarray, static: np.ndarray) -> tuple[str, ...]:
    channels, chosen = (*found.numeric, *found.static_numeric), (*changing, *static)
    return tuple(channel.name for channel, is_one in zip(channels, chosen, strict=True) if is_one)


def code_tables(old: Sequence[CategoricalChannel], new: Sequence[CategoricalChannel]) -> list[np.ndarray]:
    """For each channel, (n_codes,) int64: the new code of each old one; `UNSEEN` where the new vocabulary lacks it."""
    found = []
    for before, after in zip(old, new, strict=True):
        numbers = {value: number for number, value in enumerate(after.values, start=FIRST_VALUE)}
        found.append(np.array([0, UNSEEN, *(numbers.get(value, UNSEEN) for value in before.values)], np.int64))
    return found


def _recoded(one: MixedRecording, changing: list[np.ndarray], static: list[np.ndarray]) -> MixedRecording:
    categories = np.empty(one.categories.shape, np.int64)
    for index, table in enumerate(changing):
        categories[:, index] = table[one.categories[:, index]]
    own = np.array([table[code] for table, code in zip(static, one.static_categories, strict=True)], np.int64)
    return replace(one, categories=categories, static_categories=own)


def _encoded(
    named: Mapping[str, object],
    numeric: Sequence[NumericChannel],
    categorical: Sequence[CategoricalChannel],
    units: Mapping[str, str],
    where: str,
) -> Encoded:
    names = [str(name) for name in named]  # before the dictionary, which would hide a column that stands there twice
    check_names(names, [one.name for one in numeric] + [one.name for one in categorical], where)
    table = {str(name): column for name, column in named.items()}
    check_units(units, {channel.name: channel.unit for channel in numeric}, where)
    n_rows = len(np.atleast_1d(np.asarray(next(iter(table.values()))))) if table else 0
    if not n_rows and names:
        raise WrongShapeError(f"{where}: no step at all; expected at least one value for each of {names}")
    numbers = [numbers_of(one.name, table[one.name], n_rows, where) for one in numeric]
    coded = [codes_of(one.name, one.values, table[one.name], n_rows, where) for one in categorical]
    return Encoded(
        numeric=np.stack(numbers, axis=1) if numbers else np.zeros((n_rows, 0), np.float32),
        categories=np.stack([codes for codes, _ in coded], axis=1) if coded else np.zeros((n_rows, 0), np.int64),
        n_unseen={one.name: n for one, (_, n) in zip(categorical, coded, strict=True)},
    )
