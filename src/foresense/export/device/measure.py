"""Measures one model, or all of them together, in this process; smoke_test.py starts it afresh for each request.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output. Python 3.9 or
newer, numpy and one of RUNTIMES are all that it needs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Module, name of its distribution, where the interpreter stands in it; the first that can be imported is used.
RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert", "Interpreter"),
    ("tflite_runtime.interpreter", "tflite-runtime", "Interpreter"),
    ("tensorflow", "tensorflow", "lite.Interpreter"),
)
INSTALL = "python3 -m pip install -r requirements_pi.txt"
#: Timing of one model ends after so long, whatever is left of its runs; fewer than the plan's runs then fail the test.
TIMING_BUDGET_S = 15.0


def work(request: dict[str, Any]) -> dict[str, Any]:
    """What happens in the fresh process: `runtime`, `measure` one model, or load them all `together`."""
    name, version, interpreter = find_runtime()
    import numpy as np

    if request["mode"] == "runtime":
        return {"name": name, "version": version, "numpy": np.__version__, "peak_rss_mib": peak_rss_mib()}
    if request["mode"] == "measure":
        return measure_model(interpreter, request)
    runs = {}
    for name, model in request["models"].items():
        with np.load(model["golden"], allow_pickle=False) as golden:
            runs[name] = (open_model(interpreter, model["file"], request["n_threads"])[0], golden["inputs"])
    outputs = {name: outputs_of(run, inputs) for name, (run, inputs) in runs.items()}
    return {"digests": {name: digest_of(each) for name, each in outputs.items()}, "peak_rss_mib": peak_rss_mib()}


def measure_model(interpreter: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Load time, cold start, latencies, memory and its growth, golden vectors and types of one model."""
    import numpy as np

    with np.load(request["model"]["golden"], allow_pickle=False) as golden:
        inputs, expected = golden["inputs"], golden["outputs"]
    begin = time.perf_counter()
    run, n_int8_tensors = open_model(interpreter, request["model"]["file"], request["n_threads"])
    load_ms = (time.perf_counter() - begin) * 1e3
    run(inputs[:1])
    cold_start_ms = (time.time() - request["spawned_s"]) * 1e3
    for number in range(request["n_warmup"]):
        run(inputs[number % len(inputs)][None])
    peak_before, end = peak_rss_mib(), time.perf_counter() + TIMING_BUDGET_S
    times_ms: list[float] = []
    while len(times_ms) < request["n_timed"] and time.perf_counter() < end:
        window = inputs[len(times_ms) % len(inputs)][None]
        begin = time.perf_counter()
        run(window)
        times_ms.append((time.perf_counter() - begin) * 1e3)
    peak_after = peak_rss_mib()
    outputs = outputs_of(run, inputs)
    if outputs.shape != expected.shape:
        raise ValueError(f"outputs of shape {outputs.shape}, the golden ones are {expected.shape}")
    if not np.isfinite(outputs).all():
        raise ValueError("gives values that are not finite for its golden inputs")
    return {
        "load_ms": round(load_ms, 3),
        "cold_start_ms": round(cold_start_ms, 3),
        "peak_rss_mib": peak_after,
        "n_timed": len(times_ms),
        "latency_ms": percentiles(times_ms) if times_ms else None,
        "growth_mib": None if peak_before is None or peak_after is None else round(peak_after - peak_before, 2),
        "golden_max_abs_error": float(np.abs(outputs - expected).max()),
        "digest": digest_of(outputs),
        "n_int8_tensors": n_int8_tensors,
    }


def find_runtime() -> tuple[str, str, Any]:
    """Name, version and interpreter class of the first runtime that is installed."""
    importlib.import_module("numpy")
    missing = []
    for module_name, distribution, path in RUNTIMES:
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            missing.append(f"{distribution}: {error}")
            continue
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = str(getattr(found, "__version__", "of unknown version"))
        for part in path.split("."):
            found = getattr(found, part)
        return distribution, version, found
    raise ImportError(f"no TFLite runtime ({'; '.join(missing)}); install one: {INSTALL}")


def open_model(interpreter_class: Any, file: str, n_threads: int) -> tuple[Callable[[Any], Any], int]:
    """Load a model: a function from (1, ...) to (1, ...), float32 on both sides, and its number of int8 tensors."""
    import numpy as np

    interpreter = interpreter_class(model_path=file, num_threads=n_threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (scale_in, zero_in), (scale_out, zero_out) = source["quantization"], target["quantization"]

    def run(window: Any) -> Any:
        if source["dtype"] == np.int8:
            window = np.clip(np.rint(window / scale_in) + zero_in, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], window)
        interpreter.invoke()
        found = np.asarray(interpreter.get_tensor(target["index"]))
        return found if found.dtype != np.int8 else ((found - np.float32(zero_out)) * scale_out).astype(np.float32)

    return run, sum(tensor["dtype"] == np.int8 for tensor in interpreter.get_tensor_details())


def outputs_of(run: Callable[[Any], Any], inputs: Any) -> Any:
    """(n, ...), float32: the outputs of all inputs, one at a time."""
    import numpy as np

    return np.concatenate([run(window[None]) for window in inputs])


def digest_of(outputs: Any) -> str:
    """SHA-256 of the outputs' bytes: equal only when every bit is."""
    return hashlib.sha256(outputs.tobytes()).hexdigest()


def percentiles(times_ms: list[float]) -> dict[str, float]:
    """Median and tails, ms."""
    import numpy as np

    return {f"p{share}": round(float(np.percentile(times_ms, share)), 4) for share in (50, 95, 99)}


def peak_rss_mib() -> float | None:
    """Largest memory that this process has had, MiB; None where this system does not tell."""
    try:
        # Linux; not ru_maxrss, which is inherited from the process that started this one
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 2)
    except OSError:
        pass  # another system: the next two ways
    try:
        peak = importlib.import_module("psutil").Process().memory_info().peak_wset  # Windows
        return round(float(peak) / 2**20, 2)
    except (ImportError, AttributeError):
        pass
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / unit, 2)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(work(json.loads(sys.stdin.read()))) + "\n")
