"""One measurement at a time on a machine: two benchmarks side by side measure each other."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def lock_path() -> Path:
    """The file that all users of this machine lock."""
    return Path(tempfile.gettempdir()) / "foresense-benchmark.lock"


@contextmanager
def measuring() -> Iterator[None]:
    """Hold the machine-wide lock; waits as long as another process measures. A dead process holds nothing."""
    path = lock_path()
    with suppress(PermissionError):  # another user's file: reading it is enough to lock it
        path.touch(exist_ok=True)
        path.chmod(0o666)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
