"""A queue on disk: what was acknowledged and is not delivered yet. SQLite in WAL mode, every commit on the disk.

Ids rise and are never used twice, also when the queue was empty. One process uses a queue at a time.
"""

import logging
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import NamedTuple

LOG = logging.getLogger(__name__)
_SUFFIXES = ("", "-wal", "-shm")
_PAGE = 4096  # bytes, SQLite's own size
_SET_UP = f"""
PRAGMA page_size={_PAGE};
PRAGMA auto_vacuum=INCREMENTAL;
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS message (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, received_ns INTEGER NOT NULL, payload BLOB NOT NULL
);
"""


class SpoolError(RuntimeError):
    """The queue cannot be read or written; the message says what to do."""


class Spooled(NamedTuple):
    """One message of the queue.

    Attributes:
        id: Rises.
        topic: Where it was published.
        received_ns: When it came, nanoseconds since 1970 UTC.
        payload: As it came.
    """

    id: int
    topic: str
    received_ns: int
    payload: bytes


class Spool:
    """Messages in a file, oldest first; may be used by several threads.

    Attributes:
        path: The file.
        identity: Number of this file: ids of another one say nothing about its messages.
        depth: Messages in it.
        n_bytes: Bytes of their payloads.
    """

    def __init__(self, path: Path, max_mib: float | None = None) -> None:
        """Open or make the file; a damaged one is set aside, its name said, and a new one begun.

        Args:
            path: Where; folders are made.
            max_mib: The file grows no larger.

        Raises:
            SpoolError: another process uses it, or the disk does not let us.
        """
        self.path = path
        self._lock = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"{path.parent}: cannot be made: {error}; give another --folder") from error
        try:
            self._connection = _opened(path)
        except _DamagedError as error:
            aside = _set_aside(path)
            LOG.error("%s is damaged (%s): set aside as %s, and a new one begun", path, error, aside)
            self._connection = _opened(path)
        with self._told("read"):
            if max_mib is not None:
                self._connection.execute(f"PRAGMA max_page_count={max(int(max_mib * 2**20 / _PAGE), 1)}")
            self.identity = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            found = self._connection.execute("SELECT count(*), coalesce(sum(length(payload)), 0) FROM message")
            depth, n_bytes = found.fetchone()
            self.depth, self.n_bytes = int(depth), int(n_bytes)

    def append(self, messages: Sequence[tuple[str, int, bytes]]) -> None:
        """Keep (topic, received_ns, payload), all of them or none; they are on the disk when this returns.

        Raises:
            SpoolError: the disk or the queue is full, or broken; nothing was kept.
        """
        if not messages:
            return
        n_bytes = sum(len(payload) for _, _, payload in messages)
        insert = "INSERT INTO message (topic, received_ns, payload) VALUES (?, ?, ?)"
        with self._lock, self._told("written"):
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(insert, messages)
            self.depth += len(messages)  # under the lock: another thread takes away
            self.n_bytes += n_bytes

    def oldest(self, n_rows: int, n_bytes: int, after: int = 0) -> list[Spooled]:
        """First messages after id `after`, at most so many; at least one where there is one.

        Raises:
            SpoolError: the file cannot be read.
        """
        found: list[Spooled] = []
        size = 0
        sql = "SELECT id, topic, received_ns, payload FROM message WHERE id > ? ORDER BY id LIMIT ?"
        with self._lock, self._told("read"):
            cursor = self._connection.execute(sql, (after, n_rows))
            try:
                for row in cursor:
                    size += len(row[3])
                    if found and size > n_bytes:
                        break
                    found.append(Spooled(*row))
            finally:
                cursor.close()
        return found

    def drop(self, up_to_id: int) -> None:
        """Forget messages with an id up to `up_to_id`; they are gone from the disk when this returns.

        Raises:
            SpoolError: nothing was dropped.
        """
        with self._lock, self._told("written"):
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                found = self._connection.execute(
                    "SELECT count(*), coalesce(sum(length(payload)), 0) FROM message WHERE id <= ?", (up_to_id,)
                )
                n_rows, n_bytes = found.fetchone()
                self._connection.execute("DELETE FROM message WHERE id <= ?", (up_to_id,))
            self.depth -= n_rows
            self.n_bytes -= n_bytes
            if not self.depth and n_rows:
                self._connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()  # give the disk back, in pieces

    def received_ns(self) -> int | None:
        """When the oldest message came; None where the queue is empty.

        Raises:
            SpoolError: the file cannot be read.
        """
        with self._lock, self._told("read"):
            row = self._connection.execute("SELECT received_ns FROM message ORDER BY id LIMIT 1").fetchone()
        return int(row[0]) if row else None

    def close(self) -> None:
        """Let another process use the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise SpoolError(
                f"{self.path}: cannot be {what}: {error}; make room on the disk (or raise the queue's limit, "
                "--spool-mib), then it goes on by itself"
            ) from error
        except sqlite3.DatabaseError as error:
            raise SpoolError(
                f"{self.path}: cannot be {what}: {error}; start again, and a damaged file is set aside"
            ) from error


class _DamagedError(Exception):
    """The file is no database any more."""


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that holds the file for this process alone."""
    with ExitStack() as stack:
        try:
            connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            stack.callback(connection.close)
            _set_up(connection)
        except sqlite3.OperationalError as error:
            raise _not_opened(path, error) from error
        except sqlite3.DatabaseError as error:
            raise _DamagedError(str(error)) from error
        stack.pop_all()
        return connection


def _set_up(connection: sqlite3.Connection) -> None:
    connection.executescript(_SET_UP)
    connection.execute("BEGIN IMMEDIATE")
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise _DamagedError(said)
    connection.execute("SELECT id, topic, received_ns, payload FROM message LIMIT 0")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:
        connection.execute(f"PRAGMA user_version={secrets.randbelow(2**31 - 1) + 1}")
    connection.execute("COMMIT")


def _not_opened(path: Path, error: sqlite3.OperationalError) -> SpoolError:
    if "locked" in str(error) or "busy" in str(error):
        return SpoolError(f"{path}: another process uses it; is a bridge running already?")
    return SpoolError(f"{path}: cannot be opened: {error}; look at the disk and the rights of its folder")


def _set_aside(path: Path) -> Path:
    """Rename the file and what belongs to it; nothing is deleted."""
    mark = f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(path.name + mark + suffix))
    return path.with_name(path.name + mark)
