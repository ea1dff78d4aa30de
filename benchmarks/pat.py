"""One week through PAT S, M and L: our files against keras.Model.predict, on two threads, each in fresh processes.

Run `python -m benchmarks.pat` from the project root (about ten minutes on two cores, nothing else running; most of it
goes into converting L). Every float32 file has the features of Keras' network within 1e-5, or the run fails; of the
quantized ones the largest difference stands in the row.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, compare, interleave, write_results
from benchmarks.pat_worker import WEIGHTS_SEED, weeks
from foresense.config.pat import pat_size, weight_shapes
from foresense.export import file_name
from foresense.export.pat import TOLERANCE, feature_source
from foresense.export.quiet import quieted
from foresense.export.source import ExportSource, convert
from foresense.export.tflite_ranges import int8
from foresense.models.pat_arrays import new_weights

LOG = logging.getLogger(__name__)
#: size -> (p95 in ms, peak memory in MiB): limits of the issue.
BARS = {"S": (20.0, 120.0), "M": (60.0, 150.0), "L": (400.0, 250.0)}
SPEED_BAR = 2.0  # times keras.Model.predict
VARIANTS = ("onnx-float32", "onnx-int8", "tflite-float32", "tflite-dynamic", "tflite-int8")
N_TIMED = {"S": 100, "M": 100, "L": 40}


def made(size: str, folder: Path) -> dict[str, Path]:
    """Variant -> file, of the weights that Keras' network is given, too."""
    weights = new_weights(weight_shapes(pat_size(size)), np.random.default_rng(WEIGHTS_SEED))
    source = feature_source(pat_size(size), weights, weeks(), folder)
    return {variant: _made(source, variant, folder) for variant in VARIANTS}


def _made(source: ExportSource, variant: str, folder: Path) -> Path:
    file = folder / file_name(variant)
    if variant == "tflite-int8":
        with quieted():
            int8(source, file)
    else:
        convert(source, variant, file)
    return file


def measured(what: str, n_threads: int, n_timed: int) -> dict[str, Any]:
    """What one fresh process says of a file or of Keras."""
    command = [sys.executable, "-m", "benchmarks.pat_worker", what, str(n_threads), str(n_timed)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def rows_of(size: str, folder: Path, *, n_threads: int, repeats: int) -> list[dict[str, Any]]:
    """One row for each variant of a size.

    Raises:
        ValueError: a float32 file has other features than Keras.
    """
    ways = {variant: str(file) for variant, file in made(size, folder).items()} | {"keras": f"keras:{size}"}
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}

    def once(way: str) -> float:
        answers[way].append(measured(ways[way], n_threads, N_TIMED[size]))
        return float(answers[way][-1]["p50"])

    found = interleave({way: partial(once, way) for way in ways}, repeats)
    peer = f"keras.Model.predict, tensorflow {version('tensorflow-cpu')}"
    truth = np.asarray(answers["keras"][0]["features"])
    rows = []
    for variant in VARIANTS:
        row = compare(
            f"PAT-{size}, {variant}, one week, {n_threads} threads: median latency",
            "ms",
            ours=found[variant],
            peer=peer,
            peer_values=found["keras"],
            is_more_better=False,
        )
        difference = max(float(np.abs(np.asarray(one["features"]) - truth).max()) for one in answers[variant])
        if variant.endswith("float32") and not difference <= TOLERANCE:
            raise ValueError(
                f"PAT-{size}, {variant}: features differ from Keras' by {difference:g}, over {TOLERANCE:g}"
            )
        limits = {"bar": SPEED_BAR, "p95_ms_bar": BARS[size][0], "peak_rss_mib_bar": BARS[size][1]}
        rows.append({**row, **limits, "max_abs_difference": difference, **_costs(answers[variant])})
        LOG.info("%s", rows[-1])
    return rows


def _costs(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "p95_ms": round(median(one["p95"] for one in answers), 3),
        "peak_rss_mib": max(one["peak_rss_mib"] for one in answers),
    }


def main() -> None:
    """Measure every size; write benchmarks/results/pat.json."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(BARS), help="only this one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    for size in [arguments.size] if arguments.size else list(BARS):
        with tempfile.TemporaryDirectory() as scratch:
            rows += rows_of(size, Path(scratch), n_threads=arguments.threads, repeats=arguments.repeats)
    LOG.info("%s", write_results("pat", rows))


if __name__ == "__main__":
    main()
