"""Measures one exported file in a fresh process that holds numpy and the file's runtime, nothing else.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output. On a device
this file and `foresense/export/predict.py` are all that is copied, so neither may import anything else of the project.

Peak memory is VmHWM: `ru_maxrss` is inherited from the process that started this one.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from foresense.export.predict import open_model

#: Set by whoever starts the process, on the same machine's clock: seconds since 1970 just before the start.
SPAWNED = "FORESENSE_SPAWNED_S"
#: Modules that have no business in a process whose memory is measured.
HEAVY = ("torch", "tensorflow", "pandas", "pydantic", "scipy", "mlflow", "litert_torch")

#: Other thread counts than the first get one timed run for so many at the first.
SWEEP_SHARE = 4

Forecaster = Callable[[np.ndarray], np.ndarray]


class Golden(NamedTuple):
    """What a file of an artefact is measured with.

    Attributes:
        open: Number of threads -> a function from one input, (1, ...), to its outputs.
        inputs: (n_golden, ...): what that function takes, one at a time.
        model: (n_golden, ...), float32: what the trained model says of them.
    """

    open: Callable[[int], Forecaster]
    inputs: np.ndarray
    model: np.ndarray


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request["mode"]` says.

    Args:
        request: `mode`: `runtime` (memory of the bare runtime), `digest` (outputs only) or `measure`; `artefact` and
            `file`; for `measure` also `windows` (folder or null), `n_warmup`, `n_timed`, `n_threads`, `n_quality`.

    Raises:
        ValueError: another mode.
    """
    file = Path(request["artefact"]) / request["file"]
    if request["mode"] != "measure":
        return answer_briefly(file, _golden, request)
    forecast, _, facts = measured(file, _golden(file), request)
    windows = request["windows"]
    judged = quality(forecast, Path(windows), request["n_quality"]) if windows else None
    return {**facts, "quality": judged, "heavy": loaded_heavy()}


def _golden(file: Path) -> Golden:
    """Inputs (n_golden, context, n_channels) and forecasts (n_golden, horizon, n_channels), float32, scaled."""
    with np.load(file.with_name("golden.npz"), allow_pickle=False) as golden:
        return Golden(lambda n_threads: open_model(file, n_threads), golden["inputs"], golden["model"])


def answer_briefly(
    file: Path,
    golden_of: Callable[[Path], Golden],
    request: dict[str, Any],
    *,
    modes: str = "runtime, digest or measure",
) -> dict[str, Any]:
    """What is asked of a file beside the measurement: `runtime` or `digest`.

    Args:
        file: The exported file.
        golden_of: Reads what it is asked; not called for `runtime`, which is to hold nothing else.
        request: `mode` and, for `digest`, `n_threads`.
        modes: All that the worker knows, for the message.

    Raises:
        ValueError: another mode.
    """
    if request["mode"] == "runtime":
        import_runtime(file.suffix)
        return {"rss_mib": memory_mib("VmRSS"), "peak_rss_mib": memory_mib("VmHWM"), "heavy": loaded_heavy()}
    if request["mode"] != "digest":
        raise ValueError(f"mode {request['mode']!r}: expected {modes}")
    golden = golden_of(file)
    return {"digest": digest_of(outputs_of(golden.open(int(request["n_threads"][0])), golden.inputs))}


def measured(file: Path, golden: Golden, request: dict[str, Any]) -> tuple[Forecaster, np.ndarray, dict[str, Any]]:
    """Cold start, latency, memory, then the sweep over threads, which would disturb those.

    Args:
        file: The exported file.
        golden: How to open it, and what to ask.
        request: `n_warmup`, `n_timed`, and `n_threads`: the first is the one that the headline figures belong to.

    Returns:
        What was opened with the first number of threads, its outputs for the golden inputs, and the facts.
    """
    threads = [int(n) for n in request["n_threads"]]
    inputs = golden.inputs
    import_runtime(file.suffix)
    before_load = time.perf_counter()
    ask = golden.open(threads[0])
    ask(inputs[:1])
    load_ms = (time.perf_counter() - before_load) * 1e3
    cold_start_ms = (time.time() - float(os.environ[SPAWNED])) * 1e3
    times_ms = latencies_ms(ask, inputs, request["n_warmup"], request["n_timed"])
    peak_rss_mib = memory_mib("VmHWM")
    outputs = outputs_of(ask, inputs)
    sweep = {threads[0]: {**summary(times_ms), "n_timed": len(times_ms)}}
    spread = 0.0
    for n_threads in threads[1:]:
        other = golden.open(n_threads)
        spread = max(spread, float(np.abs(outputs_of(other, inputs) - outputs).max()))
        n_timed = max(1, request["n_timed"] // SWEEP_SHARE)
        sweep[n_threads] = {**summary(latencies_ms(other, inputs, request["n_warmup"], n_timed)), "n_timed": n_timed}
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
        "golden_max_abs_error": float(np.abs(outputs - golden.model).max()),
    }
    return ask, outputs, facts


def manifest_of(file: Path) -> dict[str, Any]:
    """Content of the `manifest.json` beside an exported file."""
    content: dict[str, Any] = json.loads(file.with_name("manifest.json").read_text())
    return content


def latencies_ms(forecast: Forecaster, inputs: np.ndarray, n_warmup: int, n_timed: int) -> np.ndarray:
    """(n_timed,), ms: one inference each, over the inputs in turn, after `n_warmup` untimed ones."""
    for number in range(n_warmup):
        forecast(inputs[number % len(inputs)][None])
    times_ns = []
    for number in range(n_timed):
        context = inputs[number % len(inputs)][None]
        begin = time.perf_counter_ns()
        forecast(context)
        times_ns.append(time.perf_counter_ns() - begin)
    return np.asarray(times_ns) / 1e6


def quality(forecast: Forecaster, windows: Path, n: int | None) -> dict[str, float]:
    """Mean squared and absolute error over the test part, scaled units; over `n` evenly spread windows where given.

    Raises:
        ValueError: there is no test window.
    """
    index = json.loads((windows / "index.json").read_text())
    samples = np.load(windows / "samples.npy", mmap_mode="r", allow_pickle=False)
    starts = np.load(windows / "starts_test.npy", allow_pickle=False)
    if n is not None and n < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, n).round().astype(np.int64)]
    context, horizon = index["context"], index["horizon"]
    squared = absolute = 0.0
    for start in starts:
        window = np.asarray(samples[start : start + context + horizon])
        error = forecast(window[None, :context])[0].astype(np.float64) - window[context:]
        squared += float(np.mean(error**2))
        absolute += float(np.mean(np.abs(error)))
    if not len(starts):
        raise ValueError(f"{windows}: the test part has no windows")
    return {"mse": squared / len(starts), "mae": absolute / len(starts), "n_windows": len(starts)}


def outputs_of(forecast: Forecaster, inputs: np.ndarray) -> np.ndarray:
    """(n, horizon, n_channels), float32: the forecasts of all inputs, one at a time."""
    return np.concatenate([forecast(context[None]) for context in inputs])


def digest_of(outputs: np.ndarray) -> str:
    """SHA-256 of the bytes of outputs of any shape: equal only when every bit is."""
    return hashlib.sha256(np.ascontiguousarray(outputs).tobytes()).hexdigest()


def summary(times_ms: np.ndarray) -> dict[str, float]:
    """Percentiles of latencies (n,), ms."""
    return {f"p{share}": round(float(np.percentile(times_ms, share)), 4) for share in (50, 95, 99)}


def import_runtime(suffix: str) -> None:
    """Import the runtime that a file of this suffix needs."""
    if suffix == ".onnx":
        import onnxruntime  # noqa: F401
    else:
        import ai_edge_litert.interpreter  # noqa: F401


def memory_mib(key: str) -> float:
    """A memory figure of this process from /proc/self/status, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return round(int(line.split()[1]) / 1024, 2)
    raise OSError(f"/proc/self/status has no {key}; memory is measured on Linux only")


def loaded_heavy() -> list[str]:
    """Which of HEAVY this process holds; empty in an honest measurement."""
    return sorted(name for name in HEAVY if name in sys.modules)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
