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
    ErrorSums,
    block_bootstrap,
    last_value,
    ridge_on_features,
    seasonal_naive,
    sum_errors,
)
from foresense.features import read_features
from foresense.models import build_model, model_sha256, save_model
from foresense.signals import (
    Gate,
    TrainReport,
    Windows,
    group_folders,
    open_windows,
    read_json,
    replaced_folder,
    write_bytes,
    write_json,
)
from foresense.steps.frame import StepRun, code_digest
from foresense.steps.train_pictures import draw_group
from foresense.training import FitPlan, FitResult, fit
from foresense.training.calibrate import calibrate
from foresense.training.forecast import ForecastObjective, forecaster
from foresense.training.progress import ShownProgress

LOG = logging.getLogger(__name__)

#: The rival that is trained like a model, at two rates; validation chooses (DLinear's authors search the same way).
DLINEAR_RATES = (5e-4, 5e-3)
DLINEAR = CandidateConfig(
    model="dlinear", optimizer="adam", schedule="cosine", batch_size=32, n_epochs=15, patience=4, clip_norm=None
)


@dataclass(frozen=True, eq=False)
class Trained:
    """One candidate after its training."""

    name: str
    candidate: CandidateConfig
    model: nn.Module
    fit: FitResult
    said: list[str]


@dataclass(frozen=True, eq=False)
class GroupResult:
    """One group (one asset) after training and evaluation."""

    evaluation: dict[str, Any]
    errors: ErrorSums
    rivals: dict[str, ErrorSums]
    fits: dict[str, FitResult]


def train(run: StepRun, config: TrainConfig) -> TrainReport:
    """Train every candidate on every group, ship the best by validation, compare it with simple rivals on the test part.

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
                child.parameters(_flat_parameters(result.evaluation, config))
                child.metrics(_flat_metrics(result.evaluation))
                child.tags({"model_sha256": result.evaluation["model_sha256"], "profile": run.profile})
                child.artifact(models / windows.group, "model")
        report = _report(run, config, results, data_sha256, mlflow_run.run_id)
        mlflow_run.metrics(_flat_metrics(report.model_dump()))
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
    evaluation = _evaluation(config, windows, folder, best, trained, errors, rival_errors, others)
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


def _evaluation(
    config: TrainConfig,
    windows: Windows,
    folder: Path,
    best: Trained,
    trained: list[Trained],
    errors: ErrorSums,
    rivals: dict[str, ErrorSums],
    others: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """Everything about one group that is a function of weights and data: no clock, no machine."""
    weights = folder / "model.safetensors"
    test = errors.summary()
    starts = windows.starts["test"]
    stride = int(np.diff(starts).min()) if len(starts) > 1 else windows.horizon
    block = -(-windows.horizon // stride)
    rng = np.random.default_rng(config.seed)
    interval = {
        "mse": list(block_bootstrap(errors.squared.mean(1), block=block, rng=rng)),
        "mae": list(block_bootstrap(errors.absolute.mean(1), block=block, rng=rng)),
    }
    evaluation: dict[str, Any] = {
        "candidate": best.name,
        "model": {
            "name": best.candidate.model,
            "n_parameters": sum(weight.numel() for weight in best.model.parameters()),
            "size_mib": round(weights.stat().st_size / 2**20, 3),
        },
        "model_sha256": model_sha256(folder),
        "metrics_scale": "scaled",
        "windows": {
            "train": len(windows.starts["train"][:: best.candidate.train_stride]),
            "validation": len(windows.starts["validation"]),
            "test": len(windows.starts["test"]),
        },
        "test": test,
        "interval": interval,
        "baselines": {name: rival.summary() for name, rival in rivals.items()},
        "difference_to_best_baseline": _difference(errors, rivals, block, rng),
        "per_channel": {
            channel: {
                "mse": float(errors.squared[:, number].mean()),
                "mae": float(errors.absolute[:, number].mean()),
                "mae_physical": float(errors.absolute[:, number].mean() * windows.scaler.scale[number]),
            }
            for number, channel in enumerate(windows.channels)
        },
        "candidates": {
            one.name: {
                "validation_mse": one.fit.best_validation,
                "best_epoch": one.fit.best_epoch,
                "n_epochs": len(one.fit.history),
                "test": others[one.name],
                "ships": one is best,
                "n_train_windows": len(windows.starts["train"][:: one.candidate.train_stride]),
            }
            for one in trained
        },
    }
    if config.drop_last_batch is not None:
        kept = len(errors.squared) - len(errors.squared) % config.drop_last_batch
        evaluation["test_drop_last"] = {
            "n_windows": kept,
            "mse": float(errors.squared[:kept].mean()),
            "mae": float(errors.absolute[:kept].mean()),
        }
    return evaluation


def _difference(
    errors: ErrorSums, rivals: dict[str, ErrorSums], block: int, rng: np.random.Generator
) -> dict[str, Any]:
    """MSE of the model minus MSE of the best rival, window by window: an interval below 0 is a win."""
    name = min(rivals, key=lambda rival: rivals[rival].summary()["mse"])
    paired = errors.squared.mean(1) - rivals[name].squared.mean(1)
    return {
        "baseline": name,
        "mse": float(paired.mean()),
        "interval": list(block_bootstrap(paired, block=block, rng=rng)),
    }


def _report(
    run: StepRun, config: TrainConfig, results: dict[str, GroupResult], data_sha256: str, run_id: str
) -> TrainReport:
    groups = {name: result.evaluation for name, result in results.items()}
    first = next(iter(groups.values()))
    test = _mean_of([group["test"] for group in groups.values()])
    baselines = {name: _mean_of([group["baselines"][name] for group in groups.values()]) for name in first["baselines"]}
    best_rival = min(baselines, key=lambda name: baselines[name]["mse"])
    interval = first["interval"] if len(groups) == 1 else _interval_over(results, config.seed)
    step_ms = [ms for result in results.values() for one in result.fits.values() for ms in one.step_ms]
    shipped = [result.fits[result.evaluation["candidate"]] for result in results.values()]
    wins = test["mse"] <= baselines[best_rival]["mse"]
    conclusion = (
        f"{run.pipeline}: MSE {test['mse']:.4f} [{interval['mse'][0]:.4f}, {interval['mse'][1]:.4f}] on the test part; best "
        f"baseline {best_rival}: {baselines[best_rival]['mse']:.4f}. "
        + ("The model beats its baselines." if wins else f"THE MODEL DOES NOT BEAT ITS BASELINE {best_rival.upper()}.")
    )
    metrics = {
        **{f"test_{name}": value for name, value in test.items()},
        "best_baseline_mse": baselines[best_rival]["mse"],
    }
    write_json(run.paths.reports / "metrics.json", metrics)
    _write_loss(run.paths.reports / "loss.csv", results)
    minutes = run.elapsed_s() / 60
    return run.finish(
        TrainReport,
        data_sha256=data_sha256,
        seed=config.seed,
        mlflow_run_id=run_id,
        gates=[Gate.judge("training_min", round(minutes, 2), "min", at_most=config.budget_min)],
        model={**first["model"], "candidates": {name: group["candidate"] for name, group in groups.items()}},
        windows={part: sum(group["windows"][part] for group in groups.values()) for part in first["windows"]},
        test=test,
        interval=interval,
        baselines=baselines,
        per_channel={
            channel: _mean_of([group["per_channel"][channel] for group in groups.values()])
            for channel in first["per_channel"]
        },
        timing={
            "n_epochs": float(np.mean([len(one.history) for one in shipped])),
            "best_epoch": float(np.mean([one.best_epoch for one in shipped])),
            "step_ms_p50": round(float(np.median(step_ms)), 2) if step_ms else 0.0,
            "windows_per_s": round(float(np.mean([one.items_per_s for one in shipped])), 2),
            "training_min": round(minutes, 2),
        },
        candidates={name: groups_of(groups, name) for name in first["candidates"]},
        groups=groups,
        beats_baselines=wins,
        conclusion=conclusion,
    )


def groups_of(groups: dict[str, dict[str, Any]], candidate: str) -> dict[str, Any]:
    """One candidate's numbers, averaged over the groups."""
    found = [group["candidates"][candidate] for group in groups.values()]
    return {
        "validation_mse": float(np.mean([one["validation_mse"] for one in found])),
        "test": _mean_of([one["test"] for one in found]),
        "ships_in": [name for name, group in groups.items() if group["candidate"] == candidate],
    }


def _interval_over(results: dict[str, GroupResult], seed: int) -> dict[str, list[float]]:
    """Interval of the mean over assets: assets are drawn, then blocks of windows inside each."""
    rng = np.random.default_rng(seed)
    found = list(results.values())

    def of(values: list[np.ndarray]) -> list[float]:
        bounds = []
        for _ in range(400):
            drawn = rng.integers(0, len(values), len(values))
            bounds.append(np.mean([_block_mean(values[number], rng) for number in drawn]))
        low, high = np.quantile(bounds, [0.025, 0.975])
        return [float(low), float(high)]

    return {
        "mse": of([result.errors.squared.mean(1) for result in found]),
        "mae": of([result.errors.absolute.mean(1) for result in found]),
    }


def _block_mean(values: np.ndarray, rng: np.random.Generator) -> float:
    block = max(1, len(values) // 4)
    first = rng.integers(0, len(values), -(-len(values) // block))
    return float(np.mean(values[(first[:, None] + np.arange(block)) % len(values)]))


def _mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _write_loss(path: Path, results: dict[str, GroupResult]) -> None:
    lines = ["training,epoch,train,validation"]
    for group, result in results.items():
        for name, found in result.fits.items():
            lines += [
                f"{group}/{name},{row['epoch']:.0f},{row['train']:.8g},{row['validation']:.8g}" for row in found.history
            ]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _flat_parameters(evaluation: dict[str, Any], config: TrainConfig) -> dict[str, object]:
    """Parameters of what ships, flat and named alike in every run, so that MLflow's parallel coordinates line up."""
    candidate = config.candidates[evaluation["candidate"]]
    return {
        "candidate": evaluation["candidate"],
        "seed": config.seed,
        **candidate.model_dump(mode="json"),
        **evaluation["model"],
    }


def _flat_metrics(report: dict[str, Any]) -> dict[str, float]:
    flat = {f"test/{name}": value for name, value in report["test"].items()}
    for name, (low, high) in report["interval"].items():
        flat |= {f"test/{name}_low": low, f"test/{name}_high": high}
    for rival, values in report["baselines"].items():
        flat |= {f"baseline/{rival}/{name}": value for name, value in values.items()}
    for channel, values in report["per_channel"].items():
        flat |= {f"channel/{channel}/{name}": value for name, value in values.items()}
    return flat


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
