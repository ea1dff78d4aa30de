"""What trainings of every kind share: what they are made from, names of candidates, the time budget, MLflow's run."""

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresense.signals import Gate, tree_sha256
from foresense.steps.frame import StepRun, code_digest, git_commit

if TYPE_CHECKING:
    from foresense.tracking import MlflowRun


def digests_of(run: StepRun, entry: str) -> tuple[str, str, str]:
    """Digests of windows, features and code: what a network is made from, and kept by.

    Args:
        run: The step that is running.
        entry: Name of its function in code.json.
    """
    return tree_sha256(run.paths.windows), tree_sha256(run.paths.features), code_digest(run.layout.project, entry)


def require_own_names(candidates: Iterable[str], others: Collection[str]) -> None:
    """Refuse a candidate with the name of something else.

    Args:
        candidates: Names in `train.candidates`.
        others: Names of rivals, of folders, and of what is judged beside candidates.

    Raises:
        ValueError: names the candidates.
    """
    taken = [name for name in candidates if name in others]
    if taken:
        raise ValueError(
            f"train.candidates: {', '.join(taken)} is the name of a rival, of a folder or of what is judged beside the "
            "candidates; rename it"
        )


def time_gate(seconds: float, budget_min: float) -> Gate:
    """The seconds of a training, judged against the stated budget."""
    return Gate.judge("training_min", round(seconds / 60, 2), "min", at_most=budget_min)


def tags_of(run: StepRun, data_sha256: str) -> dict[str, str]:
    """What every run in MLflow is tagged with, a nested one, too."""
    return {
        "pipeline": run.pipeline,
        "profile": run.profile,
        "data_sha256": data_sha256,
        "git_commit": git_commit(run.layout.project),
    }


@contextmanager
def tracked(run: StepRun, data_sha256: str) -> Iterator["MlflowRun"]:
    """The training's run in MLflow; pictures and report are added when the block ends well.

    Then unfinished and finished trainings that were kept for another start are removed.

    Args:
        run: The step that is running.
        data_sha256: Digest of the recordings.
    """
    from foresense.tracking import open_run

    with open_run(run.layout, run.pipeline, f"{run.pipeline} {run.profile}", tags_of(run, data_sha256)) as mlflow_run:
        yield mlflow_run
        mlflow_run.artifact(run.paths.reports / "plots", "plots")
        mlflow_run.artifact(run.paths.reports / "train.json", "reports")
    shutil.rmtree(run.paths.checkpoints, ignore_errors=True)


def track_model(
    mlflow_run: "MlflowRun",
    folder: Path,
    evaluation: Mapping[str, Any],
    *,
    parameters: Mapping[str, object],
    metrics: Mapping[str, float],
) -> None:
    """Tell a run in MLflow of the model that it trained.

    Args:
        mlflow_run: Of the training, or of one asset.
        folder: Of the model.
        evaluation: Content of its `evaluation.json`.
        parameters: How it was trained, beside `evaluation["model"]`.
        metrics: Of it and of its rivals.
    """
    mlflow_run.parameters({**parameters, **evaluation["model"]})
    mlflow_run.metrics(metrics)
    mlflow_run.tags({"model_sha256": evaluation["model_sha256"]})
    mlflow_run.artifact(folder, "model")
