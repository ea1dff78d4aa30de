"""Rows of CSV and Parquet files whose columns a section `ingest` names: numbers, words, a clock, an asset.

What sources of several kinds of pipelines share. A cell or row that cannot be used is refused with its place and
reason; a column without one usable cell stops the source.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from foresense.sources.clock import read_clock
from foresense.sources.frames import numbers_of, read_csv_frame, read_parquet_frame, require_columns
from foresense.sources.mixed import counted
from foresense.sources.tables import Finding, RawTable, Refusal, SourceError, join_tables
from foresense.sources.tabular import files_sha256
from foresense.sources.units import conversion

_NO_NUMBER = "not a number"


@dataclass(frozen=True)
class Number:
    """A column of numbers.

    Attributes:
        column: Its name in the files.
        role: What asks for it, for messages: `channel 'temp'`.
        unit: Of what comes out.
        found_unit: Of the cells; None: as `unit`.
        low: A value below, in `unit`, is refused.
        high: A value above likewise.
    """

    column: str
    role: str
    unit: str = "1"
    found_unit: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Words:
    """A column of words, which come out as places in a vocabulary.

    Attributes:
        column: Its name in the files.
        role: What asks for it, for messages.
        values: As found -> its name; the names in this order are the vocabulary, and other words are refused. None: all
            words that are found, sorted.
        unknown: As found: not known.
    """

    column: str
    role: str
    values: Mapping[str, str] | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class Columns:
    """What is read.

    Attributes:
        numbers: First columns of the values.
        words: The columns after them.
        time_column: None: rows have no time.
        time_zone: Of times that carry none.
        asset_column: None: each file is one asset, named after it.
    """

    numbers: tuple[Number, ...]
    words: tuple[Words, ...] = ()
    time_column: str | None = None
    time_zone: str = "UTC"
    asset_column: str | None = None

    @property
    def values(self) -> tuple[Number | Words, ...]:
        """What each column of the values is."""
        return (*self.numbers, *self.words)

    @property
    def roles(self) -> dict[str, str]:
        """Column -> what asks for it."""
        found = {one.column: one.role for one in self.values}
        own = {"ingest.time_column": self.time_column, "ingest.asset_column": self.asset_column}
        return found | {column: role for role, column in own.items() if column is not None}

    @property
    def text(self) -> list[str]:
        """Columns that are read as they are written."""
        own = [column for column in (self.time_column, self.asset_column) if column is not None]
        return own + [one.column for one in self.words]


@dataclass(frozen=True, eq=False)
class Rows:
    """What was read.

    Attributes:
        tables: One for each asset, by name, rows in the order in which they were found; values are the numbers, then
            the words as places in their vocabulary, NaN where missing. Times are 0 where rows have none.
        vocabularies: Of each column of words.
        sha256: Digest of the files.
        findings: What was wrong and did not stop the source.
        refusals: Every row and cell that was not taken.
    """

    tables: tuple[RawTable, ...]
    vocabularies: tuple[tuple[str, ...], ...]
    sha256: str
    findings: tuple[Finding, ...]
    refusals: tuple[Refusal, ...]


def read_rows(folder: Path, files: Sequence[Path], asked: Columns) -> Rows:
    """Read files, CSV or, by their ending, Parquet.

    Args:
        folder: That their names count from.
        files: At least one.
        asked: Which columns.

    Raises:
        SourceError: a file that cannot be read or lacks a column, units that cannot be converted, a column without one
            usable cell, or not one usable row.
    """
    reading = _Reading(asked, tuple(path.relative_to(folder).as_posix() for path in files))
    for number, path in enumerate(files):
        reading.add(number, path)
    if not reading.parts:
        first = f"; the first refusal: {reading.refusals[0].reason}" if reading.refusals else ", which are empty"
        raise SourceError(f"{folder}: not one usable row in {len(files)} file(s){first}")
    tables, vocabularies = reading.finished()
    return Rows(
        tables=tables,
        vocabularies=vocabularies,
        sha256=files_sha256(files, folder),
        findings=tuple(reading.findings + counted(reading.refusals)),
        refusals=tuple(reading.refusals),
    )


def stretches(table: RawTable, known: np.ndarray, rate_hz: float, *, has_time: bool) -> np.ndarray:
    """(k,), int64, rising from 0: where, among the `known` rows, samples begin that follow one another at one rate.

    Args:
        table: Times, where there are any, strictly rise.
        known: (n_rows,), bool: rows that are used.
        rate_hz: That is declared. A step of more than one and a half of its samples begins a stretch.
        has_time: Without it, rows of one file follow one another, and a row that is not used ends a stretch.

    Raises:
        SourceError: timestamps that give another rate, more than 1 % apart.
    """
    used = table.taken(known)
    if not len(used.rows):
        return np.zeros(0, np.int64)
    if not has_time:
        ends = (np.diff(np.flatnonzero(known)) > 1) | (np.diff(used.files) != 0)
        return np.flatnonzero(np.r_[True, ends])
    steps_s = np.diff(used.times_ns) / 1e9
    found_hz = 1 / float(np.median(steps_s)) if len(steps_s) else rate_hz
    if abs(found_hz / rate_hz - 1) > 0.01:
        raise SourceError(
            f"{table.asset}: ingest.rate_hz is {rate_hz:g}, but timestamps give {found_hz:.4g} Hz (median of "
            f"{len(steps_s)} steps, from {used.place(0)}); correct rate_hz, or resample the files"
        )
    return np.flatnonzero(np.r_[True, steps_s > 1.5 / rate_hz])


def missing_samples(table: RawTable, known: np.ndarray) -> list[Finding]:
    """What a report says of rows that are not `known`; nothing where all are."""
    rows = np.flatnonzero(~known)
    if not len(rows):
        return []
    where = ", ".join(table.place(int(row)) for row in rows[:3])
    return [
        Finding(table.asset, "missing", len(rows), where, "rows without a sample; what is before and after is apart")
    ]


@dataclass
class _Reading:
    """Files that were read so far."""

    asked: Columns
    names: tuple[str, ...]
    parts: dict[str, list[RawTable]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = [dict.fromkeys((one.values or {}).values()) for one in self.asked.words]
        self.books = [{name: place for place, name in enumerate(names)} for names in named]

    def add(self, number: int, path: Path) -> None:
        """Read one file."""
        name, asked = self.names[number], self.asked
        is_parquet = path.suffix == ".parquet"
        frame = read_parquet_frame(path, name) if is_parquet else read_csv_frame(path, name, text=asked.text)
        self.findings += require_columns(frame, name, asked.roles)
        sheet = _Sheet(frame, name, asked, self.refusals)
        columns = [sheet.numbers(one) for one in asked.numbers]
        columns += [sheet.places(one, book) for one, book in zip(asked.words, self.books, strict=True)]
        values, rows = np.column_stack(columns), frame.index.to_numpy(np.int64)
        for asset, mine in sheet.rows_of_assets():
            times_ns, usable = self._times(sheet, asset, mine)
            keep = mine[usable]
            if len(keep):
                files = np.full(len(keep), number, np.int64)
                table = RawTable(asset, times_ns[usable], values[keep], rows[keep], files, self.names)
                self.parts.setdefault(asset, []).append(table)

    def finished(self) -> tuple[tuple[RawTable, ...], tuple[tuple[str, ...], ...]]:
        """The tables, and the vocabularies that their words are places in."""
        tables = tuple(join_tables(self.parts[asset]) for asset in sorted(self.parts))
        self._require_some_of_each(tables)
        vocabularies = []
        for column, (one, book) in enumerate(zip(self.asked.words, self.books, strict=True), len(self.asked.numbers)):
            words = tuple(book) if one.values is not None else tuple(sorted(book))
            place_of = np.array([*(words.index(word) for word in book), np.nan])
            for table in tables:
                table.values[:, column] = place_of[np.nan_to_num(table.values[:, column], nan=-1).astype(np.int64)]
            vocabularies.append(words)
        return tables, tuple(vocabularies)

    def _times(self, sheet: "_Sheet", asset: str, mine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Times of some rows, and which of them can be used."""
        time_column, time_zone = self.asked.time_column, self.asked.time_zone
        if time_column is None:
            return np.zeros(len(mine), np.int64), np.ones(len(mine), bool)
        clock = read_clock(sheet.frame[time_column].iloc[mine], time_zone, file=sheet.name)
        for reason in sorted(set(clock.reasons) - {""}):
            sheet.refuse(mine[clock.reasons == reason], time_column, reason)
        if n := int(clock.repeated.sum()):
            where = f"{sheet.name}:{sheet.frame.index[mine[clock.repeated][0]]}"
            message = (
                f"local times that happened twice in {time_zone} (the clock was set back): {n - clock.n_second} rows "
                f"taken as the first passage, {clock.n_second} as the second, by where the times step back; if the "
                "logger's clock never changes, set ingest.time_zone to a fixed offset like 'Etc/GMT-1'"
            )
            self.findings.append(Finding(asset, "clock_change", n, where, message))
        return clock.times_ns, clock.reasons == ""

    def _require_some_of_each(self, tables: Sequence[RawTable]) -> None:
        problems = []
        for index, one in enumerate(self.asked.values):
            if any(not np.isnan(table.values[:, index]).all() for table in tables):
                continue
            first = next((refusal for refusal in self.refusals if refusal.column == one.column), None)
            shown = f"all are empty in {', '.join(self.names[:3])}"
            if first:
                shown = f"{first.file}:{first.row} is {first.value!r}: {first.reason}"
            if first and first.reason == _NO_NUMBER and "," in first.value:
                shown += ", whose decimals come after a point"
            problems.append(f"column {one.column!r} ({one.role}) has no usable cell ({shown})")
        if problems:
            raise SourceError("; ".join(problems) + "; correct the files, or the columns of ingest")


@dataclass(frozen=True, eq=False)
class _Sheet:
    """One file: its cells, and where what is refused goes."""

    frame: pd.DataFrame
    name: str
    asked: Columns
    refusals: list[Refusal]

    @cached_property
    def assets(self) -> np.ndarray:
        """(n_rows,), str: asset of each row; empty where the row does not say."""
        column = self.asked.asset_column
        if column is None:
            return np.full(len(self.frame), PurePosixPath(self.name).stem, dtype=object)
        return np.asarray(self.frame[column].astype("string").str.strip().fillna(""), dtype=object)

    def rows_of_assets(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each asset, by name, and its rows; those without one are refused."""
        places, names = pd.factorize(self.assets, sort=True)
        order, counts = np.argsort(places, kind="stable"), np.bincount(places, minlength=len(names))
        for asset, end, count in zip(names, np.cumsum(counts), counts, strict=True):
            mine = order[end - count : end]
            if asset:
                yield str(asset), mine
            else:
                self.refuse(mine, str(self.asked.asset_column), "no asset")

    def numbers(self, one: Number) -> np.ndarray:
        """(n_rows,), float64: cells in the asked unit, NaN where missing or refused."""
        found, is_text = numbers_of(self.frame[one.column])
        factor, offset = _factor_of(one)
        found = found * factor + offset
        low, high = -np.inf if one.low is None else one.low, np.inf if one.high is None else one.high
        with np.errstate(over="ignore"):
            is_infinite = np.isinf(found.astype(np.float32))
        is_outside = ((found < low) | (found > high)) & ~is_infinite
        for bad, reason in (
            (is_text, _NO_NUMBER),
            (is_infinite, "infinite"),
            (is_outside, f"outside {low:g} .. {high:g} {one.unit}"),
        ):
            self.refuse(np.flatnonzero(bad), one.column, reason)
            found[bad] = np.nan
        return found

    def places(self, one: Words, book: dict[str, int]) -> np.ndarray:
        """(n_rows,), float64: places in `book`, which new words are added to; NaN where missing or refused."""
        text = self.frame[one.column].astype("string").str.strip()
        numbers, words = pd.factorize(text.mask(text.isin(["", one.unknown or ""])))
        names = [str(word) if one.values is None else one.values.get(str(word), "") for word in words]
        if one.values is None:
            for name in names:
                book.setdefault(name, len(book))
        found: np.ndarray = np.array([*(book.get(name, np.nan) for name in names), np.nan])[numbers]
        if one.values is not None:
            reason = f"expected one of {', '.join(one.values)}"
            self.refuse(np.flatnonzero(np.isnan(found) & (numbers >= 0)), one.column, reason)
        return found

    def refuse(self, places: np.ndarray, column: str, reason: str) -> None:
        """Keep what was found in `column` at the rows at `places`."""
        cells, time_column = self.frame[column], self.asked.time_column
        self.refusals.extend(
            Refusal(
                asset=str(self.assets[at]),
                file=self.name,
                row=int(self.frame.index[at]),
                time="" if time_column is None else str(self.frame[time_column].iloc[at]),
                column=column,
                value=str(cells.iloc[at]),
                reason=reason,
            )
            for at in places
        )


def _factor_of(one: Number) -> tuple[float, float]:
    if one.found_unit in (None, one.unit):
        return 1.0, 0.0
    try:
        return conversion(str(one.found_unit), one.unit)
    except SourceError as error:
        raise SourceError(f"{one.role}: {error}") from error
