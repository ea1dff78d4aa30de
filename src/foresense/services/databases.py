"""One consistent state of an SQLite file, also while others write to it."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from foresense.signals import file_sha256

#: What SQLite keeps beside a file.
COMPANIONS = ("-wal", "-shm", "-journal")
_MAGIC = b"SQLite format 3\0"
_WAL_HEAD = 32  # bytes; they change when the log begins anew (sqlite.org/fileformat2.html, 4.1)
_WAIT_S = 5.0  # for a writer that is between two transactions
_N_TRIES = 10


def is_database(path: Path) -> bool:
    """Whether the file begins as a database of SQLite does."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def copy_database(path: Path, copy: Path) -> None:
    """Copy what is committed, write-ahead log included, into one file.

    Args:
        path: The database.
        copy: A new file, of mode 0600.

    Raises:
        sqlite3.Error: the database is damaged, or somebody holds it and it has no write-ahead log.
        OSError: it could not be read or written, or it changed too fast.
    """
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        _copy_by_sqlite(path, copy)
    except sqlite3.OperationalError as error:
        if not _says_locked(error) or not _beside(path, "-wal").exists():
            raise
        _copy_of_a_held_one(path, copy)


def is_held(path: Path) -> bool:
    """Whether a process keeps the database for itself, as bridge and publisher do with their queues."""
    try:
        with closing(_reader(path, wait_s=0.0)) as live:
            _look(live)
    except sqlite3.OperationalError as error:
        return _says_locked(error)
    return False


def _copy_by_sqlite(path: Path, copy: Path) -> None:
    # With a write-ahead log a reader waits for nobody, unless the file is held, and then it would wait in vain.
    wait_s = 0.0 if _beside(path, "-wal").exists() else _WAIT_S
    with closing(_reader(path, wait_s=wait_s)) as live, closing(sqlite3.connect(copy)) as still:
        # Read first: `backup` would wait for ever for a file that is held.
        live.execute("BEGIN")
        _look(live)
        live.backup(still)


def _copy_of_a_held_one(path: Path, copy: Path) -> None:
    """The queues of bridge and publisher are open in SQLite's mode EXCLUSIVE, in which nobody else can ask SQLite.

    Their file changes only when the log is brought into it. While it stays as it is and the log only grows, file and
    log are what a crash at that moment would leave, and SQLite makes a consistent state of that.
    """
    log, log_copy = _beside(path, "-wal"), _beside(copy, "-wal")
    for _ in range(_N_TRIES):
        shutil.copyfile(path, copy)
        head = _head(log)
        shutil.copyfile(log, log_copy)
        if _head(log) == head and file_sha256(path) == file_sha256(copy):
            break
    else:
        raise OSError(f"{path.name} changes faster than it can be copied")
    with closing(sqlite3.connect(copy, isolation_level=None)) as still:
        still.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        said = still.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise sqlite3.DatabaseError(f"{path.name} is damaged: {said}")


def _reader(path: Path, *, wait_s: float) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=wait_s, isolation_level=None)


def _look(live: sqlite3.Connection) -> None:
    live.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _says_locked(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _head(log: Path) -> bytes:
    with log.open("rb") as file:
        return file.read(_WAL_HEAD)
