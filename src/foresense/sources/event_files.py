"""Files of events as rows of text: which recording, when, which parameter, which value."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.config.mixed import EventTablesIngestConfig
from foresense.sources.mixed import files_of
from foresense.sources.tables import Finding, Refusal, SourceError


@dataclass(frozen=True, eq=False)
class Events:
    """Usable events, in the order in which they were found.

    Attributes:
        names: Names of the recordings, sorted; one without an event also has a place.
        owners: (n,), int64: index into `names`.
        hours: (n,), float64: since the begin of the recording, never negative.
        parameters: (n,), categorical text.
        texts: (n,), object: values as found.
        numbers: (n,), float64: values as numbers, NaN where they are none.
        rows: (n,), int64: number of the line in its file.
        files: (n,), int64: index into `file_names`.
        file_names: Paths below the folder of the raw set.
        times: (n,), object: times as found.
    """

    names: tuple[str, ...]
    owners: np.ndarray
    hours: np.ndarray
    parameters: pd.Categorical
    texts: np.ndarray
    numbers: np.ndarray
    rows: np.ndarray
    files: np.ndarray
    file_names: tuple[str, ...]
    times: np.ndarray

    def of(self, parameter: str) -> np.ndarray:
        """(k,), int64: places of the events of one parameter."""
        if parameter not in self.parameters.categories:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.parameters.codes == self.parameters.categories.get_loc(parameter))

    def refused(self, places: np.ndarray, column: str, reason: str) -> list[Refusal]:
        """What to say about events that are not taken."""
        return [
            Refusal(
                self.names[self.owners[at]],
                self.file_names[self.files[at]],
                int(self.rows[at]),
                str(self.times[at]),
                column,
                str(self.texts[at]),
                reason,
            )
            for at in places
        ]


def read_events(
    config: EventTablesIngestConfig, raw: Path, refusals: list[Refusal], findings: list[Finding]
) -> tuple[Events, list[Path]]:
    """Read all files that `config.files` matches, as one table.

    Args:
        config: Section `ingest`.
        raw: Folder data/raw.
        refusals: Rows that cannot be used are added: another number of cells, no recording, no parameter, no value, or
            a time that cannot be read or lies before the begin.
        findings: Header lines that are repeated inside of a file are counted here.

    Returns:
        The events and the files that were read.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: columns are missing, files have different headers, or not one usable row.
    """
    folder, files = files_of(raw, config.raw, config.files)
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    stems = [Path(name).stem for name in names]
    if not config.id_column and len(set(stems)) < len(stems):
        raise SourceError(
            f"{folder}: files of one name in several folders; expected one file for each recording; rename them, or "
            "set ingest.id_column"
        )
    frame, numbers, lines = _joined(files, names, config, refusals)
    own = pd.Series(np.array(stems, dtype=object)[numbers])
    rows = _Rows(
        owners=(frame[config.id_column] if config.id_column else own).str.strip().to_numpy(object),
        times=frame[config.time_column].str.strip().to_numpy(object),
        parameters=frame[config.parameter_column].str.strip().to_numpy(object),
        texts=frame[config.value_column].str.strip().to_numpy(object),
        lines=lines,
        files=numbers,
    )
    places, times = pd.factorize(rows.times)  # stays have few different times
    hours = _hours(pd.Series(times, dtype=object), config.time_format)[places]
    usable = _usable(rows, hours, names, config, refusals, findings)
    known = sorted(set(rows.owners[usable]) if config.id_column else stems)[: config.first_recordings]
    owners = pd.Index(known, dtype=object).get_indexer(pd.Index(rows.owners, dtype=object))
    usable &= owners >= 0
    if not usable.any():
        raise SourceError(
            f"{folder}: not one usable row in {len(files)} file(s); {len(refusals)} rows were refused; the first file "
            f"is {names[0]}"
        )
    texts = rows.texts[usable]
    events = Events(
        names=tuple(known),
        owners=owners[usable].astype(np.int64),
        hours=hours[usable],
        parameters=pd.Categorical(rows.parameters[usable]),
        texts=texts,
        numbers=pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64, copy=True),
        rows=rows.lines[usable],
        files=rows.files[usable],
        file_names=names,
        times=rows.times[usable],
    )
    return events, files


@dataclass(frozen=True, eq=False)
class _Rows:
    """Columns of all files, (n,) each: text, and the line and file of each row."""

    owners: np.ndarray
    times: np.ndarray
    parameters: np.ndarray
    texts: np.ndarray
    lines: np.ndarray
    files: np.ndarray


def _usable(
    rows: _Rows,
    hours: np.ndarray,
    names: tuple[str, ...],
    config: EventTablesIngestConfig,
    refusals: list[Refusal],
    findings: list[Finding],
) -> np.ndarray:
    """(n,), bool: which rows say all that an event needs; the others are refused, repeated headers are counted."""
    is_header = (rows.times == config.time_column) & (rows.parameters == config.parameter_column)
    if is_header.any():
        where = ", ".join(f"{names[rows.files[at]]}:{rows.lines[at]}" for at in np.flatnonzero(is_header)[:3])
        message = "header lines inside of a file; left out"
        findings.append(Finding("", "duplicate", int(is_header.sum()), where, message))
    usable: np.ndarray = ~is_header
    for column, bad, reason in (
        (config.id_column or "file", rows.owners == "", "no recording"),
        (config.parameter_column, rows.parameters == "", "no parameter"),
        (config.value_column, rows.texts == "", "no value"),
        (config.time_column, ~(hours >= 0), f"not a time since the begin as {config.time_format}"),
    ):
        refusals.extend(
            Refusal(
                asset=str(rows.owners[at]),
                file=names[rows.files[at]],
                row=int(rows.lines[at]),
                time=str(rows.times[at]),
                column=column,
                value=str(rows.texts[at]),
                reason=reason,
            )
            for at in np.flatnonzero(bad & usable)
        )
        usable &= ~bad
    return usable


def _joined(
    files: Sequence[Path], names: tuple[str, ...], config: EventTablesIngestConfig, refusals: list[Refusal]
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """All rows as text, the file of each and its line; the parser is called once, because 500 calls take longer."""
    wanted = [config.time_column, config.parameter_column, config.value_column]
    wanted += [config.id_column] if config.id_column else []
    header, parts = "", []
    for number, (path, name) in enumerate(zip(files, names, strict=True)):
        try:
            own, _, body = path.read_text(encoding="utf-8-sig").partition("\n")
        except UnicodeDecodeError as error:
            raise SourceError(f"{name}: not UTF-8 text ({error}); save the file as UTF-8") from error
        header = header or own
        columns = [cell.strip() for cell in next(csv.reader([own]), [])]
        missing = [column for column in wanted if column not in columns]
        if missing:
            raise SourceError(
                f"{name}: expected the columns {', '.join(wanted)}, found {', '.join(columns) or 'nothing'}; name them "
                "in ingest, or in the header"
            )
        if len({"", *columns}) <= len(columns):
            raise SourceError(f"{name}: expected a name for each column, once; found {own}; correct the header")
        if own != header:
            raise SourceError(f"{name}: expected the header of {names[0]} ({header}), found {own}; make them one")
        body = _of_equal_width(body.rstrip("\n"), len(columns), name, refusals)
        parts.append(f"\n{body}".replace("\n", f"\n{number},"))
    columns = ["", *(cell.strip() for cell in next(csv.reader([header])))]
    frame = pd.read_csv(
        io.StringIO("".join(parts).lstrip("\n")),
        names=columns,
        dtype=str,
        na_filter=False,
        header=None,
        index_col=False,
    )
    numbers = frame[""].to_numpy().astype(np.int64)
    first = np.searchsorted(numbers, np.arange(len(files)))
    lines = np.arange(len(frame)) - first[numbers] + 2  # as an editor counts them: the header is line 1
    keep = (frame[wanted] != "").any(axis=1).to_numpy(bool)  # the others are empty lines
    return frame[keep].reset_index(drop=True), numbers[keep], lines[keep]


def _of_equal_width(body: str, n_columns: int, name: str, refusals: list[Refusal]) -> str:
    """The rows, with an empty one in the place of each that has another number of cells."""
    if body and '"' not in body and (_n_commas(body) == n_columns - 1).all():
        return body
    rows = body.split("\n")
    for number, row in enumerate(rows):
        if row and _n_cells(row) != n_columns:
            refusals.append(Refusal("", name, number + 2, "", "", row[:80], f"expected {n_columns} cells"))
            rows[number] = ""
    return _padded("\n".join(rows), n_columns)


def _n_commas(body: str) -> np.ndarray:
    """(n_rows,), int64: commas of each row."""
    letters = np.frombuffer(body.encode(), np.uint8)
    before = np.searchsorted(np.flatnonzero(letters == ord(",")), np.flatnonzero(letters == ord("\n")))
    return np.diff(before, prepend=0, append=body.count(","))


def _padded(body: str, n_columns: int) -> str:
    empty = "," * (n_columns - 1)
    return "\n".join(row or empty for row in body.split("\n")) if "\n\n" in f"\n{body}\n" else body


def _n_cells(row: str) -> int:
    try:
        return len(next(csv.reader([row], strict=True)))
    except csv.Error:
        return -1


def _hours(times: pd.Series, time_format: str) -> np.ndarray:
    """(n,), float64: hours since the begin, NaN where the text is no such time."""
    if time_format == "hh:mm":
        parts = times.str.extract(r"^(\d+):([0-5]\d)$")
        hours, minutes = (pd.to_numeric(parts[place], errors="coerce").to_numpy(np.float64) for place in (0, 1))
        return np.asarray(hours + minutes / 60)
    numbers = pd.to_numeric(times, errors="coerce").to_numpy(np.float64)
    found = numbers / {"hours": 1, "minutes": 60, "seconds": 3600}[time_format]
    return np.where(np.isfinite(found), found, np.nan)
