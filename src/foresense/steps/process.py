"""A step and the machine: it dies with the process that started it, and runs once at a time.

`python -m foresense.steps.process <command>` runs a command that dies with its parent, for programs that do not care
for that themselves.
"""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1


class StepBusyError(RuntimeError):
    """The same step of the same pipeline is running in another process."""


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends; does nothing where the kernel is not Linux.

    `kill -9` of DVC leaves its command running, and that would go on writing into outputs that a new DVC is
    already allowed to touch (tried with dvc 3.67.1).
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGTERM)


def end_cleanly_on_terminate() -> None:
    """Turn SIGTERM into SystemExit, so that children are ended and half-written folders removed on the way out."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def lock_path(cache: Path, step: str, pipeline: str) -> Path:
    """The file that is locked while `step` of `pipeline` runs."""
    return cache / "locks" / f"{step}@{pipeline}.lock"


@contextmanager
def only_one(cache: Path, step: str, pipeline: str) -> Iterator[None]:
    """Hold the lock of `<step>@<pipeline>`; the kernel releases it however this process ends.

    Raises:
        StepBusyError: another process holds it; says which.
    """
    path = lock_path(cache, step, pipeline)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StepBusyError(
                f"{step}@{pipeline} is running already, in process {file.read().strip() or 'unknown'}; "
                f"wait for it, or stop it ({path})"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def running(cache: Path, step: str, pipeline: str) -> int | None:
    """Process that runs `step` of `pipeline` now, or None; takes no lock for longer than the question."""
    path = lock_path(cache, step, pipeline)
    if not path.is_file():
        return None
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read().strip() or 0)
    return None


if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # the wish to die with the parent outlives exec (prctl(2))
