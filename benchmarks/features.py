"""The 56 statistical features: ours against one library call per feature and window, against TSFEL and tsfresh.

All see the same simulated windows (1000 x 3 at 100 Hz; the slow ones see the first of them), in interleaved rounds, on
one thread each. The rivals compute other lists, so they are compared per feature, in an environment of their own:

    python -m venv /tmp/rivals && /tmp/rivals/bin/pip install tsfel==0.2.0 tsfresh==0.21.2

Run from the project root: `OMP_NUM_THREADS=1 python -m benchmarks.features --rivals /tmp/rivals/bin/python`
(some minutes). Without --rivals their rows are absent, and nothing is written.
"""

import argparse
import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy

from benchmarks.harness import ROOT, compare, interleave, write_results
from benchmarks.wrist_reference import reference_features, wrist_windows
from benchmarks.wrist_rivals import RIVALS
from foresense.features.statistical import NAMES, statistical_features

LOG = logging.getLogger(__name__)
RATE_HZ = 100.0
N_WINDOWS, N_REFERENCE = 1000, 100
DAY = 8640  # windows of 10 s
BAR_REFERENCE, BAR_RIVAL = 25.0, 10.0
RIVAL_KINDS = {
    "tsfel": "TSFEL {}, all domains",
    "tsfel_statistical": "TSFEL {}, domain statistical",
    "tsfresh_efficient": "tsfresh {}, EfficientFCParameters",
    "tsfresh_minimal": "tsfresh {}, MinimalFCParameters",
}


def seconds_of(work: Callable[[], object]) -> float:
    """Wall clock of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def ours_per_s(windows: np.ndarray) -> float:
    """Windows per second, all in one call."""
    return len(windows) / seconds_of(lambda: statistical_features(windows, RATE_HZ))


def reference_per_s(windows: np.ndarray) -> float:
    """Windows per second, one at a time, one call of numpy or scipy per feature."""
    return len(windows) / seconds_of(lambda: [reference_features(window, RATE_HZ) for window in windows])


def rival_per_s(python: str, rival: str, path: Path, described: dict[str, str]) -> float:
    """Features (windows x features of one window) per second of a rival, in a process of its own environment."""
    words = [python, str(ROOT / "benchmarks" / "wrist_rivals.py"), rival, str(path), str(RATE_HZ)]
    alone = {**os.environ, "PYTHONPATH": ""}
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, env=alone).stdout)
    described[rival] = f"{RIVAL_KINDS[rival].format(found['version'])} ({found['n_features']} features)"
    return RIVALS[rival] * found["n_features"] / found["seconds"]


def measure(windows: np.ndarray, rivals: str | None, repeats: int) -> list[dict[str, Any]]:
    """The rows of the result: windows per second against the reference, features per second against the rivals."""
    described: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "windows.npy"
        np.save(path, windows)
        cases: dict[str, Callable[[], float]] = {
            "ours": lambda: ours_per_s(windows),
            "reference": lambda: reference_per_s(windows[:N_REFERENCE]),
        }
        for rival in RIVALS if rivals else ():
            cases[rival] = lambda rival=rival: rival_per_s(str(rivals), rival, path, described)
        speed = interleave(cases, repeats)
    rows = [
        compare(
            f"56 statistical features of {N_WINDOWS} windows 1000 x 3, one thread",
            "windows/s",
            ours=speed["ours"],
            peer=f"one numpy {np.__version__} or scipy {scipy.__version__} call per feature and window",
            peer_values=speed["reference"],
        )
        | {"bar": BAR_REFERENCE}
    ]
    rows += [
        compare(
            "features of windows 1000 x 3, one thread",
            "features/s",
            ours=[per_s * len(NAMES[2]) for per_s in speed["ours"]],
            peer=described[rival],
            peer_values=speed[rival],
        )
        | {"bar": BAR_RIVAL}
        for rival in described
    ]
    return rows


def measure_alone(windows: np.ndarray, repeats: int) -> list[dict[str, Any]]:
    """Rows without a peer: a day of windows, and one window at a time as on a device."""
    day = np.concatenate([windows] * -(-DAY // len(windows)))[:DAY]
    days_s = [seconds_of(lambda: statistical_features(day, RATE_HZ)) for _ in range(repeats)]
    ones_ms = [
        1e3 * seconds_of(lambda row=row: statistical_features(windows[row : row + 1], RATE_HZ)) for row in range(300)
    ]
    p50, p95 = np.percentile(ones_ms, [50, 95])
    return [
        {
            "case": f"56 features of a day: {DAY} windows of 10 s at 100 Hz",
            "unit": "s",
            "ours": round(median(days_s), 3),
        },
        {"case": "56 features of one window 1000 x 3, p50", "unit": "ms", "ours": round(float(p50), 3)},
        {"case": "56 features of one window 1000 x 3, p95", "unit": "ms", "ours": round(float(p95), 3)},
    ]


def main() -> None:
    """Measure, write benchmarks/results/features.json, and fail where a ratio is below its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", help="python of the environment that has TSFEL and tsfresh")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("OMP_NUM_THREADS=1 must be set before numpy starts: every side is measured on one thread")
    windows = wrist_windows(N_WINDOWS, rate_hz=RATE_HZ)
    ours_per_s(windows[:64])
    rows = measure(windows, options.rivals, options.repeats)
    alone = measure_alone(windows, options.repeats)
    for row in rows:
        LOG.info("%(case)s: %(ours)s %(unit)s, %(peer)s %(peer_value)s, ratio %(ratio)s", row)
    for row in alone:
        LOG.info("%(case)s: %(ours)s %(unit)s", row)
    if options.rivals:
        LOG.info("written: %s", write_results("features", [*rows, *alone]).relative_to(ROOT))
    slow = [row["peer"] for row in rows if row["ratio"] < row["bar"]]
    if slow:
        raise SystemExit(f"below the bar against: {', '.join(slow)}")


if __name__ == "__main__":
    main()
