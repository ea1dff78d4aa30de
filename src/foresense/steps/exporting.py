"""What exports of every kind share: the model they read, the folder they build, and what is told of it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foresense.export.artefact import BuiltArtefact
from foresense.export.quiet import quieted
from foresense.models import model_sha256
from foresense.signals import ExportReport, read_json, replaced_folder
from foresense.steps.frame import StepRun


def read_evaluation(run: StepRun, folder: Path) -> dict[str, Any]:
    """What the training wrote of the model in `folder`.

    Raises:
        FileNotFoundError: not trained; says which command does.
    """
    path = folder / "evaluation.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; run `foresense train {run.pipeline}` first")
    content: dict[str, Any] = read_json(path)
    return content


def require_evaluated(run: StepRun, folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Refuse weights that are not those that were evaluated.

    Raises:
        ValueError: says both digests.
    """
    found = model_sha256(folder)
    if evaluation["model_sha256"] != found:
        raise ValueError(
            f"{folder}: evaluation.json is about weights {evaluation['model_sha256'][:12]}, model.safetensors is "
            f"{found[:12]}; run `foresense train {run.pipeline}` again"
        )


@contextmanager
def new_artefact(run: StepRun, group: str) -> Iterator[tuple[Path, Path]]:
    """An empty folder that becomes `exports/<pipeline>/<group>` when the block ends well, and one for scratch.

    Converters are quiet inside.
    """
    with (
        tempfile.TemporaryDirectory(prefix="foresense-export-") as scratch,
        replaced_folder(run.paths.exports) as beside,
        quieted(),
    ):
        (beside / group).mkdir()
        yield beside / group, Path(scratch)


def tracked_of(built: BuiltArtefact) -> dict[str, float]:
    """What MLflow's run of the model is told of its exported files."""
    return {
        f"export/{variant}/{name}": float(facts[name])
        for variant, facts in built.variants.items()
        for name in ("size_mib", "max_abs_error")
    }


def finish_export(
    run: StepRun, group: str, built: BuiltArtefact, *, data_sha256: str, weights_sha256: str, **of_others: Any
) -> ExportReport:
    """Tell MLflow's run of the model, and write the step's report.

    Args:
        run: The step that is running.
        group: Name of the artefact that ships.
        built: It.
        data_sha256: Digest of the recordings.
        weights_sha256: Digest of its model.
        **of_others: `groups`, `refused` and `models` where there are more artefacts than this one.
    """
    from foresense.tracking import attach_to_model

    alone = {"groups": {group: built.variants}, "refused": built.refused, "models": {group: weights_sha256}}
    return run.finish(
        ExportReport,
        data_sha256=data_sha256,
        mlflow_run_id=attach_to_model(
            run.layout,
            run.pipeline,
            weights_sha256,
            metrics=tracked_of(built),
            artifacts=[run.paths.exports / group / "manifest.json"],
        ),
        variants={variant: {"group": group, **facts} for variant, facts in built.variants.items()},
        **{**alone, **of_others},
    )
