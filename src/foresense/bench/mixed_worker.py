"""Measures one exported model of mixed recordings in a fresh process that holds numpy and the file's runtime.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output. What the file
says of the test windows is written as an array: who asked knows the truth, and judges.
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
from foresense.export.mixed_predict import Arrays, open_model, read_window


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request["mode"]` says.

    Args:
        request: `mode`: `runtime` (memory of the bare runtime), `digest` (outputs only) or `measure`; `artefact`,
            `file` and `n_threads`; for `measure` also `windows` (a folder with one array for each input), `said` (where
            the outputs for them go), `n_warmup` and `n_timed`.

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
        inputs = {name: golden[name] for name in manifest["inputs"]}
        model = golden["model"]
    threads = [int(n) for n in request["n_threads"]]
    if request["mode"] == "digest":
        return {"digest": digest_of(outputs_of(_asker(file, threads[0], inputs), np.arange(len(model))))}
    return _measure(folder, manifest, file, inputs, model, threads, request)


def _asker(file: Path, n_threads: int, inputs: Arrays) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the number of a window, (1,), to what the file says of it, (1, n_outputs)."""
    ask = open_model(file, n_threads)
    return lambda numbers: ask({name: rows[numbers] for name, rows in inputs.items()})


def _measure(
    folder: Path,
    manifest: dict[str, Any],
    file: Path,
    inputs: Arrays,
    model: np.ndarray,
    threads: list[int],
    request: dict[str, Any],
) -> dict[str, Any]:
    numbers = np.arange(len(model))
    import_runtime(file.suffix)
    begun = time.perf_counter()
    ask = _asker(file, threads[0], inputs)
    ask(numbers[:1])
    load_ms = (time.perf_counter() - begun) * 1e3
    cold_start_ms = (time.time() - float(os.environ[SPAWNED])) * 1e3
    times_ms = latencies_ms(ask, numbers, request["n_warmup"], request["n_timed"])
    peak_rss_mib = memory_mib("VmHWM")
    outputs = outputs_of(ask, numbers)
    sweep = {threads[0]: {**summary(times_ms), "n_timed": len(times_ms)}}
    spread = 0.0
    for n_threads in threads[1:]:
        other = _asker(file, n_threads, inputs)
        spread = max(spread, float(np.abs(outputs_of(other, numbers) - outputs).max()))
        n_timed = max(1, request["n_timed"] // SWEEP_SHARE)
        sweep[n_threads] = {**summary(latencies_ms(other, numbers, request["n_warmup"], n_timed)), "n_timed": n_timed}
    facts = {
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
        "stages_ms": {"read": _reading(folder, manifest, request), "model": summary(times_ms)},
        "heavy": loaded_heavy(),
    }
    _say(file, threads[0], manifest, request)
    return facts


def _reading(folder: Path, manifest: dict[str, Any], request: dict[str, Any]) -> dict[str, float]:
    """Times from the text of one window to its arrays, ms."""
    schema = json.loads((folder / "schema.json").read_text())
    example, statics = folder / manifest["example"]["file"], manifest["example"]["statics"]
    first = manifest["inputs"][0]

    def read(_: np.ndarray) -> np.ndarray:
        return read_window(example, statics, manifest, schema).inputs[first]

    return summary(latencies_ms(read, np.arange(1), request["n_warmup"], request["n_timed"]))


def _say(file: Path, n_threads: int, manifest: dict[str, Any], request: dict[str, Any]) -> None:
    folder = Path(request["windows"])
    inputs = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in manifest["inputs"]}
    n = len(next(iter(inputs.values())))
    np.save(request["said"], outputs_of(_asker(file, n_threads, inputs), np.arange(n)))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
