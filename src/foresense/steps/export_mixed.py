"""Step `export` of a pipeline of mixed recordings: every format, agreement with the model, the artefact."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.mixed_pipeline import MixedExportConfig
from foresense.export.mixed_artefact import MixedOrigin, build_mixed_artefact, require_offered
from foresense.export.mixed_inputs import inputs_of
from foresense.models.mixed_shipped import load_shipped
from foresense.signals import ExportReport, read_json, recordings_digest
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
from foresense.steps.exporting import finish_export, new_artefact, require_evaluated
from foresense.steps.frame import StepRun
from foresense.steps.window_mixed import GROUP


def export_mixed(run: StepRun, config: MixedExportConfig) -> ExportReport:
    """Build `exports/<pipeline>/recordings/`, and write the report.

    Windows of the training part prove the files, and hard ones that are made of them.

    Args:
        run: The step that is running.
        config: Which variants, and how many windows prove them.

    Raises:
        ValueError: a variant that is not offered; or a model that is not the one that was evaluated, or that learnt
            from other windows.
        ExportError: not one variant could be made.
        FileNotFoundError: windows or models are absent; says which command writes them.
    """
    require_offered(config.variants)
    windows = open_mixed_windows(run.paths.windows / GROUP)
    data_sha256 = recordings_digest(run.paths.windows)
    folder = run.paths.models / GROUP
    model, evaluation = load_shipped(folder), read_json(folder / "evaluation.json")
    fold = int(evaluation["fold"])
    _require_same(run, folder, windows, evaluation)
    training = windows.of_part("train", fold)
    origin = MixedOrigin(
        pipeline=run.pipeline,
        data_sha256=data_sha256,
        model_sha256=evaluation["model_sha256"],
        evaluation=evaluation,
        schema=windows.schemas[fold],
        length=windows.length,
        has_time=windows.has_time,
        time_zone=windows.time_zone,
        deviation=_deviation(windows.targets[training]) if evaluation["predicts"] == "value" else 1.0,
    )
    spread = np.linspace(0, len(training) - 1, min(config.n_calibration, len(training))).round().astype(np.int64)
    proving = inputs_of(windows, training[np.unique(spread)], fold, calendar=evaluation["calendar"])
    with new_artefact(run, GROUP) as (artefact, scratch):
        built = build_mixed_artefact(
            artefact,
            model,
            proving,
            origin,
            scratch,
            variants=config.variants,
            n_golden=config.n_golden,
        )
    return finish_export(run, GROUP, built, data_sha256=data_sha256, weights_sha256=evaluation["model_sha256"])


def _deviation(targets: np.ndarray) -> float:
    """Population deviation; 1 where the target never changes."""
    return float(targets.std(dtype=np.float64)) or 1.0


def _require_same(run: StepRun, folder: Path, windows: MixedWindows, evaluation: dict[str, Any]) -> None:
    require_evaluated(run, folder, evaluation)
    schema = MixedSchema.from_json(read_json(folder / "schema.json"), str(folder / "schema.json"))
    if schema != windows.schemas[int(evaluation["fold"])]:
        raise ValueError(
            f"{folder / 'schema.json'}: the windows of turn {evaluation['fold']} have another schema now: the model "
            f"learnt from other ones; run `foresense train {run.pipeline}` again"
        )
