"""The 24 topological features of a wrist window: ours against ripser on the whole cloud and on its own landmarks.

Windows: WISDM (51 wrists, 6 activities), 10 s, brought from 20 to 100 Hz, with noise of 4 mg. Ours begins with the
raw window and ends with the features; the peers get the finished cloud and end with the diagrams.

Run from the project root: `python -m benchmarks.topology`. It needs FORESENSE_DATA.
"""

import argparse
import logging
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from ripser import ripser
from scipy.signal import resample

from benchmarks.harness import ROOT, compare, interleave, write_results
from foresense.features.clouds import decimated, decimation, delay_samples, embed, magnitudes
from foresense.features.topological import N_LANDMARKS, bound_in_words, topological_features

LOG = logging.getLogger(__name__)
RATE_HZ, LENGTH, WISDM_HZ, NOISE_G, G = 100.0, 1000, 20, 0.004, 9.80665
LIMIT_P95_MS, LEAST_RATIO = 15.0, 15.0


def wrist_windows(folder: Path, n: int) -> np.ndarray:
    """Windows (n, 1000, 3) in g at 100 Hz, spread over the people and activities in `folder`."""
    files = sorted(folder.glob("data_*_accel_watch.txt"))
    if not files:
        raise FileNotFoundError(f"{folder}: no data_*_accel_watch.txt; set FORESENSE_DATA to the stored data sets")
    rows = pd.concat([pd.read_csv(file, header=None, names=["person", "activity", *"xyz"]) for file in files])
    rows["z"] = rows["z"].str.rstrip(";").astype(float)
    length = 10 * WISDM_HZ
    runs = [run[list("xyz")].to_numpy() for _, run in rows.groupby(["person", "activity"])]
    slow = np.concatenate([run[: len(run) // length * length].reshape(-1, length, 3) for run in runs]) / G
    chosen = slow[np.linspace(0, len(slow) - 1, n).astype(int)]
    noise = np.random.default_rng(0).normal(0, NOISE_G, (n, LENGTH, 3))
    return np.asarray(resample(chosen, LENGTH, axis=1) + noise)


def ours_per_s(windows: np.ndarray) -> float:
    """Windows per second, all at once, in this process."""
    begin = time.perf_counter()
    topological_features(windows, RATE_HZ)
    return len(windows) / (time.perf_counter() - begin)


def peer_per_s(clouds: list[np.ndarray], n_perm: int | None) -> float:
    """Clouds per second through ripser; of all points, or of `n_perm` landmarks that it chooses."""
    begin = time.perf_counter()
    for cloud in clouds:
        ripser(cloud, maxdim=1, n_perm=n_perm)
    return len(clouds) / (time.perf_counter() - begin)


def latency_p95_ms(windows: np.ndarray) -> float:
    """95th percentile of the time of one window at a time, in ms."""
    found = []
    for row in range(len(windows)):
        begin = time.perf_counter()
        topological_features(windows[row : row + 1], RATE_HZ)
        found.append(1000 * (time.perf_counter() - begin))
    return float(np.percentile(found, 95))


def main() -> None:
    """Measure, write benchmarks/results/topology.json, and fail where ours is slower than asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORESENSE_DATA", "")))
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    windows = wrist_windows(options.data / "wisdm_watch_accel", options.windows)
    factor = decimation(RATE_HZ)
    every = embed(decimated(magnitudes(windows), factor), delay_samples(RATE_HZ / factor))
    clouds = [cloud.T for cloud in every[:: max(1, len(every) // 20)]]
    LOG.info("%s", bound_in_words(topological_features(windows, RATE_HZ)))
    cases: dict[str, Callable[[], float]] = {
        "ours": lambda: ours_per_s(windows),
        "whole": lambda: peer_per_s(clouds, None),
        "landmarks": lambda: peer_per_s(clouds, N_LANDMARKS),
        "p95": lambda: latency_p95_ms(windows),
    }
    found = interleave(cases, options.repeats)
    name, n_points = f"ripser {version('ripser')}", len(clouds[0])
    speed = f"24 topological features of windows {LENGTH} x 3 at {RATE_HZ:g} Hz, one process"
    rows = [
        {
            **compare(
                speed,
                "windows/s",
                ours=found["ours"],
                peer=f"{name}, H0 and H1 of all {n_points} points",
                peer_values=found["whole"],
            ),
            "bar": LEAST_RATIO,
        },
        compare(
            speed,
            "windows/s",
            ours=found["ours"],
            peer=f"{name}, H0 and H1 of {N_LANDMARKS} of {n_points} points by n_perm",
            peer_values=found["landmarks"],
        ),
        {
            **compare(
                "24 topological features, one window at a time, 95th percentile",
                "ms",
                ours=found["p95"],
                peer="limit",
                peer_values=[LIMIT_P95_MS],
                is_more_better=False,
            ),
            "bar": 1.0,
        },
    ]
    LOG.info("written: %s", write_results("topology", rows).relative_to(ROOT))
    for row in rows:
        LOG.info("%(case)s: %(ours)s %(unit)s, %(peer)s %(peer_value)s, ratio %(ratio)s", row)
    missed = [str(row["case"]) for row in rows if row["ratio"] < row.get("bar", 0)]
    if missed:
        raise SystemExit(f"slower than asked for: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
