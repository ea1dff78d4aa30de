"""Rows of the embedded store as Parquet: written in small pieces, and merged in memory that does not grow with them.

A part is sorted by asset and time and has one row for each of these, in small row groups. A merge holds one row group
of every part, however long the parts are, and needs no DuckDB, which would not fit into the memory of the bridge.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from foresense.stores.batch import Batch, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns that are no channel: name of the asset, nanoseconds since 1970 UTC, number of the last write in the row.
KEYS = ("asset", "time_ns", "write")
_GROUP_BYTES = 224 << 10  # of a row group, unpacked: a merge holds one of every part
#: Rows of the longest part that a merge makes: a merge holds the footers of all its parts, which name every row group.
MOST_ROWS = 8_000_000
_VALUE_BYTES = 8


class _Rows(NamedTuple):
    """Rows of a part that follow each other.

    Attributes:
        assets: Names, sorted, each one once.
        starts: (n_assets + 1,), int64: rows of asset `i` are those from `starts[i]` to `starts[i + 1]`.
        times_ns: (n_rows,), int64: nanoseconds since 1970 UTC.
        writes: (n_rows,), int64: number of the last write in the row.
        columns: (n_rows,), float64, for each channel; NaN where not measured.
    """

    assets: list[str]
    starts: np.ndarray
    times_ns: np.ndarray
    writes: np.ndarray
    columns: list[np.ndarray]

    @property
    def last(self) -> tuple[str, int]:
        """Asset and time of the last row."""
        return self.assets[-1], int(self.times_ns[-1])

    def n_up_to(self, asset: str, time_ns: int) -> int:
        """How many rows have an asset and time up to these."""
        at = bisect_left(self.assets, asset)
        first = int(self.starts[at])
        if at == len(self.assets) or self.assets[at] != asset:
            return first
        return first + int(np.searchsorted(self.times_ns[first : self.starts[at + 1]], time_ns, side="right"))

    def between(self, first: int, last: int) -> _Rows:
        """Rows `first` to `last`, the latter left out."""
        lengths = [max(0, min(end, last) - max(begin, first)) for begin, end in pairwise(self.starts.tolist())]
        there = [number for number, length in enumerate(lengths) if length]
        starts = np.cumsum([0, *(lengths[number] for number in there)])
        rows = slice(first, last)
        return _Rows(
            [self.assets[number] for number in there],
            starts,
            self.times_ns[rows],
            self.writes[rows],
            [column[rows] for column in self.columns],
        )


def check_channels(channels: Sequence[str]) -> None:
    """Refuse a channel that is called like a column that is none; DuckDB does not tell `Write` from `write`.

    Raises:
        StoreError: there is one.
    """
    for name in channels:
        if name.lower() in KEYS:
            raise StoreError(
                f"a channel cannot be called {name!r}: the embedded store has columns {', '.join(KEYS)} of its own; "
                "give the channel another name where it is measured, or leave it out"
            )


def table_of(batch: Batch, write: int) -> pa.Table:
    """One row for each asset and time, sorted; of each channel the last value in the batch; NaN becomes null.

    Args:
        batch: Rows in the order of their writing.
        write: Number of this write.

    Raises:
        StoreError: see `check_channels`.
    """
    check_channels(batch.channels)
    names = np.array(batch.assets, object)
    rank = np.argsort(np.argsort(names))[batch.asset_index]
    order = np.lexsort((batch.times_ns, rank))  # stable: rows of one key stay in the order of their writing
    ends = _ends(rank[order], batch.times_ns[order])
    columns = {name: _last(batch.values[order, number], ends) for number, name in enumerate(batch.channels)}
    keep = order[ends]
    return _table(names[batch.asset_index[keep]], batch.times_ns[keep], np.full(len(keep), write, np.int64), columns)


def write_part(tables: Iterable[pa.Table], schema: pa.Schema, file: IO[bytes]) -> None:
    """Write tables, one after the other, as one part.

    Args:
        tables: Sorted by asset and time, the first one's rows before those of the second, and so on.
        schema: Of each of them.
        file: Where to; stays open.
    """
    import pyarrow.parquet as pq

    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=["asset"],
        write_statistics=["asset", "time_ns"],
        write_page_checksum=True,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=_group_rows(len(schema)))


def merged_schema(paths: Sequence[Path]) -> pa.Schema:
    """Columns of all these parts, in the order in which they come: keys first, then channels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.unify_schemas([pq.read_schema(path).remove_metadata() for path in paths])


def n_rows(paths: Sequence[Path]) -> int:
    """Rows of all these parts, before any merge."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in paths)


def damage_errors() -> tuple[type[Exception], ...]:
    """What reading a part that is damaged raises; a part that is not there, too."""
    import pyarrow as pa

    return (OSError, ValueError, KeyError, pa.ArrowException)


def damage_of(path: Path) -> str:
    """What is wrong with a part, read from end to end; empty where nothing is.

    Its pages are held against their checksums; parts of earlier versions have none.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
            for _ in _groups(file, [name for name in file.schema_arrow.names if name not in KEYS]):
                pass
    except damage_errors() as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def merge(paths: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """Merge parts into one: a row for each asset and time, and of each channel the value that was written last.

    Args:
        paths: Parts.
        schema: Of all of them together.

    Yields:
        The rows, sorted, a row group at a time.
    """
    import pyarrow as pa

    n_group = _group_rows(len(schema))
    waiting = schema.empty_table()
    for rows in _merged_rows(paths, [name for name in schema.names if name not in KEYS]):
        waiting = pa.concat_tables([waiting, rows])
        while len(waiting) >= n_group:
            yield waiting.slice(0, n_group)
            waiting = waiting.slice(n_group)
    if len(waiting):
        yield waiting


def _merged_rows(paths: Sequence[Path], channels: Sequence[str]) -> Iterator[pa.Table]:
    """Round by round what no part has more of: the rows up to where the first of the row groups at hand ends."""
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        files = [
            stack.enter_context(pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True))
            for path in paths
        ]
        groups = [_groups(file, channels) for file in files]
        held = {number: rows for number, found in enumerate(groups) if (rows := next(found, None)) is not None}
        while held:
            asset, time_ns = min(rows.last for rows in held.values())
            taken = []
            for number, rows in held.items():
                n_taken = rows.n_up_to(asset, time_ns)
                taken.append(rows.between(0, n_taken))
                held[number] = rows.between(n_taken, len(rows.times_ns))
            yield _one_of(taken, channels)
            del taken
            for number in [number for number, rows in held.items() if not rows.assets]:
                del held[number]
                following = next(groups[number], None)
                if following is not None:
                    held[number] = following


def _groups(file: Any, channels: Sequence[str]) -> Iterator[_Rows]:
    """Rows of one part, a row group at a time, or a piece of one where it is large."""
    n_most = 2 * _group_rows(len(KEYS) + len(channels))
    for group in range(file.num_row_groups):
        if not file.metadata.row_group(group).num_rows:  # all of them were deleted
            continue
        if file.metadata.row_group(group).num_rows <= n_most:
            yield _rows(file.read_row_group(group, use_threads=False), channels)
        else:
            for batch in file.iter_batches(batch_size=n_most, row_groups=[group], use_threads=False):
                yield _rows(batch, channels)


def _rows(table: pa.Table | pa.RecordBatch, channels: Sequence[str]) -> _Rows:
    assets = table.column("asset").to_numpy(zero_copy_only=False)
    starts = np.r_[0, np.flatnonzero(assets[1:] != assets[:-1]) + 1]
    there = set(table.schema.names)
    columns = [
        table.column(name).to_numpy(zero_copy_only=False) if name in there else np.full(len(assets), np.nan)
        for name in channels
    ]
    times_ns, writes = (table.column(name).to_numpy() for name in KEYS[1:])
    return _Rows(assets[starts].tolist(), np.r_[starts, len(assets)], times_ns, writes, columns)


def _one_of(taken: Sequence[_Rows], channels: Sequence[str]) -> pa.Table:
    """Rows of several parts as one sorted table with one row for each asset and time."""
    names = sorted({name for rows in taken for name in rows.assets})
    ranks = {name: rank for rank, name in enumerate(names)}
    rank = np.concatenate(
        [np.repeat([ranks[name] for name in rows.assets], np.diff(rows.starts)).astype(np.int64) for rows in taken]
    )
    times_ns = np.concatenate([rows.times_ns for rows in taken])
    writes = np.concatenate([rows.writes for rows in taken])
    order = np.lexsort((writes, times_ns, rank))
    ends = _ends(rank[order], times_ns[order])
    columns = {
        name: _last(np.concatenate([rows.columns[number] for rows in taken])[order], ends)
        for number, name in enumerate(channels)
    }
    keep = order[ends]
    return _table(np.array(names, object)[rank[keep]], times_ns[keep], writes[keep], columns)


def _ends(rank: np.ndarray, times_ns: np.ndarray) -> np.ndarray:
    """Positions of the last row of each key, of rows sorted by rank of the asset and time."""
    return np.flatnonzero(np.r_[(rank[1:] != rank[:-1]) | (times_ns[1:] != times_ns[:-1]), True][: len(rank)])


def _last(column: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The last value that was measured for each key; NaN where none was."""
    if len(ends) == len(column):
        return column
    begins = np.r_[0, ends[:-1] + 1]
    newest = np.maximum.accumulate(np.where(np.isnan(column), -1, np.arange(len(column))))[ends]
    return np.where(newest >= begins, column[newest], np.nan)


def _table(assets: np.ndarray, times_ns: np.ndarray, writes: np.ndarray, columns: dict[str, np.ndarray]) -> pa.Table:
    import pyarrow as pa

    keys = {"asset": pa.array(assets, pa.string()), "time_ns": pa.array(times_ns), "write": pa.array(writes)}
    return pa.table(keys | {name: pa.array(column, from_pandas=True) for name, column in columns.items()})


def _group_rows(n_columns: int) -> int:
    """Rows of a row group."""
    return max(_GROUP_BYTES // (_VALUE_BYTES * n_columns), 1)
