"""Cells of one CSV or Parquet file, before anything is known about what they mean."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.sources.tables import Finding, SourceError


def read_csv_frame(path: Path, name: str, *, text: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a CSV file: comma, UTF-8, one header line.

    Empty cells and the words that pandas takes for missing (NA, NaN, null, ...) are missing.

    Args:
        path: The file.
        name: For messages.
        text: Columns that are kept as they are written; None: all of them.

    Returns:
        Rows that are not empty, indexed by their number as an editor counts lines: the header is line 1.

    Raises:
        SourceError: not such a file.
    """
    try:
        frame = pd.read_csv(
            path,
            dtype="string" if text is None else dict.fromkeys(text, "string"),
            encoding="utf-8-sig",
            float_precision="round_trip",
            low_memory=False,
            skip_blank_lines=False,
        )
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: not UTF-8 text ({error}); save the file as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SourceError(
            f"{name}: not a CSV file with a header line: {str(error).strip()}; repair the file"
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    if not isinstance(frame.index, pd.RangeIndex):
        advice = "name every column in the header"
        if len(frame.columns) == 1 and ";" in frame.columns[0]:
            advice = "separate cells by commas in place of ';', and write decimals with a point"
        raise SourceError(f"{name}: rows have more cells than the header's {len(frame.columns)}; {advice}")
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return frame.dropna(how="all")


def read_parquet_frame(path: Path, name: str) -> pd.DataFrame:
    """Read a Parquet file, an index that has a name as a column; rows are counted from 1.

    Raises:
        SourceError: not such a file.
    """
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # a damaged file may lead its reader to anything: it is what is wrong with the file
        raise SourceError(f"{name}: not a Parquet file that can be read: {error}") from error
    if frame.index.name is not None:
        frame = frame.reset_index()
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def require_columns(frame: pd.DataFrame, name: str, roles: Mapping[str, str]) -> list[Finding]:
    """Refuse a file without the asked columns; report those that nobody asked for.

    Args:
        frame: The file.
        name: For messages.
        roles: Column -> what asks for it.

    Raises:
        SourceError: all missing columns together, each with the nearest one that is there.
    """
    known = [str(column) for column in frame.columns]
    problems = []
    for column, role in roles.items():
        if column not in known:
            near = get_close_matches(column, known, n=1, cutoff=0.5)
            problems.append(f"no column {column!r} ({role})" + (f"; did you mean {near[0]!r}?" if near else ""))
    if problems:
        advice = " Cells must be separated by commas." if len(known) == 1 else ""
        raise SourceError(f"{name}: {'; '.join(problems)} (columns: {', '.join(known)}).{advice}")
    unused = [column for column in known if column not in roles]
    if not unused:
        return []
    return [Finding("", "unused_columns", len(unused), f"{name}: {', '.join(unused)}", "no channel names them")]


def numbers_of(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Cells as numbers.

    Returns:
        (n_rows,), float64, NaN where missing or no number; and (n_rows,), bool: holds something that is no number.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype("string")
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    if column.dtype == object:  # one bad cell makes a column text, and to_numeric rounds the last digit of text
        read = ~np.isnan(numbers)
        numbers[read] = column[read].astype(np.float64)
    return numbers, np.isnan(numbers) & ~column.isna().to_numpy(bool)
