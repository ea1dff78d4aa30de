"""What TFLite files of a Keras model cost on this machine: fresh processes with numpy and LiteRT, no TensorFlow."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.reach import WorkerError
from foresense.export.device import smoke_test
from foresense.export.keras_format import run_file
from foresense.export.pi import PiPlan
from foresense.signals import file_sha256

#: One measuring process: the plan's runs of a slow file.
TIMEOUT_S = 300.0


def measure_variants(
    files: Mapping[str, Path], windows: np.ndarray, plan: PiPlan | None = None
) -> dict[str, dict[str, Any]]:
    """Measure each file by itself, as the smoke test of a device does.

    Args:
        files: variant -> its `.tflite`.
        windows: (n, ...), float32: what is inferred, in turn.
        plan: Warm-ups, timed runs, threads.

    Returns:
        variant -> {size_mib, sha256, latency_ms {p50, p95, p99}, n_timed, load_ms, cold_start_ms, peak_rss_mib,
        runtime_rss_mib, rss_delta_mib, growth_mib, deterministic (three processes, one with other threads)}.

    Raises:
        WorkerError: a file could not be measured; says which and why.
    """
    plan = plan or PiPlan()
    found = {}
    for variant, file in files.items():
        with tempfile.TemporaryDirectory(prefix="foresense-benchmark-") as scratch:
            golden = Path(scratch) / "golden.npz"
            np.savez(golden, allow_pickle=False, inputs=windows, outputs=run_file(file, windows))
            said = {"file": str(file.resolve()), "golden": str(golden)}
            said |= {"file_sha256": file_sha256(file), "golden_sha256": file_sha256(golden)}
            manifest = {"plan": asdict(plan), "models": {variant: said}}
            measured = smoke_test.measure_folder(golden.parent, manifest, TIMEOUT_S, emulated=False)
        runtime, facts, together = measured["runtime"], measured["models"][variant], measured["together"]
        for part in (runtime, facts, together):
            if "problem" in part:
                raise WorkerError(f"{variant}: {part['problem']}")
        digests = {part["digests"][variant] for part in together.values()} | {facts["digest"]}
        found[variant] = {
            **{key: facts[key] for key in ("size_mib", "sha256", "latency_ms", "n_timed", "load_ms", "cold_start_ms")},
            "peak_rss_mib": facts["peak_rss_mib"],
            "runtime_rss_mib": runtime["peak_rss_mib"],
            "rss_delta_mib": round(facts["peak_rss_mib"] - runtime["peak_rss_mib"], 2),
            "growth_mib": facts["growth_mib"],
            "deterministic": len(digests) == 1,
        }
    return found
