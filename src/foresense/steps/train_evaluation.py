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


def interval_over(results: dict[str, GroupResult], seed: int) -> dict[str, list[float]]:
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
