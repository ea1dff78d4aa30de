"""What one trained group is worth on the test part: errors, intervals, rivals; a function of weights and data alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import TrainConfig
from foresense.evaluate import ErrorSums, block_bootstrap
from foresense.models import model_sha256
from foresense.signals import Windows
from foresense.steps.candidates import Trained
from foresense.training import FitResult

#: Windows that share a target are drawn together, but never fewer than so many draws: with one or two the interval has
#: no width. A test part shorter than this many horizons gets an interval that is too narrow; its windows tell.
MIN_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class GroupResult:
    """One group (one asset) after training and evaluation.

    Attributes:
        evaluation: What `evaluate` gave.
        errors: Of the model that ships, on the test part.
        rivals: Baseline to its errors.
        fits: Candidate to its training.
        earlier_s: Seconds that these trainings took before the last start of the step.
    """

    evaluation: dict[str, Any]
    errors: ErrorSums
    rivals: dict[str, ErrorSums]
    fits: dict[str, FitResult]
    earlier_s: float


def evaluate(
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
    block = min(-(-windows.horizon // stride), max(1, len(starts) // MIN_BLOCKS))
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
                "batch_size": one.fit.batch_size,
                "n_optimizer_steps": one.fit.n_steps,
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


@dataclass(frozen=True)
class Joined:
    """All groups of a pipeline together: means over groups, an interval over groups and windows.

    Attributes:
        windows: Part to windows, summed.
        test: Metric to error of what ships.
        interval: Metric to bounds, 95 %.
        baselines: Baseline to metric to error.
        best_baseline: The one with the least MSE.
        wins: Whether the MSE of what ships is at most that of the best baseline.
        per_channel: Channel to its errors.
        candidates: Candidate to its numbers.
        headline: The few numbers for `metrics.json`.
    """

    windows: dict[str, int]
    test: dict[str, float]
    interval: dict[str, list[float]]
    baselines: dict[str, dict[str, float]]
    best_baseline: str
    wins: bool
    per_channel: dict[str, dict[str, float]]
    candidates: dict[str, dict[str, Any]]
    headline: dict[str, float]


def joined(results: dict[str, GroupResult], seed: int) -> Joined:
    """Join the groups of a pipeline."""
    groups = {name: result.evaluation for name, result in results.items()}
    first = next(iter(groups.values()))
    test = _mean_of([group["test"] for group in groups.values()])
    baselines = {name: _mean_of([group["baselines"][name] for group in groups.values()]) for name in first["baselines"]}
    best = min(baselines, key=lambda name: baselines[name]["mse"])
    return Joined(
        windows={part: sum(group["windows"][part] for group in groups.values()) for part in first["windows"]},
        test=test,
        interval=first["interval"] if len(groups) == 1 else _interval_over(results, seed),
        baselines=baselines,
        best_baseline=best,
        wins=test["mse"] <= baselines[best]["mse"],
        per_channel={
            channel: _mean_of([group["per_channel"][channel] for group in groups.values()])
            for channel in first["per_channel"]
        },
        candidates={name: _over_groups(groups, name) for name in first["candidates"]},
        headline={
            **{f"test_{name}": value for name, value in test.items()},
            "best_baseline_mse": baselines[best]["mse"],
        },
    )


def _over_groups(groups: dict[str, dict[str, Any]], candidate: str) -> dict[str, Any]:
    """One candidate's numbers, averaged over the groups."""
    found = [group["candidates"][candidate] for group in groups.values()]
    return {
        "validation_mse": float(np.mean([one["validation_mse"] for one in found])),
        "test": _mean_of([one["test"] for one in found]),
        "ships_in": [name for name, group in groups.items() if group["candidate"] == candidate],
    }


def _mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


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
