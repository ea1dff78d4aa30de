"""What an exported model of mixed recordings is measured by: its session, its scores, its gates, its verdicts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.limits import COMMON, Facts, Gates
from foresense.bench.local import run_worker
from foresense.bench.measure import Plan, measured_variants
from foresense.bench.reach import Work
from foresense.bench.verdict import accepted_unless
from foresense.evaluate.binary import judge_binary
from foresense.export.mixed_inputs import MixedInputs
from foresense.export.mixed_predict import probabilities

#: Share of the trained model's headline score that an exported file may lose.
MAX_QUALITY_DROP = 0.01
#: Scores of an exported file by what the model predicts; the first one is the headline.
VALUE_SCORES = ("rmse", "mae")
BINARY_SCORES = ("auroc", "auprc", "brier")
CLASS_SCORES = ("macro_f1", "cohen_kappa", "accuracy")

GATES: Gates = {
    **COMMON,
    "agreement_max_abs_error": ("deviations of the target, or logits", lambda facts: facts["agreement_max_abs_error"]),
}


@dataclass(frozen=True, eq=False)
class Asked:
    """The test windows that an exported file is asked about.

    Attributes:
        inputs: Of the windows.
        targets: (n,), unit of the target.
        classes: (n,), int64; -1 where there are no classes.
        is_all: Whether these are all of the test part.
    """

    inputs: MixedInputs
    targets: np.ndarray
    classes: np.ndarray
    is_all: bool


def scores_of(class_names: list[str]) -> tuple[str, ...]:
    """Names of the scores of a model with these classes, the headline first; of a value where there are none."""
    if not class_names:
        return VALUE_SCORES
    return BINARY_SCORES if len(class_names) == 2 else CLASS_SCORES


def local_session(artefact: Path, scratch: Path, inputs: MixedInputs) -> Work:
    """A function that runs one request of `bench.mixed_worker` in a fresh process of this machine.

    Args:
        artefact: `exports/<pipeline>/recordings`.
        scratch: An existing folder; the windows are written there, and what the files say of them.
        inputs: Of the test windows.
    """
    for name, rows in inputs.arrays.items():
        np.save(scratch / f"{name}.npy", rows)
    places = {"artefact": str(artefact.resolve()), "windows": str(scratch)}

    def work(request: dict[str, Any]) -> dict[str, Any]:
        said = str(scratch / _said(request["file"]))
        return run_worker("foresense.bench.mixed_worker", {**request, **places, "said": said})

    return work


def measure_variants(
    work: Work, scratch: Path, manifest: dict[str, Any], plan: Plan, asked: Asked, evaluation: dict[str, Any]
) -> dict[str, Any]:
    """Measure every variant of an artefact, each in fresh processes, and judge it.

    Args:
        work: Runs one request in a fresh process.
        scratch: Where the process leaves what the file says.
        manifest: The artefact's manifest.
        plan: What to do.
        asked: The test windows, with their truth.
        evaluation: Of the model: its scores on the test part.

    Returns:
        variant -> facts, with `verdict` and `reason`.

    Raises:
        ValueError: an output that is not finite, or a measured file that is not the one that the manifest describes.
        WorkerError: a measuring process failed.
    """
    deviation = manifest["agreement"]["deviation"]
    found: dict[str, dict[str, Any]] = {}
    for variant, facts in measured_variants(work, manifest["variants"], plan, deviation=deviation):
        said = np.load(scratch / _said(manifest["variants"][variant]["file"]), allow_pickle=False)
        found[variant] = {
            **facts,
            "windows_per_s": 1000 / facts["latency_ms"]["p50"],
            "quality": quality(said, asked, manifest["classes"]),
        }
    _add_drops(found, scores_of(manifest["classes"])[0], evaluation, is_all=asked.is_all)
    for facts in found.values():
        facts["verdict"], facts["reason"] = _judge(facts)
    return found


def quality(outputs: np.ndarray, asked: Asked, class_names: list[str]) -> dict[str, float]:
    """Scores of what a file says, (n, n_outputs), and `n_windows`.

    Raises:
        ValueError: an output that is not finite.
    """
    if not np.isfinite(outputs).all():
        wrong = int((~np.isfinite(outputs).all(axis=1)).sum())
        raise ValueError(f"{wrong} of {len(outputs)} outputs are not finite; a model answers whatever is missing")
    return {**_scores(outputs, asked, class_names), "n_windows": len(outputs)}


def _scores(outputs: np.ndarray, asked: Asked, class_names: list[str]) -> dict[str, float]:
    if not class_names:
        errors = outputs[:, 0].astype(np.float64) - asked.targets
        return {"rmse": float(np.sqrt((errors**2).mean())), "mae": float(np.abs(errors).mean())}
    if len(class_names) == 2:
        shares = probabilities(outputs)[:, 1]
        judged = judge_binary(asked.classes, shares, threshold=0.5, rng=np.random.default_rng(0), n_resamples=1)
        return {name: judged.metrics[name] for name in BINARY_SCORES}
    from foresense.training.wrist import macro_f1_and_kappa

    said = outputs.argmax(axis=1)
    macro_f1, kappa = macro_f1_and_kappa(asked.classes, said, len(class_names))
    return {"macro_f1": macro_f1, "cohen_kappa": kappa, "accuracy": float((said == asked.classes).mean())}


def _add_drops(variants: dict[str, dict[str, Any]], headline: str, evaluation: Facts, *, is_all: bool) -> None:
    """Write `quality_drop` and `quality_reference` into each variant's facts: a share of the reference, above 0 worse.

    The reference is the trained model on the whole test part; of some windows, the best file on the same ones.
    """
    lower_is_better = headline == "rmse"
    reference, label = float(evaluation["test"][headline]), f"{headline} of the model on all test windows"
    if not is_all:
        best = min if lower_is_better else max
        reference = best(facts["quality"][headline] for facts in variants.values())
        label = f"{headline} of the best file on the same windows"
    for facts in variants.values():
        worse = (facts["quality"][headline] - reference) * (1 if lower_is_better else -1)
        facts["quality_reference"] = label
        facts["quality_drop"] = worse / reference if reference else 0.0


def _judge(facts: Facts) -> tuple[str, str]:
    drop = f"quality drop {facts['quality_drop']:.2%}"
    is_good = facts["quality_drop"] <= MAX_QUALITY_DROP
    return accepted_unless([] if is_good else [f"{drop}, at most {MAX_QUALITY_DROP:.0%}"], facts, drop)


def _said(file: str) -> str:
    return f"said-{file}.npy"
