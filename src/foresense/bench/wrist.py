"""What an exported classifier of wrist windows is measured by: its session, its gates, its verdicts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foresense.bench.limits import COMMON, Facts, Gates
from foresense.bench.local import run_worker
from foresense.bench.measure import Plan, measured_variants
from foresense.bench.reach import Work
from foresense.bench.verdict import accepted_unless, slower_than_float32

#: Share of the trained model's macro-F1 that an exported file may lose.
MAX_QUALITY_DROP = 0.01

GATES: Gates = {
    **COMMON,
    "macro_f1": ("1", lambda facts: facts["quality"]["macro_f1"]),
    "agreement_max_abs_error": ("logits", lambda facts: facts["agreement_max_abs_error"]),
    "real_time_factor": ("1", lambda facts: facts["real_time_factor"]),
}


def local_session(artefact: Path, windows: Path, held_out: list[str]) -> Work:
    """A function that runs one request of `bench.wrist_worker` in a fresh process of this machine."""
    places = {"artefact": str(artefact.resolve()), "windows": str(windows.resolve()), "held_out": held_out}
    return lambda request: run_worker("foresense.bench.wrist_worker", {**request, **places})


def measure_variants(work: Work, manifest: dict[str, Any], plan: Plan, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Measure every variant of an artefact, each in fresh processes, and judge it.

    Args:
        work: Runs one request in a fresh process.
        manifest: The artefact's manifest.
        plan: What to do.
        evaluation: Of the model: its macro-F1 on the people held out.

    Returns:
        variant -> facts, with `verdict` and `reason`.

    Raises:
        ValueError: the measured file is not the one that the manifest describes.
        WorkerError: a measuring process failed.
    """
    window_ms = manifest["length"] / manifest["rate_hz"] * 1000
    found: dict[str, dict[str, Any]] = {}
    for variant, facts in measured_variants(work, manifest["variants"], plan):
        found[variant] = {
            **facts,
            "window_ms": window_ms,
            "real_time_factor": window_ms / facts["latency_ms"]["p95"],
            "windows_per_s": 1000 / facts["latency_ms"]["p50"],
        }
    reference, label = evaluation["test"]["macro_f1"], "the model on all windows of the people held out"
    floats = [facts["quality"]["macro_f1"] for name, facts in found.items() if name.endswith("-float32")]
    if plan.n_quality is not None and floats:
        reference, label = max(floats), "the float32 file on the same windows"
    for name, facts in found.items():
        facts["quality_reference"] = label
        facts["quality_drop"] = 1 - facts["quality"]["macro_f1"] / reference if reference else 0.0
        facts["verdict"], facts["reason"] = _judge(name, facts, found)
    return found


def _judge(name: str, facts: Facts, variants: Mapping[str, Facts]) -> tuple[str, str]:
    reasons = slower_than_float32(name, facts, variants)
    if not facts["quality_drop"] <= MAX_QUALITY_DROP:
        f1 = facts["quality"]["macro_f1"]
        reasons.append(f"quality drop {facts['quality_drop']:.2%} (macro-F1 {f1:.4f}), at most {MAX_QUALITY_DROP:.0%}")
    return accepted_unless(reasons, facts, f"quality drop {facts['quality_drop']:.2%}")
