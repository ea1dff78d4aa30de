"""Step `export` of a pipeline of minute actigraphy: every format, agreement with the network, the artefact."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.actigraphy_pipeline import ActigraphyExportConfig
from foresense.config.pat import pat_size
from foresense.export.weeks_artefact import WeeksOrigin, build_weeks_artefact
from foresense.signals import ExportReport, file_sha256, read_json, recordings_digest, tree_sha256
from foresense.signals.weeks import TRAIN, open_week_windows
from foresense.steps.actigraphy_training import read_arrays
from foresense.steps.exporting import finish_export, new_artefact, read_evaluation
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
    windows = open_week_windows(run.paths.windows / GROUP)
    data_sha256 = recordings_digest(run.paths.windows)
    folder = run.paths.models / GROUP
    evaluation = read_evaluation(run, folder)
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
    with new_artefact(run, GROUP) as (artefact, scratch):
        built = build_weeks_artefact(
            artefact,
            pat_size(evaluation["size"]),
            read_arrays(folder / "model.safetensors"),
            weeks,
            origin,
            scratch,
            variants=config.variants,
            n_golden=config.n_golden,
        )
    return finish_export(run, GROUP, built, data_sha256=data_sha256, weights_sha256=evaluation["model_sha256"])


def _require_same(run: StepRun, folder: Path, evaluation: dict[str, Any]) -> None:
    """Refuse files that are not those of the training, and a training on other weeks."""
    for name, expected in evaluation["files"].items():
        found = file_sha256(folder / name) if (folder / name).is_file() else "no file"
        if found != expected:
            raise ValueError(
                f"{folder / name}: SHA-256 is {found[:12]}, evaluation.json says {expected[:12]}: it changed after the "
                f"training; run `foresense train {run.pipeline}` again"
            )
    windows = tree_sha256(run.paths.windows)
    if evaluation["windows_sha256"] != windows:
        raise ValueError(
            f"{folder}: learnt from the weeks {evaluation['windows_sha256'][:12]}, there are {windows[:12]} now; run "
            f"`foresense train {run.pipeline}` again"
        )
