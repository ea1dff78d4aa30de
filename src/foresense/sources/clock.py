"""Timestamps as found in files to UTC: zones, clock changes, and times that cannot be read."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from foresense.sources.tables import SourceError

_WITH_ZONE = r"[T ]\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$"


@dataclass(frozen=True, eq=False)
class Clock:
    """Times of the rows of one file.

    Attributes:
        times_ns: (n_rows,), int64: nanoseconds since 1970 UTC; undefined where `reasons` is not empty.
        reasons: (n_rows,), str: why a time cannot be used; empty where it can.
        repeated: (n_rows,), bool: the local time happened twice, at the end of summer time.
        n_second: How many of the `repeated` rows were taken as the second passage.
    """

    times_ns: np.ndarray
    reasons: np.ndarray
    repeated: np.ndarray
    n_second: int


def check_zone(time_zone: str, name: str = "ingest.time_zone") -> None:
    """Refuse a time zone that nobody knows.

    Args:
        time_zone: IANA name.
        name: Of the setting, for the message.

    Raises:
        SourceError: not an IANA name.
    """
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SourceError(
            f"{name}: {time_zone!r} is no time zone; give an IANA name like 'Europe/Paris', or 'UTC'"
        ) from error


def read_clock(column: pd.Series, time_zone: str, *, file: str) -> Clock:
    """Turn a column of timestamps into UTC.

    Text must be ISO 8601. Where it carries no zone it is local time of `time_zone`: an hour that the clock skipped
    is refused; an hour that it went through twice is told apart by the step back in the order of the rows, and is
    the first passage where there is no such step.

    Args:
        column: (n_rows,): text, or datetimes with or without a zone.
        time_zone: IANA name.
        file: For messages.

    Raises:
        SourceError: the column holds plain numbers, or no time at all that can be read.
    """
    check_zone(time_zone)
    if is_numeric_dtype(column.dtype) or is_bool_dtype(column.dtype):
        raise SourceError(
            f"{file}: column {column.name!r} holds numbers ({_first(column)}), expected ISO 8601 times like "
            "'2024-05-31T13:00:00' or '2024-05-31T13:00:00+02:00'; rewrite the column, or set ingest.time_column"
        )
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        utc = pd.DatetimeIndex(column).tz_convert("UTC")
        return _clock(utc, _reasons(utc, column), np.zeros(len(column), bool), 0)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        naive = pd.DatetimeIndex(column)
        utc, repeated, n_second = _localise(naive, time_zone)
        return _clock(utc, _skipped(naive, utc, _reasons(naive, column), time_zone), repeated, n_second)
    text = column.astype("string").str.strip()
    zoned = text.str.contains(_WITH_ZONE, regex=True, na=False).to_numpy(bool)
    utc = pd.DatetimeIndex(pd.to_datetime(text.where(zoned), utc=True, format="ISO8601", errors="coerce"))
    naive = pd.DatetimeIndex(pd.to_datetime(text.mask(zoned), format="ISO8601", errors="coerce"))
    local, repeated, n_second = _localise(naive, time_zone)
    both = utc.where(zoned, local)
    readable = naive.where(~zoned, utc.tz_localize(None))
    reasons = _skipped(readable, both, _reasons(readable, column), time_zone)
    if len(column) and (reasons != "").all() and not (reasons == "no time").all():
        raise SourceError(
            f"{file}: no time in column {column.name!r} can be read (first: {_first(column)}), expected ISO 8601 "
            "like '2024-05-31T13:00:00'; rewrite the column, or set ingest.time_column"
        )
    return _clock(both, reasons, repeated, n_second)


def _localise(naive: pd.DatetimeIndex, time_zone: str) -> tuple[pd.DatetimeIndex, np.ndarray, int]:
    """Local times to UTC, which of them happened twice, and how many were taken as the second passage."""
    first, second = (
        naive.tz_localize(time_zone, ambiguous=np.full(len(naive), summer), nonexistent="NaT").tz_convert("UTC")
        for summer in (True, False)
    )
    repeated = np.asarray(first != second) & np.asarray(first.notna())
    if not repeated.any():
        return first, repeated, 0
    is_second = np.zeros(len(naive), bool)
    steps = np.diff(naive.asi8)
    rows = np.flatnonzero(repeated)
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        inner = steps[run[:-1]]
        back = np.flatnonzero(inner < 0)
        back = back if len(back) else np.flatnonzero(inner == 0)  # one sample an hour: the same time twice
        if len(back):
            is_second[run[back[0] + 1 :]] = True
    return first.where(~is_second, second), repeated, int(is_second.sum())


def _reasons(read: pd.DatetimeIndex, column: pd.Series) -> np.ndarray:
    reasons = np.where(read.isna(), "not an ISO 8601 time", "")
    reasons[column.isna().to_numpy(bool)] = "no time"
    return reasons


def _skipped(read: pd.DatetimeIndex, utc: pd.DatetimeIndex, reasons: np.ndarray, time_zone: str) -> np.ndarray:
    """Add the reason for local times that were read but never happened."""
    skipped = np.asarray(read.notna()) & np.asarray(utc.isna())
    return np.where(skipped, f"never happened in {time_zone}: the clock skipped it", reasons)


def _clock(utc: pd.DatetimeIndex, reasons: np.ndarray, repeated: np.ndarray, n_second: int) -> Clock:
    return Clock(utc.as_unit("ns").asi8, reasons, repeated, n_second)


def _first(column: pd.Series) -> str:
    present = column.dropna()
    return repr(str(present.iloc[0])) if len(present) else "nothing"
