"""The embedded store: append-only Parquet parts, read by DuckDB; one writer, any number of readers, no server.

A part is complete or absent: written beside, flushed to the disk, renamed. Its name says which writes it holds and how
often it was merged: `000000000012-000000000012.parquet` is one write, `000000000001-000000000064.parquet` the first 64
of them, merged. A merged part takes the place of those it covers at the moment of its renaming; whoever still finds the
covered ones beside it leaves them out. So a crash at any moment loses nothing and shows nothing twice.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast

import numpy as np

from foresense.signals.folders import flush_folder
from foresense.stores import queries
from foresense.stores.batch import Batch, RefusedRow, StoreError, StoreUnavailableError
from foresense.stores.parts import (
    MOST_ROWS,
    damage_errors,
    damage_of,
    merge,
    merged_schema,
    n_rows,
    table_of,
    write_part,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

LOG = logging.getLogger(__name__)
#: Parts of one size that are merged into one of the next size.
FAN = 32
_PART = re.compile(r"(?P<first>\d{12})-(?P<last>\d{12})\.parquet")
_N_ROWS = 100_000  # read at a time of a part that is written anew
Answer = TypeVar("Answer")
_N_TRIES = 25  # of a reader whose parts were merged away between its look and its read


class Part(NamedTuple):
    """One file of the store.

    Attributes:
        first: Number of the first write in it.
        last: Number of the last one.
        path: Where.
    """

    first: int
    last: int
    path: Path


class EmbeddedStore:
    """Samples in a folder; see `Store` for what the methods promise.

    One process writes at a time, held to that by a lock on the file `writer.lock`; readers need no lock.
    """

    def __init__(self, folder: Path) -> None:
        """Look into `folder`; it is made by the first write."""
        self.folder = folder
        self._lock: int | None = None
        self._next = 0

    def prepare(self) -> None:
        """Nothing: the first write makes the folder."""

    def write(self, batch: Batch) -> list[RefusedRow]:
        """Keep `batch` as one part, and merge parts when there are many of one size.

        Raises:
            StoreUnavailableError: another process is the writer, the folder cannot be written to, or the disk is full.
            StoreError: a channel is called like a column that is none.
        """
        measured = ~np.isnan(batch.values).all(axis=1)
        if not measured.any():
            return []
        self._become_writer()
        try:
            table = table_of(batch.rows(measured), self._next)
            self._write_part([table], table.schema, self._next, self._next)
        except OSError as error:
            raise StoreUnavailableError(f"{self.folder}: cannot write: {error}; make room on the disk") from error
        self._next += 1
        try:
            self._merge_where_many()
        except damage_errors() as error:  # or a full disk; the batch is kept, and the parts stand
            LOG.warning("%s: parts are not merged: %s; tried again with a later write", self.folder, error)
        return []

    def read(
        self,
        asset: str,
        start_ns: int,
        end_ns: int,
        *,
        channels: tuple[str, ...],
        every_ns: int | None = None,
        origin_ns: int = 0,
    ) -> Batch:
        """Samples, or their means, of one asset; see `Store.read`."""

        def ask(connection: duckdb.DuckDBPyConnection) -> dict[str, np.ndarray]:
            known = queries.channels(connection)
            wanted = [name for name in channels if name in known]
            if not wanted:
                return {"time_ns": np.empty(0, np.int64)}
            found = connection.execute(queries.samples(wanted, every_ns), limits)
            return cast(dict[str, np.ndarray], found.fetchnumpy())

        limits: dict[str, Any] = {"asset": asset, "start": start_ns, "end": end_ns}
        if every_ns is not None:
            limits |= {"every": every_ns, "origin": start_ns - (start_ns - origin_ns) % every_ns}
        columns = self._asked(ask, {"time_ns": np.empty(0, np.int64)})
        values = np.full((len(columns["time_ns"]), len(channels)), np.nan)
        for number, name in enumerate(channels):
            if name in columns:
                values[:, number] = np.ma.filled(np.ma.asarray(columns[name], np.float64), np.nan)
        there = ~np.isnan(values).all(axis=1)
        return Batch.of_asset(asset, np.asarray(columns["time_ns"], np.int64)[there], channels, values[there])

    def assets(self) -> dict[str, tuple[int, int]]:
        """Every asset with the times of its first and last sample."""

        def ask(connection: duckdb.DuckDBPyConnection) -> list[Any]:
            sql = "SELECT asset, min(time_ns), max(time_ns) FROM part GROUP BY asset ORDER BY asset"
            return connection.execute(sql).fetchall()

        no_rows: list[Any] = []
        return {str(asset): (int(first), int(last)) for asset, first, last in self._asked(ask, no_rows)}

    def delete(self, start_ns: int, end_ns: int, asset: str | None = None) -> None:
        """Write every part anew that holds such samples, without them; a crash leaves some parts done, none broken.

        Raises:
            StoreUnavailableError: another process is the writer, or the folder cannot be written to.
            StoreError: a part is damaged; it and those after it are as they were.
        """
        self._become_writer()
        condition = "time_ns >= $start AND time_ns < $end" + (" AND asset = $asset" if asset is not None else "")
        limits: dict[str, Any] = {"start": start_ns, "end": end_ns} | ({"asset": asset} if asset is not None else {})
        for part in self.parts():
            with self._rewriting(part) as connection:
                n_hit = connection.execute(f"SELECT count(*) FROM part WHERE {condition}", limits).fetchall()[0][0]
                if n_hit:
                    kept = connection.sql(f"SELECT * FROM part WHERE NOT ({condition})", params=limits)
                    self._write_anew(part, kept)

    @property
    def place(self) -> str:
        """The folder, whatever name it was given by."""
        return f"embedded:{self.folder.resolve()}"

    def exists(self) -> bool:
        """Always: a folder that is not there is an empty store."""
        return True

    def sensor_types(self) -> tuple[str | None, ...]:
        """None alone: it has no tags."""
        return (None,)

    def view(self, sensor_type: str | None) -> Self:  # the type is not kept
        """The store itself."""
        return self

    def channels(self) -> tuple[str, ...]:
        """Every channel that a part has a column for."""
        nothing: list[str] = []
        return tuple(sorted(self._asked(queries.channels, nothing)))

    def n_values(self, asset: str, start_ns: int, end_ns: int, channels: Sequence[str]) -> int:
        """Values in all parts; one that was written twice counts twice."""

        def ask(connection: duckdb.DuckDBPyConnection) -> int:
            known = set(queries.channels(connection))
            counts = " + ".join(f"count({queries.quoted(name)})" for name in channels if name in known)
            if not counts:
                return 0
            sql = f"SELECT {counts} FROM part WHERE asset = $asset AND time_ns >= $start AND time_ns < $end"
            return int(connection.execute(sql, limits).fetchall()[0][0])

        limits: dict[str, Any] = {"asset": asset, "start": start_ns, "end": end_ns}
        return self._asked(ask, 0)

    def erase(self, asset: str, times_ns: np.ndarray, channels: Sequence[str]) -> None:
        """Write every part anew that holds such values, without them; a crash leaves some parts done, none broken.

        See `SeriesStore.erase`.

        Raises:
            StoreUnavailableError: another process is the writer, or the folder cannot be written to.
            StoreError: a part is damaged; it and those after it are as they were.
        """
        import pyarrow as pa

        self._become_writer()
        if not len(times_ns):
            return
        limits: dict[str, Any] = {"asset": asset, "first": int(times_ns[0]), "last": int(times_ns[-1])}
        for part in self.parts():
            with self._rewriting(part) as connection:
                connection.register("erased", pa.table({"time_ns": times_ns}))
                names = queries.channels(connection)
                gone = [name for name in names if name in channels]
                if not gone:
                    continue
                if connection.execute(queries.hits(gone), limits).fetchall():
                    self._write_anew(part, connection.sql(queries.without(names, gone), params=limits))

    def mend(self, *, apply: bool = True) -> int:
        """Nothing waits here: each part is complete."""
        return 0

    def parts(self) -> list[Part]:
        """The files that hold the samples now, in the order of their writes; covered ones are left out."""
        if not self.folder.is_dir():
            return []
        named = ((_PART.fullmatch(path.name), path) for path in self.folder.iterdir())
        found = sorted(
            (Part(int(name["first"]), int(name["last"]), path) for name, path in named if name),
            key=lambda part: (part.first, -part.last),
        )
        standing: list[Part] = []
        for part in found:
            if not standing or part.last > standing[-1].last:
                standing.append(part)
        return standing

    def close(self) -> None:
        """Let another process be the writer."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _become_writer(self) -> None:
        """Take the lock, and clear what a crash left; nothing where we have it.

        Raises:
            StoreUnavailableError: another process has it, or the folder cannot be made or written to.
        """
        if self._lock is not None:
            return
        lock = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            standing = self.parts()
            self._remove_covered(standing)
        except OSError as error:
            if lock is not None:
                os.close(lock)
            if isinstance(error, BlockingIOError):
                problem = "another process writes there; one writer at a time, so stop it (a bridge?) first"
            else:
                problem = (
                    f"cannot be written to: {error}; expected a folder that this user may write to, or a path where "
                    "one can be made: correct the store's path, its rights, or make room on the disk"
                )
            raise StoreUnavailableError(f"{self.folder}: {problem}") from error
        self._lock = lock
        self._next = standing[-1].last + 1 if standing else 1

    def _remove_covered(self, standing: list[Part]) -> None:
        """What a crash left behind: merged parts' sources, and files that were never finished."""
        keep = {part.path.name for part in standing}
        for path in self.folder.iterdir():
            if (_PART.fullmatch(path.name) and path.name not in keep) or path.name.endswith(".unfinished"):
                path.unlink()

    def _merge_where_many(self) -> None:
        """Merge the newest `FAN` parts while they are of one size and not too long: FAN writes, then FAN of those."""
        while True:
            newest = self.parts()[-FAN:]
            sizes = {part.last - part.first for part in newest}
            if len(newest) < FAN or len(sizes) > 1:
                return
            paths = [part.path for part in newest]
            if n_rows(paths) > MOST_ROWS:
                return
            schema = merged_schema(paths)
            self._write_part(merge(paths, schema), schema, newest[0].first, newest[-1].last)
            for part in newest:
                part.path.unlink()

    def _write_anew(self, part: Part, rows: duckdb.DuckDBPyRelation) -> None:
        """Write `rows`, in order of asset and time, in the place of `part`, which they are of."""
        import pyarrow as pa

        damage = damage_of(part.path)  # DuckDB looks at no checksum, and the new file would have a right one
        if damage:
            raise self._damaged(part, damage)
        reader = rows.to_arrow_reader(_N_ROWS)
        tables = (pa.Table.from_batches([piece]) for piece in reader)
        self._write_part(tables, reader.schema, part.first, part.last)

    def _write_part(self, tables: Iterable[pa.Table], schema: pa.Schema, first: int, last: int) -> None:
        path = self.folder / f"{first:012d}-{last:012d}.parquet"
        beside = path.with_name(f".{path.name}.unfinished")
        try:
            with beside.open("wb") as file:
                write_part(tables, schema, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)  # on a full disk it would keep the room that others need
            raise
        os.replace(beside, path)
        flush_folder(self.folder)

    @contextmanager
    def _rewriting(self, part: Part) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees the rows of `part`, which is to be written anew.

        Raises:
            StoreError: it is damaged.
        """
        import duckdb

        try:
            with queries.showing([part.path]) as connection:
                yield connection
        except duckdb.Error as error:
            raise self._unreadable([part], error) from error

    def _asked(self, ask: Callable[[duckdb.DuckDBPyConnection], Answer], nothing: Answer) -> Answer:
        """The answer over all parts, `nothing` where there is none; looks again where the writer changed them.

        Raises:
            StoreError: the parts cannot be read.
        """
        import duckdb

        for attempt in range(_N_TRIES):
            parts = self.parts()
            if not parts:
                return nothing
            files = _files(parts)
            try:
                with queries.showing([part.path for part in parts]) as connection:
                    return ask(connection)
            except duckdb.Error as error:
                if files and files == _files(self.parts()):
                    raise self._unreadable(parts, error) from error
                if attempt + 1 == _N_TRIES:
                    raise StoreError(
                        f"{self.folder}: the writer changed the parts at each of {_N_TRIES} tries to read them; "
                        f"try again when it has finished (DuckDB: {queries.first_line(error)})"
                    ) from error
        raise AssertionError("unreachable: the last try returns or raises")

    def _unreadable(self, parts: Sequence[Part], error: Exception) -> StoreError:
        """What to say of `error`, met while reading `parts`: which of them is damaged, where that can be found."""
        said = queries.first_line(error)
        for part in parts:
            damage = damage_of(part.path)
            if damage:
                return self._damaged(part, f"{damage} (DuckDB: {said})")
        return StoreError(
            f"{self.folder}: cannot be read, DuckDB says: {said}; every part can be read by itself. Where one was "
            "changed from outside, restore this part from a backup, or move it away"
        )

    def _damaged(self, part: Part, problem: str) -> StoreError:
        return StoreError(
            f"{self.folder}: {part.path.name} cannot be read: {problem}; restore this part from a backup, or move it "
            "away, and its samples are gone"
        )


def _files(parts: Sequence[Part]) -> list[tuple[str, int, int]]:
    """Which files these are now: one that is written anew keeps its name; empty where one has gone.

    The time is there because the number of a file that was replaced may soon be given to a new one.
    """
    try:
        found = [(part.path.name, part.path.stat()) for part in parts]
    except FileNotFoundError:
        return []
    return [(name, status.st_ino, status.st_mtime_ns) for name, status in found]
