"""What an exported anomaly detector is measured by: quality on the clips held out, cost, gates, verdicts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.keras import measure_variants
from foresense.bench.limits import COMMON, Facts, Gates
from foresense.bench.verdict import ACCEPTED, NOT_MEASURED, REJECTED
from foresense.evaluate.anomaly import judge_anomalies
from foresense.export.keras_format import run_file
from foresense.export.pi import PiPlan

#: AUC that an exported file may lose on the clips that are held out.
MAX_QUALITY_DROP = 0.01
GATES: Gates = {
    **COMMON,
    "auc": ("1", lambda facts: facts["quality"]["auc"]),
    "growth_mib": ("MiB", lambda facts: facts["growth_mib"]),
    "agreement_max_abs_error": ("1", lambda facts: facts["agreement_max_abs_error"]),
}


def measure_artefact(
    artefact: Path,
    manifest: Mapping[str, Any],
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    reference: float,
    plan: PiPlan,
) -> dict[str, dict[str, Any]]:
    """Measure every variant of an artefact, and judge it.

    Args:
        artefact: `exports/<pipeline>/clips`, or that of a candidate beside it.
        manifest: Of it.
        inputs: (n, ...), float32: the clips that are held out, as the network gets them; all decide the quality.
        labels: (n,), int64: their conditions.
        reference: AUC of the trained network on the same clips.
        plan: Warm-ups, timed runs, threads.

    Returns:
        variant -> facts, with `verdict` and `reason`. Only TFLite is timed: that is what a device runs.

    Raises:
        AnomalyScoreError: a score that is not finite.
        WorkerError: a file could not be measured; says which and why.
    """
    files = {variant: artefact / facts["file"] for variant, facts in manifest["variants"].items()}
    with np.load(artefact / "golden.npz", allow_pickle=False) as golden:
        windows = golden["inputs"]
    timed = measure_variants({name: file for name, file in files.items() if name.startswith("tflite-")}, windows, plan)
    found: dict[str, dict[str, Any]] = {}
    for variant, file in files.items():
        scores = run_file(file, inputs)[:, 0].astype(np.float64)
        auc = auc_of_file(labels, scores)
        said = manifest["variants"][variant]
        found[variant] = {
            "size_mib": said["size_mib"],
            "sha256": said["sha256"],
            **timed.get(variant, {}),
            "agreement_max_abs_error": said["max_abs_error"],
            "quality": {"auc": auc, "n_windows": len(labels)},
            "quality_reference": "AUC of the trained network on the same clips",
            "quality_drop": reference - auc,
        }
        found[variant]["verdict"], found[variant]["reason"] = _judge(found[variant])
    return found


def auc_of_file(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC of what a file says of clips (n,).

    Raises:
        AnomalyScoreError: a score that is not finite, or no clip of either kind.
    """
    judged = judge_anomalies(
        labels,
        scores,
        classes=(),
        units=np.arange(len(labels)),
        threshold=0.5,
        hop_s=None,
        rng=np.random.default_rng(0),
        n_resamples=1,
    )
    return judged.overall.metrics["auc"]


def _judge(facts: Facts) -> tuple[str, str]:
    reasons = []
    if not facts["quality_drop"] <= MAX_QUALITY_DROP:
        reasons.append(f"AUC {facts['quality_drop']:.3f} lower, at most {MAX_QUALITY_DROP:g}")
    if not facts.get("deterministic", True):
        reasons.append("processes gave different outputs for the same inputs")
    if reasons:
        return REJECTED, f"rejected: {'; '.join(reasons)}"
    lower = f"AUC {facts['quality_drop']:.3f} lower"
    if "latency_ms" not in facts:
        return NOT_MEASURED, f"not measured: a device runs TFLite; {lower}"
    return ACCEPTED, f"accepted: {lower}, {facts['latency_ms']['p50']:.3g} ms"
