"""What every engine gets: the function, where it lies, how much it may use, and where outcomes are kept."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foresense.config import EngineConfig
from foresense.engine.jobs import Outcome, Work
from foresense.engine.records import Records
from foresense.engine.ship import extra_places
from foresense.engine.supervise import Limits


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        function: "module:name".
        settings: Of the engine.
        records: Of this run.
        modules: Python files and package folders that the function needs beside foresense.
        n_jobs: How many there are at most; None when they come from an iterator.
    """

    function: str
    settings: EngineConfig
    records: Records
    modules: tuple[Path, ...]
    n_jobs: int | None

    @property
    def limits(self) -> Limits:
        """Of each worker."""
        settings = self.settings
        return Limits(settings.threads, settings.limit_min, settings.memory_mib)

    @property
    def n_workers(self) -> int:
        """As many as asked for, else as cores and threads allow; never more than jobs."""
        asked = self.settings.workers or max(1, usable_cores() // self.settings.threads)
        return asked if self.n_jobs is None else max(1, min(asked, self.n_jobs))


class Engine(Protocol):
    """Runs work somewhere."""

    def __call__(self, plan: Plan, found: Iterator[Outcome | Work]) -> Generator[Outcome, None, None]:
        """Give the outcomes that are known as they are, and those of work as soon as they are there."""


def usable_cores() -> int:
    """Cores that this process may run on; fewer than the machine's inside a container or under taskset."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def module_path(modules: tuple[Path, ...]) -> list[str]:
    """Where a worker on this machine finds modules: beside `modules`, beside foresense, then wherever we do."""
    places = [*(module.absolute().parent for module in modules), Path(__file__).parents[2], *extra_places()]
    return list(dict.fromkeys(str(place.absolute()) for place in places))
