"""Step `export` of an activity pipeline: every format, agreement with the model, the artefact."""

from pathlib import Path

import numpy as np

from foresense.config.activity import ActivityExportConfig
from foresense.evaluate import hmm
from foresense.export import format_of
from foresense.export.wrist_artefact import WristOrigin, build_wrist_artefact
from foresense.models.classifiers import load_classifier
from foresense.signals import ExportReport, read_json, recordings_digest
from foresense.signals.labelled import LabelledWindows, open_labelled_windows
from foresense.steps.exporting import finish_export, new_artefact, require_evaluated
from foresense.steps.frame import StepRun
from foresense.steps.window_activity import GROUP


def export_activity(run: StepRun, config: ActivityExportConfig) -> ExportReport:
    """Build `exports/<pipeline>/people/`, and write the report.

    Windows of people that were not held out calibrate and prove the files.

    Args:
        run: The step that is running.
        config: Which variants, and how many windows calibrate and prove them.

    Raises:
        ValueError: no such variant; or a model that is not the one that was evaluated.
        ExportError: not one variant could be made.
        FileNotFoundError: windows or models are absent; says which command writes them.
    """
    for variant in config.variants:
        format_of(variant)
    windows = open_labelled_windows(run.paths.windows / GROUP)
    data_sha256 = recordings_digest(run.paths.windows)
    folder = run.paths.models / GROUP
    model, classes = load_classifier(folder)
    evaluation = read_json(folder / "evaluation.json")
    require_evaluated(run, folder, evaluation)
    smoothing = folder / "hmm.json"
    origin = WristOrigin(
        pipeline=run.pipeline,
        data_sha256=data_sha256,
        model_sha256=evaluation["model_sha256"],
        evaluation=evaluation,
        classes=classes,
        channels=windows.channels,
        rate_hz=windows.rate_hz,
        time_zone=windows.time_zone,
        smoothing=read_json(smoothing) if smoothing.is_file() else None,
        hmm_code=Path(hmm.__file__).read_bytes(),
    )
    chosen = _calibration(windows, set(evaluation["held_out"]), config.n_calibration)
    with new_artefact(run, GROUP) as (artefact, scratch):
        built = build_wrist_artefact(
            artefact,
            model,
            windows.gather(chosen).astype(np.float64),
            windows.times_ns[chosen] // 10**9,
            origin,
            scratch,
            variants=config.variants,
            n_golden=config.n_golden,
        )
    return finish_export(run, GROUP, built, data_sha256=data_sha256, weights_sha256=evaluation["model_sha256"])


def _calibration(windows: LabelledWindows, held_out: set[str], n: int) -> np.ndarray:
    """(n,), int64: windows of people that were not held out, evenly spread over the classes."""
    names = np.array(windows.people)[windows.owners]
    allowed = np.flatnonzero(~np.isin(names, sorted(held_out)) & windows.is_apart)
    ordered = allowed[np.argsort(windows.labels[allowed], kind="stable")]
    return ordered[np.unique(np.linspace(0, len(ordered) - 1, min(n, len(ordered))).round().astype(np.int64))]
