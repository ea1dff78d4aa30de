"""One candidate from its first weights to its best epoch: sizes, calibration, the loop, the checkpoint."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from foresense.config import CandidateConfig
from foresense.models import build_model
from foresense.signals import Windows
from foresense.training import FitPlan, FitResult, fit
from foresense.training.calibrate import calibrate
from foresense.training.forecast import ForecastObjective
from foresense.training.progress import ShownProgress
from foresense.training.sinks import MetricSink

LOG = logging.getLogger(__name__)

#: What decides how long a step takes.
_SHAPE = {
    "model",
    "context_length",
    "patch_length",
    "patch_stride",
    "d_model",
    "ffn_dim",
    "n_heads",
    "n_layers",
    "head",
    "end_padding",
}


@dataclass(frozen=True)
class Settings:
    """What all candidates of a training share.

    Attributes:
        seed: Of first weights, order of windows and dropout.
        validation_stride: Every so many validation windows judge an epoch.
        device: `cpu` or `cuda`.
        checkpoints: Folder for the state of unfinished trainings.
        cache: JSON file that remembers which way of taking a step is fastest here.
        made_from: Digests of data and code; another one never resumes this one's checkpoint.
    """

    seed: int
    validation_stride: int
    device: str
    checkpoints: Path
    cache: Path
    made_from: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Trained:
    """One candidate after its training.

    Attributes:
        name: As in params.yaml.
        candidate: What was asked.
        model: Holds the weights of the best epoch.
        fit: Epochs and times.
        said: Sentences of the calibration for a person.
    """

    name: str
    candidate: CandidateConfig
    model: nn.Module
    fit: FitResult
    said: list[str]


def train_candidate(
    windows: Windows, name: str, candidate: CandidateConfig, settings: Settings, sink: MetricSink | None = None
) -> Trained:
    """Train one candidate on the training windows; validation windows choose its epoch, test windows are not touched.

    Args:
        windows: One group.
        name: Shown to a person.
        candidate: Network and way of training.
        settings: What all candidates share.
        sink: Takes the metrics of each epoch.

    Raises:
        ValueError: nothing to train on, or the training diverges.
    """
    objective = ForecastObjective(
        windows,
        stride=candidate.train_stride,
        validation_stride=settings.validation_stride,
        device=settings.device,
    )
    sizes = {"n_channels": len(windows.channels), "context": windows.context, "horizon": windows.horizon}

    def build() -> nn.Module:
        torch.manual_seed(settings.seed)
        return build_model(candidate, **sizes).to(settings.device)

    choice = calibrate(
        build,
        objective,
        batch_size=candidate.batch_size,
        n_passes=objective.n_items * candidate.n_epochs,
        cache=settings.cache,
        key=[candidate.model_dump(include=_SHAPE), sizes, settings.device],
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
        seed=settings.seed,
    )
    digest = _digest(
        *settings.made_from, windows.group, candidate.model_dump(), settings.validation_stride, settings.seed
    )
    model = build()
    with ShownProgress(f"{windows.group}/{name}") as progress:
        result = fit(
            model,
            objective,
            plan,
            checkpoint=settings.checkpoints / f"{digest}.safetensors",
            sink=sink,
            progress=progress,
            device=settings.device,
        )
    LOG.info(
        "%s/%s: best validation MSE %.5f in epoch %d", windows.group, name, result.best_validation, result.best_epoch
    )
    return Trained(name, candidate, model, result, choice.said)


def device_of(accelerator: str) -> str:
    """`cpu` or `cuda` for what was asked (`auto`, `cpu`, `cuda`); falls back aloud."""
    if accelerator == "cuda" and not torch.cuda.is_available():
        LOG.warning("accelerator: cuda was asked for, and this machine has none: training on the CPU")
        return "cpu"
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
