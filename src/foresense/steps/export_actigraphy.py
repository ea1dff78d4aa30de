"""Step `export` of a pipeline of minute actigraphy: every format, agreement with the network, the artefact."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.actigraphy_pipeline import ActigraphyExportConfig
from foresense.config.pat import pat_size
from foresense.export.quiet import quieted
from foresense.export.weeks_artefact import WeeksOrigin, build_weeks_artefact
from foresense.models import model_sha256
from foresense.signals import ExportReport, read_json, replaced_folder
from foresense.signals.weeks import TRAIN, open_week_windows
from foresense.steps.actigraphy_training import read_arrays
from foresense.steps.frame import StepRun
from foresense.steps.window_actigraphy import GROUP
from foresense.windows.minute_scaler import load_minute_scaler


def export_actigraphy(run: StepRun, config: ActigraphyExportConfig) -> ExportReport:
    """Build `exports/<pipeline>/weeks/`, and write the report.

    Args:
        run: The step that is running.
        config: Which variants, and how many weeks prove and calibrate them.

    Raises:
        ValueError: a model that is not the one that was evaluated, or that learnt from other weeks.
        ExportError: not one variant could be made.
        FileNotFoundError: weeks or model are absent; says which command writes them.
    """
    from foresense.tracking import attach_to_model

    windows = open_week_windows(run.paths.windows / GROUP)
    data_sha256 = str(read_json(run.paths.windows / "manifest.json")["recordings_sha256"])
    folder = run.paths.models / GROUP
    if not (folder / "evaluation.json").is_file():
        raise FileNotFoundError(f"{folder / 'evaluation.json'}: not there; run `foresense train {run.pipeline}` first")
    evaluation = read_json(folder / "evaluation.json")
    _require_same(run, folder, evaluation)
    scaler = load_minute_scaler(folder / "scaler.safetensors")
    rows = windows.weeks_of(int(evaluation["turn"]), TRAIN)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(config.n_calibration, len(rows))).round().astype(np.int64))]
    weeks = scaler.scale(windows.values[rows], windows.weekdays[rows], windows.unit).values
    origin = WeeksOrigin(
        pipeline=run.pipeline,
        data_sha256=data_sha256,
        evaluation=evaluation,
        classifier=read_json(folder / "classifier.json"),
        head=read_arrays(folder / "head.safetensors") if (folder / "head.safetensors").is_file() else {},
        preparation=evaluation["preparation"],
        scaler=scaler,
        attribution=evaluation["attribution"],
    )
    with (
        tempfile.TemporaryDirectory(prefix="foresense-export-") as scratch,
        replaced_folder(run.paths.exports) as beside,
        quieted(),
    ):
        (beside / GROUP).mkdir()
        built = build_weeks_artefact(
            beside / GROUP,
            pat_size(evaluation["size"]),
            read_arrays(folder / "model.safetensors"),
            weeks,
            origin,
            Path(scratch),
            variants=config.variants,
            n_golden=config.n_golden,
        )
    run_id = attach_to_model(
        run.layout,
        run.pipeline,
        evaluation["model_sha256"],
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
        models={GROUP: evaluation["model_sha256"]},
    )


def _require_same(run: StepRun, folder: Path, evaluation: dict[str, Any]) -> None:
    found = model_sha256(folder)
    if evaluation["model_sha256"] != found:
        raise ValueError(
            f"{folder}: evaluation.json is about weights {evaluation['model_sha256'][:12]}, model.safetensors is "
            f"{found[:12]}; run `foresense train {run.pipeline}` again"
        )
    name = f"scaler-{evaluation['turn']}.safetensors"
    if (run.paths.windows / GROUP / name).read_bytes() != (folder / "scaler.safetensors").read_bytes():
        raise ValueError(
            f"{folder / 'scaler.safetensors'}: the windows have another reference now: the model learnt from other "
            f"weeks; run `foresense train {run.pipeline}` again"
        )
