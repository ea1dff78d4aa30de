"""A fleet of assets, each told what it shall do, and what became of them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from foresense.config import EngineConfig
from foresense.engine import Job, Outcome, run_jobs

FUNCTIONS = Path(__file__).with_name("fleet_functions.py")
PATIENCE_S = 120.0  # for a machine that has much else to do


class Fleet:
    """Runs `fleet_functions:act` over assets in one folder.

    Args:
        folder: Gets marks of calls, records, and the gate.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.records, self.marks = folder, folder / "records", folder / "marks"
        self.marks.mkdir(parents=True)

    def jobs(self, kinds: dict[str, str], *, size: int = 1, digest: str = "d") -> list[Job]:
        names = list(kinds)
        parts = [tuple(names[begin : begin + size]) for begin in range(0, len(names), size)]
        arguments = {"kinds": kinds, "marks": str(self.marks)}
        return [Job(part, tuple(f"{digest}-{asset}" for asset in part), arguments) for part in parts]

    def start(self, engine: str, jobs: Any, *, function: str = "act", **settings: Any) -> Iterator[Outcome]:
        config = EngineConfig(name=engine, **{"workers": 2, **settings})
        return run_jobs(f"fleet_functions:{function}", jobs, settings=config, records=self.records, modules=[FUNCTIONS])

    def run(self, engine: str, kinds: dict[str, str], *, size: int = 1, **settings: Any) -> dict[str, Outcome]:
        outcomes = list(self.start(engine, self.jobs(kinds, size=size), **settings))
        assert sorted(outcome.asset for outcome in outcomes) == sorted(kinds)
        return {outcome.asset: outcome for outcome in outcomes}

    def calls(self) -> Counter[str]:
        return Counter(path.read_text() for path in self.marks.iterdir() if path.suffix != ".pid")

    def open_gate(self) -> None:
        (self.folder / "open").touch()

    def running(self) -> list[int]:
        """Processes that wait at the gate, and their child processes."""
        return [int(path.name.split("-")[1]) for path in self.folder.glob("running-*")]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s until {what}"
        time.sleep(0.02)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


@pytest.fixture(scope="session")
def new_fleet() -> type[Fleet]:
    """For tests that need more than one, or one that lives for a part of the test."""
    return Fleet


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], str], None]:
    return wait_until


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    return is_alive
