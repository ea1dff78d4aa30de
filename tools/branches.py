"""Run the tests with every branch of `src` counted: how many of each room's were taken, and which files are behind.

`make coverage`. Processes that tests start (steps, services, workers) are counted, too; the lines can be looked at in
runs/coverage/html/index.html. Exit code 1 under `ASKED`, 2 where a test failed.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "runs" / "coverage"
#: Share of the branches that tests have to take.
ASKED = 0.90
#: Files are named that miss at least so many branches.
NAMED = 5


def table(files: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], float]:
    """Lines for people, and the share of all branches that was taken.

    Args:
        files: Path below src/foresense/ -> what `coverage json` counts there: `num_branches`, `covered_branches`.
    """
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, counted in files.items():
        for key in (name.partition("/")[0], "all"):
            rooms[key][0] += counted["covered_branches"]
            rooms[key][1] += counted["num_branches"]
    lines = [f"{'room':<16}{'taken':>8}{'of':>8}{'':>9}"]
    lines += [
        f"{room:<16}{taken:>8}{of:>8}{taken / of:>9.1%}"
        for room, (taken, of) in sorted(rooms.items(), key=lambda item: (item[0] == "all", item[0]))
        if of
    ]
    missed = {name: counted["num_branches"] - counted["covered_branches"] for name, counted in files.items()}
    lines += ["", f"at least {NAMED} missed:"]
    lines += [f"  {n:>4}  {name}" for name, n in sorted(missed.items(), key=lambda item: -item[1]) if n >= NAMED]
    taken, of = rooms["all"]
    return lines, taken / of


def pytest_sessionfinish() -> None:
    """Save what this process of the tests has counted: pytest-xdist kills one that takes long to end."""
    counting = Coverage.current()
    if counting is not None:
        counting.save()


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments`, print the table; returns the exit code."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    environment = os.environ | {"COVERAGE_FILE": str(PLACE / "data")}

    def coverage(*words: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "coverage", *words], cwd=ROOT, env=environment, check=False
        ).returncode

    tests = coverage("run", "-m", "pytest", "-p", "tools.branches", "-q", *arguments)
    for words in (
        ("combine", "-q"),
        ("json", "-q", "-o", str(PLACE / "files.json")),
        ("html", "-q", "-d", str(PLACE / "html")),
    ):
        if coverage(*words) != 0:
            return 2
    files = json.loads((PLACE / "files.json").read_text())["files"]
    lines, share = table({name.removeprefix("src/foresense/"): file["summary"] for name, file in files.items()})
    sys.stdout.write("\n".join(lines) + "\n")
    if tests != 0:
        return 2
    return int(share < ASKED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
