"""What an exported encoder of weeks is measured by: its session, its scores, its gates, its verdicts."""

from collections.abc import Callable
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

#: AUROC that an exported file may lose on the people who are held out.
MAX_QUALITY_DROP = 0.01
GATES: Gates = {**COMMON, "agreement_max_abs_error": ("features", lambda facts: facts["agreement_max_abs_error"])}


@dataclass(frozen=True, eq=False)
class Asked:
    """The weeks of the people who are held out in the turn that ships.

    Attributes:
        weeks: (n, 10080), float32, scaled.
        owners: (n,): number of the person, 0 ... n_people - 1.
        labels: (n_people,): 0 or 1.
        readout: (n, 96) features to the probability (n,) of the label, as the encoder was trained to be read.
    """

    weeks: np.ndarray
    owners: np.ndarray
    labels: np.ndarray
    readout: Callable[[np.ndarray], np.ndarray]

    def auroc(self, features: np.ndarray) -> float:
        """Of people, by the mean of what is read from the features (n, 96) of their weeks."""
        of_weeks = self.readout(features)
        of_people = np.bincount(self.owners, weights=of_weeks) / np.bincount(self.owners)
        rng = np.random.default_rng(0)
        return judge_binary(self.labels, of_people, threshold=0.5, rng=rng, n_resamples=1).metrics["auroc"]


def local_session(artefact: Path, scratch: Path, weeks: np.ndarray) -> Work:
    """A function that runs one request of `bench.weeks_worker` in a fresh process of this machine.

    Args:
        artefact: `exports/<pipeline>/weeks`.
        scratch: An existing folder; the weeks are written there, and what the files say of them.
        weeks: (n, 10080), float32, scaled.
    """
    np.save(scratch / "weeks.npy", weeks)
    places = {"artefact": str(artefact.resolve()), "weeks": str(scratch / "weeks.npy")}

    def work(request: dict[str, Any]) -> dict[str, Any]:
        said = str(scratch / said_file(request["file"]))
        return run_worker("foresense.bench.weeks_worker", {**request, **places, "said": said})

    return work


def measure_variants(
    work: Work, scratch: Path, manifest: dict[str, Any], plan: Plan, asked: Asked, reference: float
) -> dict[str, Any]:
    """Measure every variant of an artefact, each in fresh processes, and judge it.

    Args:
        work: Runs one request in a fresh process.
        scratch: Where the process leaves what the file says.
        manifest: The artefact's manifest.
        plan: What to do.
        asked: The weeks of the people who are held out.
        reference: AUROC of the trained encoder on the same people.

    Returns:
        variant -> facts, with `verdict` and `reason`.

    Raises:
        ValueError: a feature that is not finite, or a measured file that is not the one that the manifest describes.
        WorkerError: a measuring process failed.
    """
    found: dict[str, dict[str, Any]] = {}
    for variant, facts in measured_variants(work, manifest["variants"], plan):
        file = manifest["variants"][variant]["file"]
        features = np.load(scratch / said_file(file), allow_pickle=False)
        if not np.isfinite(features).all():
            raise ValueError(f"{file}: features of {len(features)} weeks are not all finite")
        auroc = asked.auroc(features)
        found[variant] = {
            **facts,
            "windows_per_s": 1000 / facts["latency_ms"]["p50"],
            "quality": {"auroc": auroc, "n_windows": len(features), "n_people": len(asked.labels)},
            "quality_reference": "AUROC of the trained encoder on the people who are held out",
            "quality_drop": reference - auroc,
        }
        found[variant]["verdict"], found[variant]["reason"] = _judge(found[variant])
    return found


def _judge(facts: Facts) -> tuple[str, str]:
    reasons = []
    if not facts["quality_drop"] <= MAX_QUALITY_DROP:
        reasons.append(
            f"AUROC {facts['quality_drop']:.3f} lower, at most {MAX_QUALITY_DROP:g} (of {facts['quality']['n_people']} "
            "people: a single pair that swaps is more)"
        )
    return accepted_unless(reasons, facts, f"AUROC {facts['quality_drop']:.3f} lower")


def said_file(file: str) -> str:
    """Name of the array of what a file says of the weeks."""
    return f"said-{file}.npy"
