"""What is checked where raw samples enter: order, duplicates, gaps, constant channels, enough data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from foresense.sources.tables import Finding, RawTable, SourceError

_N_SHOWN = 3
_S = 1_000_000_000  # nanoseconds


@dataclass(frozen=True)
class Gap:
    """A stretch of the grid without a single value.

    Attributes:
        row: First row of the grid in the gap.
        n_samples: Its length in samples.
    """

    row: int
    n_samples: int


def in_order_once(table: RawTable, channels: Sequence[str]) -> tuple[RawTable, list[Finding]]:
    """Sort rows by time, and keep one of each set of equal rows.

    Args:
        table: Rows in the order in which they were found.
        channels: Names of the columns of `table.values`, for messages.

    Returns:
        The table with strictly rising times, and what was done to get there.

    Raises:
        SourceError: rows with one timestamp and different values; the message names the first of them.
    """
    findings = []
    earlier = np.flatnonzero(np.diff(table.times_ns) < 0) + 1
    if len(earlier):
        where = ", ".join(table.place(int(row)) for row in earlier[:_N_SHOWN])
        message = "steps back in time; the rows were sorted"
        findings.append(Finding(table.asset, "unsorted", len(earlier), where, message))
        table = table.taken(np.argsort(table.times_ns, kind="stable"))
    again = np.diff(table.times_ns) == 0
    if again.any():
        before, after = table.values[:-1], table.values[1:]
        equal = ((before == after) | (np.isnan(before) & np.isnan(after))).all(axis=1)
        different = np.flatnonzero(again & ~equal)
        if len(different):
            raise SourceError(_conflict(table, different, channels))
        duplicates = np.flatnonzero(again) + 1
        where = ", ".join(table.place(int(row)) for row in duplicates[:_N_SHOWN])
        message = "rows with the time and the values of another row; one of each was kept"
        findings.append(Finding(table.asset, "duplicate", len(duplicates), where, message))
        table = table.taken(np.r_[True, ~again])
    return table, findings


def check_rate(table: RawTable, interval_s: float) -> None:
    """Refuse samples that are farther apart than the grid, and a grid that would be nearly empty.

    Args:
        table: Strictly rising times.
        interval_s: Seconds from one sample of the grid to the next.

    Raises:
        SourceError: the samples are slower than declared, or a few stray times stretch the grid.
    """
    if len(table.times_ns) < 2:
        return
    steps = np.diff(table.times_ns)
    seen_s = float(np.median(steps)) / _S
    if seen_s > 1.5 * interval_s:
        raise SourceError(
            f"{table.asset}: ingest.interval_s is {interval_s:g}, but timestamps are {seen_s:g} s apart "
            f"(median of {len(steps)} steps); set interval_s to {seen_s:g} or more"
        )
    n_grid = (int(table.times_ns[-1]) - int(table.times_ns[0])) / _S / interval_s
    n_needed = len(np.unique(table.times_ns // round(interval_s * _S)))
    if n_grid > max(100 * n_needed, 1_000_000):
        widest = int(np.argmax(steps))
        raise SourceError(
            f"{table.asset}: {len(table.times_ns)} rows would make a grid of {n_grid:.0f} samples, because nothing "
            f"lies between {table.place(widest)} ({_time(table, widest)}) and {table.place(widest + 1)} "
            f"({_time(table, widest + 1)}); remove the stray times"
        )


def gaps_of(samples: np.ndarray) -> list[Gap]:
    """Stretches of rows without a single value.

    Args:
        samples: (n_samples, n_channels), NaN where missing.
    """
    empty = np.isnan(samples).all(axis=1)
    edges = np.flatnonzero(np.diff(np.r_[False, empty, False]))
    return [Gap(int(begin), int(end - begin)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def grid_findings(
    asset: str, samples: np.ndarray, channels: Sequence[str], times: pd.DatetimeIndex, gaps: Sequence[Gap]
) -> list[Finding]:
    """What is worth knowing of samples on their grid: gaps, missing values, channels that never change.

    Args:
        asset: Name of the asset.
        samples: (n_samples, n_channels), NaN where missing.
        channels: Name of each column.
        times: (n_samples,) time of each row.
        gaps: What `gaps_of` found.

    Raises:
        SourceError: a channel has no value at all.
    """
    missing = np.isnan(samples)
    n_valid = len(samples) - missing.sum(axis=0)
    if not n_valid.all():
        empty = [name for name, n in zip(channels, n_valid, strict=True) if not n]
        raise SourceError(
            f"{asset}: channel(s) {empty} have no value in {len(samples)} samples; remove them from "
            "ingest.channels, or repair the files (refused cells are in refused.csv)"
        )
    findings = []
    if gaps:
        n_rows = sum(gap.n_samples for gap in gaps)
        longest = sorted(gaps, key=lambda gap: -gap.n_samples)[:_N_SHOWN]
        where = ", ".join(f"{times[gap.row].isoformat()} ({gap.n_samples})" for gap in longest)
        message = f"{n_rows} samples without a value, left missing; start and length of the longest are listed"
        findings.append(Finding(asset, "gap", len(gaps), where, message))
    partly = missing & ~missing.all(axis=1)[:, None]
    for index in np.flatnonzero(partly.any(axis=0)).tolist():
        rows = np.flatnonzero(partly[:, index])
        where = ", ".join(times[row].isoformat() for row in rows[:_N_SHOWN])
        message = f"channel {channels[index]!r} has no value where others have one; left missing"
        findings.append(Finding(asset, "missing", len(rows), where, message))
    constant = np.nanmin(samples, axis=0) == np.nanmax(samples, axis=0)
    for index in np.flatnonzero(constant).tolist():
        value = float(np.nanmin(samples[:, index]))
        message = f"channel {channels[index]!r} is {value:g} throughout; nothing can be learnt from it"
        findings.append(Finding(asset, "constant", int(n_valid[index]), times[0].isoformat(), message))
    return findings


def _conflict(table: RawTable, rows: np.ndarray, channels: Sequence[str]) -> str:
    shown = []
    for row in (int(row) for row in rows[:_N_SHOWN]):
        before, after = table.values[row], table.values[row + 1]
        index = int(np.flatnonzero(~((before == after) | (np.isnan(before) & np.isnan(after))))[0])
        shown.append(
            f"{_time(table, row)} at {table.place(row)} and {table.place(row + 1)} "
            f"({channels[index]} is {before[index]:g} and {after[index]:g})"
        )
    return (
        f"{table.asset}: {len(rows)} pair(s) of rows with one timestamp and different values: {'; '.join(shown)}; "
        "keep one row of each, or name the column that tells assets apart in ingest.asset_column"
    )


def _time(table: RawTable, row: int) -> str:
    return pd.Timestamp(int(table.times_ns[row]), unit="ns", tz="UTC").isoformat()
