"""One candidate from its first weights to its best epoch: sizes, calibration, the loop, the checkpoint."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from foresense.config import CandidateConfig
from foresense.evaluate.linear import LinearMap, linear_map
from foresense.models import build_model
from foresense.signals import Windows, read_json, write_json
from foresense.training import FitPlan, FitResult, fit
from foresense.training.calibrate import Calibration, Way, calibrate
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
    "shortcut",
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
        made_from: Digests of windows and code; another one never resumes this one's checkpoint.
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

    linear = best_linear(windows).weights if candidate.shortcut == "linear" else None

    def build() -> nn.Module:
        torch.manual_seed(settings.seed)
        model = build_model(candidate, **sizes).to(settings.device)
        if linear is not None:
            model.start_from(linear)  # type: ignore[operator]
        return model

    digest = _digest(
        *settings.made_from, windows.group, candidate.model_dump(), settings.validation_stride, settings.seed
    )
    checkpoint = settings.checkpoints / f"{digest}.safetensors"

    def measured() -> Calibration:
        return calibrate(
            build,
            objective,
            batch_size=candidate.batch_size,
            n_passes=objective.n_items * candidate.n_epochs,
            cache=settings.cache,
            key=[candidate.model_dump(include=_SHAPE), sizes],
            device=settings.device,
        )

    choice = _same_way(settings.checkpoints / f"{digest}.json", measured)
    if objective.n_items < candidate.batch_size:
        LOG.warning(
            "%s/%s: %d training windows are fewer than batch_size (%d): a step takes all of them; lower train_stride",
            windows.group,
            name,
            objective.n_items,
            candidate.batch_size,
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
    model = build()
    with ShownProgress(f"{windows.group}/{name}") as progress:
        result = fit(
            model,
            objective,
            plan,
            checkpoint=checkpoint,
            sink=sink,
            progress=progress,
            device=settings.device,
        )
    LOG.info(
        "%s/%s: best validation MSE %.5f in epoch %d", windows.group, name, result.best_validation, result.best_epoch
    )
    return Trained(name, candidate, model, result, choice.said)


def _same_way(file: Path, measure: Callable[[], Calibration]) -> Calibration:
    """The way of taking a step that this training began with: another one would not end with the same bits."""
    if file.is_file():
        begun = read_json(file)
        return Calibration(Way(**begun["way"]), begun["ms_per_item"], begun["said"])
    found = measure()
    write_json(file, asdict(found))
    return found


def best_linear(windows: Windows) -> LinearMap:
    """The best linear forecast of a group: its length and penalty chosen on validation."""
    train = windows.starts["train"]
    return linear_map(windows, train=train[:: max(1, len(train) // 20_000)], validation=windows.starts["validation"])


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
