"""Export: write every asked format, prove that it agrees with the model, build the artefacts."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import ExportConfig
from foresense.export import file_name, format_of
from foresense.export.artefact import BuiltArtefact, Origin, build_artefact, calibration_contexts
from foresense.export.quiet import quieted
from foresense.export.source import ExportSource
from foresense.models import load_model
from foresense.signals import (
    ExportReport,
    Layout,
    group_folders,
    open_windows,
    recordings_digest,
    replaced_folder,
)
from foresense.steps.exporting import read_evaluation, require_evaluated, tracked_of
from foresense.steps.frame import StepRun

#: The variant that stands in MLflow as a model with signature and example.
MLFLOW_VARIANT = "onnx-float32"


def export(run: StepRun, config: ExportConfig) -> ExportReport:
    """Build `exports/<pipeline>/<group>/` for every group, and write the report.

    A variant that cannot be made is recorded in `refused` with its reason; the others go on.

    Args:
        run: The step that is running.
        config: Which variants, and how many windows calibrate and prove them.

    Raises:
        ValueError: no such variant; or a model that is not the one that was evaluated.
        ExportError: a group for which not one variant could be made.
        FileNotFoundError: windows or models are absent; says which command writes them.
    """
    for variant in config.variants:
        format_of(variant)
    data_sha256 = recordings_digest(run.paths.windows)
    built: dict[str, BuiltArtefact] = {}
    origins: dict[str, Origin] = {}
    with replaced_folder(run.paths.exports) as beside:
        for folder in group_folders(run.paths.windows):
            group = folder.name
            origins[group] = _origin(run, group, data_sha256)
            (beside / group).mkdir()
            built[group] = _build(run, config, folder, beside / group, origins[group])
    run_ids = [_attach(run.layout, run.paths.exports / group, origins[group], built[group]) for group in built]
    return run.finish(
        ExportReport,
        data_sha256=data_sha256,
        mlflow_run_id=run_ids[0],
        variants=_worst({group: artefact.variants for group, artefact in built.items()}),
        groups={group: artefact.variants for group, artefact in built.items()},
        refused={
            variant: f"{group}: {reason}"
            for group, artefact in reversed(built.items())
            for variant, reason in artefact.refused.items()
        },
        models={group: origin.model_sha256 for group, origin in origins.items()},
    )


def _origin(run: StepRun, group: str, data_sha256: str) -> Origin:
    folder = run.paths.models / group
    evaluation = read_evaluation(run, folder)
    require_evaluated(run, folder, evaluation)
    return Origin(run.pipeline, data_sha256, evaluation["model_sha256"], evaluation)


def _build(run: StepRun, config: ExportConfig, windows_folder: Path, folder: Path, origin: Origin) -> BuiltArtefact:
    windows = open_windows(windows_folder)
    with quieted():  # transformers asks torchao, which complains of its missing libraries
        model = load_model(run.paths.models / windows_folder.name)
    with tempfile.TemporaryDirectory(prefix="foresense-export-") as scratch:
        source = ExportSource(
            model=model,
            calibration={"context": calibration_contexts(windows, config.n_calibration)},
            output="forecast",
            scratch=Path(scratch),
        )
        return build_artefact(folder, source, windows, origin, variants=config.variants, n_golden=config.n_golden)


def _attach(layout: Layout, folder: Path, origin: Origin, built: BuiltArtefact) -> str:
    from foresense.tracking import attach_to_model

    with tempfile.TemporaryDirectory(prefix="foresense-mlflow-") as scratch:
        artifacts = [folder / "manifest.json"]
        if MLFLOW_VARIANT in built.variants:
            artifacts.append(_mlflow_model(folder, Path(scratch)))
        return attach_to_model(
            layout, origin.pipeline, origin.model_sha256, metrics=tracked_of(built), artifacts=artifacts
        )


def _mlflow_model(folder: Path, scratch: Path) -> Path:
    """The float32 file as a model of MLflow, its first golden vector as the example."""
    from foresense.tracking import save_mlflow_model

    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        context, forecast = golden["inputs"][:1], golden["model"][:1]
    return save_mlflow_model(
        scratch / "mlflow-model", folder / file_name(MLFLOW_VARIANT), context=context, forecast=forecast
    )


def _worst(groups: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """For each variant the facts of the group in which it differs most from its model."""
    names = {variant: None for variants in groups.values() for variant in variants}
    return {
        variant: max(
            ({"group": group, **variants[variant]} for group, variants in groups.items() if variant in variants),
            key=lambda facts: float(facts["max_abs_error"]),
        )
        for variant in names
    }
