"""The step `train`: candidates are trained, validation chooses, the test part is read once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import CandidateConfig, TrainConfig
from foresense.evaluate import (
    last_value,
    ridge_on_features,
    seasonal_naive,
    sum_errors,
)
from foresense.features import read_features
from foresense.models import save_model
from foresense.signals import (
    TrainReport,
    Windows,
    group_folders,
    open_windows,
    recordings_digest,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.steps.candidates import Settings, Trained, best_linear, device_of, train_candidate
from foresense.steps.frame import StepRun, code_digest
from foresense.steps.train_evaluation import GroupResult, evaluate, joined
from foresense.steps.train_pictures import draw_group
from foresense.steps.train_report import flat_metrics, flat_parameters, report_of
from foresense.steps.training import tags_of, time_gate, track_model, tracked
from foresense.training.forecast import forecaster

LOG = logging.getLogger(__name__)

#: The rival that is trained like a model, at two rates; validation chooses (DLinear's authors search the same way).
DLINEAR_RATES = (5e-4, 5e-3)
DLINEAR = CandidateConfig(
    model="dlinear", optimizer="adam", schedule="cosine", batch_size=32, n_epochs=15, patience=4, clip_norm=None
)


def train(run: StepRun, config: TrainConfig) -> TrainReport:
    """Train every candidate on every group, ship the best by validation, compare it with rivals on the test part.

    Args:
        run: Pipeline, folders, profile.
        config: Section `train`.

    Returns:
        The report, also written to `reports/<pipeline>/train.json` with `metrics.json`, `loss.csv` and plots beside it.

    Raises:
        FileNotFoundError: the steps before have not finished.
        ValueError: a group has nothing to train on, or a training diverges.
    """
    device = device_of(config.accelerator)
    folders = group_folders(run.paths.windows)
    data_sha256 = recordings_digest(run.paths.windows)
    results: dict[str, GroupResult] = {}
    tags = tags_of(run, data_sha256)
    with tracked(run, data_sha256) as mlflow_run, replaced_folder(run.paths.models) as models:
        for folder in folders:
            windows = open_windows(folder)
            with mlflow_run.child(windows.group) as child:
                settings = Settings(
                    seed=config.seed,
                    validation_stride=config.validation_stride,
                    device=device,
                    checkpoints=run.paths.checkpoints,
                    cache=run.layout.cache / "calibration.json",
                    made_from=(tree_sha256(folder), code_digest(run.layout.project, "train")),
                )
                result = _train_group(run, config, windows, models / windows.group, settings, child)
                results[windows.group] = result
                child.tags(tags)
                child.dataset(run.pipeline, data_sha256)
                track_model(
                    child,
                    models / windows.group,
                    result.evaluation,
                    parameters=flat_parameters(result.evaluation, config, windows),
                    metrics=flat_metrics(result.evaluation),
                )
        seconds = run.elapsed_s() + sum(result.earlier_s for result in results.values())
        report = report_of(
            run,
            results,
            joined(results, config.seed),
            time_gate(seconds, config.budget_min),
            data_sha256=data_sha256,
            seed=config.seed,
            mlflow_run_id=mlflow_run.run_id,
        )
        mlflow_run.metrics(flat_metrics(report.model_dump()))
        mlflow_run.parameters({"n_groups": len(results), "seed": config.seed})
    LOG.info("%s", report.conclusion)
    return report


def _train_group(
    run: StepRun, config: TrainConfig, windows: Windows, folder: Path, settings: Settings, sink: Any
) -> GroupResult:
    trained = []
    for name, candidate in config.candidates.items():
        trained.append(train_candidate(windows, name, candidate, settings, _Prefixed(sink, name)))
    best = min(trained, key=lambda one: one.fit.best_validation)
    folder.mkdir()
    save_model(folder, best.model, best.candidate)

    forecast = forecaster(best.model, settings.device)
    rivals, linear = _rivals(run, config, windows, settings)
    test = windows.starts["test"]
    errors = sum_errors(windows, test, forecast)
    rival_errors = {name: sum_errors(windows, test, rival) for name, rival in rivals.items()}
    others = {one.name: sum_errors(windows, test, forecaster(one.model, settings.device)).summary() for one in trained}
    evaluation = evaluate(config, windows, folder, best, trained, errors, rival_errors, others)
    write_json(folder / "evaluation.json", evaluation)
    histories = {one.name: one.fit.history for one in trained}
    draw_group(run.paths.reports / "plots", windows, best.name, forecast, rivals, errors, rival_errors, histories)
    earlier_s = sum(one.fit.earlier_s for one in [*trained, *linear])
    return GroupResult(evaluation, errors, rival_errors, {one.name: one.fit for one in trained}, earlier_s)


def _rivals(
    run: StepRun, config: TrainConfig, windows: Windows, settings: Settings
) -> tuple[dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]], list[Trained]]:
    """Forecasts that the model has to beat, and the trainings among them; they choose on validation, too."""
    rivals: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"last value": last_value(windows.horizon)}
    for season in config.season_lengths:
        if season <= windows.context:
            rivals[f"seasonal naive {season}"] = seasonal_naive(windows.horizon, season)
    table = read_features(run.paths.features)
    table = table[table["group"] == windows.group]
    names = [name for name in table.columns if name not in ("group", "part", "start")]
    values = table[names].to_numpy(np.float64)
    features = dict(zip(table["start"].astype(int), values, strict=True))
    of_part = {part: rows["start"].to_numpy(np.int64) for part, rows in table.groupby("part")}
    ridge, alpha = ridge_on_features(windows, features, train=of_part["train"], validation=of_part["validation"])
    LOG.info("%s: ridge on %d features, penalty %g by validation", windows.group, len(names), alpha)
    rivals["ridge on features"] = ridge
    closed_form = best_linear(windows)
    LOG.info(
        "%s: linear map of the newest %d samples, penalty %g by validation, MSE there %.5f",
        windows.group,
        len(closed_form.weights),
        closed_form.penalty,
        closed_form.validation_mse,
    )
    rivals["linear map"] = closed_form
    linear = [
        train_candidate(
            windows,
            f"dlinear {rate:g}",
            DLINEAR.model_copy(update={"learning_rate": rate, "train_stride": _linear_stride(windows)}),
            settings,
        )
        for rate in DLINEAR_RATES
    ]
    rivals["dlinear"] = forecaster(min(linear, key=lambda one: one.fit.best_validation).model, settings.device)
    return rivals, linear


def _linear_stride(windows: Windows) -> int:
    """At most about 20,000 training windows for DLinear; its own protocol on ETTh1 sees 8209."""
    return max(1, len(windows.starts["train"]) // 20_000)


@dataclass(frozen=True)
class _Prefixed:
    """Puts the candidate's name before every metric."""

    sink: Any
    prefix: str

    def metric(self, name: str, value: float, step: int) -> None:
        self.sink.metric(f"{self.prefix}/{name}", value, step)
        if name == "validation/loss":
            self.sink.system(step)
