"""The step `train`: candidates are trained, validation chooses, the test part is read once."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foresense.config import CandidateConfig, TrainConfig
from foresense.evaluate import (
    last_value,
    ridge_on_features,
    seasonal_naive,
    sum_errors,
)
from foresense.features import read_features
from foresense.models import build_model, save_model
from foresense.signals import (
    TrainReport,
    Windows,
    group_folders,
    open_windows,
    read_json,
    replaced_folder,
    write_json,
)
from foresense.steps.frame import StepRun, code_digest
from foresense.steps.train_pictures import draw_group
from foresense.steps.train_report import GroupResult, Trained, evaluate, flat_metrics, flat_parameters, report_of
from foresense.training import FitPlan, fit
from foresense.training.calibrate import calibrate
from foresense.training.forecast import ForecastObjective, forecaster
from foresense.training.progress import ShownProgress

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
    from foresense.tracking import open_run

    device = _device(config.accelerator)
    folders = group_folders(run.paths.windows)
    data_sha256 = read_json(run.paths.windows / "manifest.json")["recordings_sha256"]
    results: dict[str, GroupResult] = {}
    tags = {"pipeline": run.pipeline, "profile": run.profile, "data_sha256": data_sha256}
    with (
        open_run(run.layout, run.pipeline, f"{run.pipeline} {run.profile}", tags) as mlflow_run,
        replaced_folder(run.paths.models) as models,
    ):
        for folder in folders:
            windows = open_windows(folder)
            with mlflow_run.child(windows.group) as child:
                result = _train_group(run, config, windows, models / windows.group, device, data_sha256, child)
                results[windows.group] = result
                child.parameters(flat_parameters(result.evaluation, config))
                child.metrics(flat_metrics(result.evaluation))
                child.tags({"model_sha256": result.evaluation["model_sha256"], "profile": run.profile})
                child.artifact(models / windows.group, "model")
        report = report_of(run, config, results, data_sha256, mlflow_run.run_id)
        mlflow_run.metrics(flat_metrics(report.model_dump()))
        mlflow_run.parameters({"n_groups": len(results), "seed": config.seed, "git_commit": report.git_commit})
        for picture in sorted((run.paths.reports / "plots").glob("*.png")):
            mlflow_run.artifact(picture, "plots")
        mlflow_run.artifact(run.paths.reports / "train.json", "reports")
    shutil.rmtree(run.paths.checkpoints, ignore_errors=True)
    LOG.info("%s", report.conclusion)
    return report


def _train_group(
    run: StepRun, config: TrainConfig, windows: Windows, folder: Path, device: str, data_sha256: str, sink: Any
) -> GroupResult:
    trained = []
    for name, candidate in config.candidates.items():
        torch.manual_seed(config.seed)
        trained.append(_train_candidate(run, config, windows, name, candidate, device, data_sha256, sink))
    best = min(trained, key=lambda one: one.fit.best_validation)
    folder.mkdir()
    save_model(folder, best.model, best.candidate)

    forecast = forecaster(best.model, device)
    rivals = _rivals(run, config, windows, device, data_sha256)
    test = windows.starts["test"]
    errors = sum_errors(windows, test, forecast)
    rival_errors = {name: sum_errors(windows, test, rival) for name, rival in rivals.items()}
    others = {one.name: sum_errors(windows, test, forecaster(one.model, device)).summary() for one in trained}
    evaluation = evaluate(config, windows, folder, best, trained, errors, rival_errors, others)
    write_json(folder / "evaluation.json", evaluation)
    draw_group(run.paths.reports / "plots", windows, best.name, forecast, rivals, errors, rival_errors)
    return GroupResult(evaluation, errors, rival_errors, {one.name: one.fit for one in trained})


def _train_candidate(
    run: StepRun,
    config: TrainConfig,
    windows: Windows,
    name: str,
    candidate: CandidateConfig,
    device: str,
    data_sha256: str,
    sink: Any,
) -> Trained:
    objective = ForecastObjective(
        windows, stride=candidate.train_stride, validation_stride=config.validation_stride, device=device
    )
    sizes = {"n_channels": len(windows.channels), "context": windows.context, "horizon": windows.horizon}

    def build() -> nn.Module:
        torch.manual_seed(config.seed)
        return build_model(candidate, **sizes).to(device)

    choice = calibrate(
        build,
        objective,
        batch_size=candidate.batch_size,
        n_passes=objective.n_items * candidate.n_epochs,
        cache=run.layout.cache / "calibration.json",
        key=[candidate.model_dump(include=_SHAPE), sizes, device],
    )
    for sentence in choice.said:
        LOG.info("%s/%s: %s", windows.group, name, sentence)
    plan = FitPlan(
        n_epochs=candidate.n_epochs,
        batch_size=candidate.batch_size,
        learning_rate=candidate.learning_rate,
        schedule=candidate.schedule,
        optimizer=candidate.optimizer,
        clip_norm=candidate.clip_norm,
        patience=candidate.patience,
        micro_batch=choice.way.micro_batch,
        bf16=choice.way.bf16,
        compile=choice.way.compile,
        seed=config.seed,
    )
    digest = _digest(
        data_sha256,
        windows.group,
        candidate.model_dump(),
        config.validation_stride,
        config.seed,
        code_digest(run.layout.project, "train"),
    )
    model = build()
    with ShownProgress(f"{windows.group}/{name}") as progress:
        result = fit(
            model,
            objective,
            plan,
            checkpoint=run.paths.checkpoints / f"{digest}.safetensors",
            sink=_Prefixed(sink, name),
            progress=progress,
            device=device,
        )
    LOG.info(
        "%s/%s: best validation MSE %.5f in epoch %d",
        windows.group,
        name,
        result.best_validation,
        result.best_epoch,
    )
    return Trained(name, candidate, model, result, choice.said)


#: What decides how long a step takes.
_SHAPE = {
    "model",
    "patch_length",
    "patch_stride",
    "d_model",
    "ffn_dim",
    "n_heads",
    "n_layers",
    "head",
    "end_padding",
}


def _rivals(
    run: StepRun, config: TrainConfig, windows: Windows, device: str, data_sha256: str
) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Forecasts that the model has to beat; what they choose, they choose on validation."""
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
    linear = [
        _train_candidate(
            run,
            config,
            windows,
            f"dlinear {rate:g}",
            DLINEAR.model_copy(update={"learning_rate": rate, "train_stride": _linear_stride(windows)}),
            device,
            data_sha256,
            None,
        )
        for rate in DLINEAR_RATES
    ]
    rivals["dlinear"] = forecaster(min(linear, key=lambda one: one.fit.best_validation).model, device)
    return rivals


def _linear_stride(windows: Windows) -> int:
    """At most about 9000 training windows: DLinear's own protocol on ETTh1 sees 8209."""
    return max(1, len(windows.starts["train"]) // 9000)


def _device(accelerator: str) -> str:
    if accelerator == "cuda" and not torch.cuda.is_available():
        LOG.warning("accelerator: cuda was asked for, and this machine has none: training on the CPU")
        return "cpu"
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Prefixed:
    """Puts the candidate's name before every metric; swallows them for a rival, whose curves nobody compares."""

    sink: Any
    prefix: str

    def metric(self, name: str, value: float, step: int) -> None:
        if self.sink is not None:
            self.sink.metric(f"{self.prefix}/{name}", value, step)
            if name == "validation/loss":
                self.sink.system(step)
