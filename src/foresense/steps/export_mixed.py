"""Step `export` of a pipeline of mixed recordings: every format, agreement with the model, the artefact."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.mixed_pipeline import MixedExportConfig
from foresense.export.mixed_artefact import MixedOrigin, build_mixed_artefact, require_offered
from foresense.export.mixed_inputs import inputs_of
from foresense.export.quiet import quieted
from foresense.models import model_sha256
from foresense.models.mixed_shipped import load_shipped
from foresense.signals import ExportReport, read_json, replaced_folder
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
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
    from foresense.tracking import attach_to_model

    require_offered(config.variants)
    windows = open_mixed_windows(run.paths.windows / GROUP)
    data_sha256 = str(read_json(run.paths.windows / "manifest.json")["recordings_sha256"])
    folder = run.paths.models / GROUP
    model, evaluation = load_shipped(folder), read_json(folder / "evaluation.json")
    fold = int(evaluation["fold"])
    _require_same(run.pipeline, folder, windows, evaluation)
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
    with (
        tempfile.TemporaryDirectory(prefix="foresense-export-") as scratch,
        replaced_folder(run.paths.exports) as beside,
        quieted(),
    ):
        (beside / GROUP).mkdir()
        built = build_mixed_artefact(
            beside / GROUP,
            model,
            proving,
            origin,
            Path(scratch),
            variants=config.variants,
            n_golden=config.n_golden,
        )
    run_id = attach_to_model(
        run.layout,
        run.pipeline,
        origin.model_sha256,
        metrics={
            f"export/{variant}/{name}": float(facts[name])
            for variant, facts in built.variants.items()
            for name in ("size_mib", "max_abs_error")
        },
        artifacts=[run.paths.exports / GROUP / "manifest.json"],
    )
    return run.finish(
        ExportReport,
        data_sha256=data_sha256,
        mlflow_run_id=run_id,
        variants={variant: {"group": GROUP, **facts} for variant, facts in built.variants.items()},
        groups={GROUP: built.variants},
        refused=built.refused,
        models={GROUP: origin.model_sha256},
    )


def _deviation(targets: np.ndarray) -> float:
    """Population deviation; 1 where the target never changes."""
    return float(targets.std(dtype=np.float64)) or 1.0


def _require_same(pipeline: str, folder: Path, windows: MixedWindows, evaluation: dict[str, Any]) -> None:
    found = model_sha256(folder)
    if evaluation["model_sha256"] != found:
        raise ValueError(
            f"{folder}: evaluation.json is about weights {evaluation['model_sha256'][:12]}, model.safetensors is "
            f"{found[:12]}; run `foresense train {pipeline}` again"
        )
    schema = MixedSchema.from_json(read_json(folder / "schema.json"), str(folder / "schema.json"))
    if schema != windows.schemas[int(evaluation["fold"])]:
        raise ValueError(
            f"{folder / 'schema.json'}: the windows of turn {evaluation['fold']} have another schema now: the model "
            f"learnt from other ones; run `foresense train {pipeline}` again"
        )
