"""The command line, called on a folder."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from foresense.__main__ import main

Call = Callable[[list[str], Path], int]


@pytest.fixture
def foresense(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs `foresense --project <root> <words>` and gives its exit code."""

    def run(words: list[str], root: Path) -> int:
        monkeypatch.setattr(sys, "argv", ["foresense", "--project", str(root), *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    for name in ("FORESENSE_STORE", "FORESENSE_INFLUX_URL", "FORESENSE_BRIDGE_FOLDER", "FORESENSE_DEBUG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("FORESENSE_PROJECT", "")  # `main` sets it; undone after the test
    return run
