"""Resident memory of a process and everything below it."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, at any depth; empty when it is gone.

    Reads /proc/<pid>/task/*/children (proc_pid_task(5)), whose cost does not grow with the other processes of the
    machine; asks psutil where the kernel does not have it.
    """
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        try:
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
    found: list[int] = []
    left = [pid]
    while left:
        children = _children(left.pop())
        found += children
        left += children
    return found


def tree_rss_mib(pid: int) -> float:
    """Resident memory of `pid` and all below it, MiB; pages that they share count once for each."""
    return sum(_rss_mib(one) for one in (pid, *descendants(pid)))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _rss_mib(pid: int) -> float:
    if not Path("/proc/self/statm").exists():
        with suppress(psutil.NoSuchProcess):
            return float(psutil.Process(pid).memory_info().rss) / 2**20
        return 0.0
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MIB
    return 0.0
