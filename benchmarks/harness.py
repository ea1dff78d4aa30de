"""Ours and a peer's, interleaved in one run: medians, ratios, the machine, one JSON file."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from foresense.signals import write_json
from foresense.steps.frame import environment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def interleave(cases: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Measure every case once per round, so that the noise of a shared machine meets all of them alike.

    Args:
        cases: Name -> function that measures once and returns the value.
        repeats: Rounds; every second round goes through the cases backwards.

    Returns:
        Name -> the values, one per round.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(repeats):
        for name in list(cases)[:: -1 if round_ % 2 else 1]:
            found[name].append(cases[name]())
    return found


def compare(
    case: str,
    unit: str,
    *,
    ours: Sequence[float],
    peer: str,
    peer_values: Sequence[float],
    is_more_better: bool = True,
) -> dict[str, Any]:
    """One row of a result: medians, and their ratio, above 1 where ours is better.

    Args:
        case: What was measured.
        unit: Of the values.
        ours: Our values.
        peer: Name and version of the other side.
        peer_values: Its values, measured in the same run.
        is_more_better: False for times and sizes.
    """
    mine, other = median(ours), median(peer_values)
    return {
        "case": case,
        "unit": unit,
        "ours": round(mine, 4),
        "peer": peer,
        "peer_value": round(other, 4),
        "ratio": round(mine / other if is_more_better else other / mine, 3),
        "repeats": len(ours),
        "ours_range": [round(min(ours), 4), round(max(ours), 4)],
        "peer_range": [round(min(peer_values), 4), round(max(peer_values), 4)],
    }


def write_results(name: str, rows: Sequence[Mapping[str, Any]], folder: Path = RESULTS) -> Path:
    """Write `<folder>/<name>.json` with the commit and the machine, complete or not at all; returns its path."""
    path = folder / f"{name}.json"
    write_json(
        path,
        {
            "benchmark": name,
            "git_commit": _commit(),
            "environment": environment().model_dump(mode="json"),
            "rows": list(rows),
        },
    )
    return path


def _commit() -> str:
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"
