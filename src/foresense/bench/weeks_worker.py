"""Measures one exported encoder of weeks in a fresh process that holds numpy and the file's runtime.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output. What the file
says of the test weeks is written as an array: who asked knows the truth, and judges.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.worker import (
    SPAWNED,
    SWEEP_SHARE,
    digest_of,
    import_runtime,
    latencies_ms,
    loaded_heavy,
    memory_mib,
    outputs_of,
    summary,
)
from foresense.export.pat_runtime import open_features


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request["mode"]` says.

    Args:
        request: `mode`: `runtime` (memory of the bare runtime), `digest` (outputs only) or `measure`; `artefact`,
            `file` and `n_threads`; for `measure` also `weeks` (a file with the scaled test weeks), `said` (where the
            features of them go), `n_warmup` and `n_timed`.

    Raises:
        ValueError: another mode.
    """
    folder = Path(request["artefact"])
    file = folder / request["file"]
    if request["mode"] == "runtime":
        import_runtime(file.suffix)
        return {"rss_mib": memory_mib("VmRSS"), "peak_rss_mib": memory_mib("VmHWM"), "heavy": loaded_heavy()}
    if request["mode"] not in ("digest", "measure"):
        raise ValueError(f"mode {request['mode']!r}: expected runtime, digest or measure")
    manifest = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        weeks, model = golden[manifest["input"]], golden["model"]
    threads = [int(n) for n in request["n_threads"]]
    if request["mode"] == "digest":
        return {"digest": digest_of(outputs_of(_asker(file, threads[0], manifest, weeks), np.arange(len(model))))}
    return _measure(file, manifest, weeks, model, threads, request)


def _asker(
    file: Path, n_threads: int, manifest: dict[str, Any], weeks: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the number of a week, (1,), to its features, (1, 96)."""
    ask = open_features(file, n_threads)
    return lambda numbers: ask({manifest["input"]: weeks[numbers]})


def _measure(
    file: Path,
    manifest: dict[str, Any],
    weeks: np.ndarray,
    model: np.ndarray,
    threads: list[int],
    request: dict[str, Any],
) -> dict[str, Any]:
    numbers = np.arange(len(model))
    import_runtime(file.suffix)
    begun = time.perf_counter()
    ask = _asker(file, threads[0], manifest, weeks)
    ask(numbers[:1])
    load_ms = (time.perf_counter() - begun) * 1e3
    cold_start_ms = (time.time() - float(os.environ[SPAWNED])) * 1e3
    times_ms = latencies_ms(ask, numbers, request["n_warmup"], request["n_timed"])
    peak_rss_mib = memory_mib("VmHWM")
    outputs = outputs_of(ask, numbers)
    sweep = {threads[0]: {**summary(times_ms), "n_timed": len(times_ms)}}
    spread = 0.0
    for n_threads in threads[1:]:
        other = _asker(file, n_threads, manifest, weeks)
        spread = max(spread, float(np.abs(outputs_of(other, numbers) - outputs).max()))
        n_timed = max(1, request["n_timed"] // SWEEP_SHARE)
        sweep[n_threads] = {**summary(latencies_ms(other, numbers, request["n_warmup"], n_timed)), "n_timed": n_timed}
    tested = np.load(request["weeks"], mmap_mode="r", allow_pickle=False)
    np.save(request["said"], outputs_of(_asker(file, threads[0], manifest, tested), np.arange(len(tested))))
    return {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "n_threads": threads[0],
        "n_timed": len(times_ms),
        "latency_ms": summary(times_ms),
        "load_ms": round(load_ms, 3),
        "cold_start_ms": round(cold_start_ms, 3),
        "peak_rss_mib": peak_rss_mib,
        "digest": digest_of(outputs),
        "threads_max_abs_difference": spread,
        "thread_sweep_ms": {str(n): row for n, row in sweep.items()},
        "golden_max_abs_error": float(np.abs(outputs - model).max()),
        "heavy": loaded_heavy(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
