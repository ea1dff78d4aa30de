"""One network of mixed recordings from its first weights to its best: pretrained, probed and tuned where asked for."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foresense.config.dualpatch import DualPatchConfig
from foresense.config.mixed_pipeline import MixedCandidateConfig
from foresense.models.dualpatch import DualPatch, DualPatchEncoder
from foresense.models.dualpatch_pretraining import (
    MaskedMixed,
    freeze_encoder,
    rate_factors,
    start_from_pretrained,
    unfreeze,
)
from foresense.models.mixed import build_mixed, standardise_mixed_by
from foresense.training.loop import FitPlan, FitResult, fit
from foresense.training.mixed import LabelledInputs, LabelObjective, RebuildingObjective
from foresense.training.mixed_hiding import Hiding
from foresense.training.mixed_items import MixedItems
from foresense.training.mixed_layerwise import learning_slower
from foresense.training.progress import ShownProgress


@dataclass(frozen=True)
class MixedScales:
    """Means and deviations of the training part, one for each channel of the windows; deviations above 0."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    static_means: tuple[float, ...]
    static_deviations: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """What a training gives.

    Attributes:
        model: In evaluation mode, weights of the best epoch.
        fit: Of the last stage.
        seconds: Of the optimizer's steps in all stages, restarts included.
    """

    model: DualPatch
    fit: FitResult
    seconds: float


class HolesObjective(LabelObjective):
    """Labels as they are, inputs with fewer values: each window of each batch loses another share of them at random."""

    removed_share = 0.0

    def batch(self, items: np.ndarray) -> LabelledInputs:
        """Training windows; a window loses a share between none and `removed_share`, drawn anew each time."""
        found = super().batch(items)
        numbers = found.inputs.get("numbers")
        if not self.removed_share or numbers is None:
            return found
        share = torch.rand(len(numbers), 1, 1) * self.removed_share
        is_lost = (torch.rand(numbers.shape) < share).to(numbers.device)
        return replace(found, inputs=found.inputs | {"numbers": torch.where(is_lost, torch.nan, numbers)})


def pretrain_network(
    windows: MixedItems,
    validation: MixedItems,
    network: DualPatchConfig,
    candidate: MixedCandidateConfig,
    *,
    scales: MixedScales,
    checkpoint: Path,
    label: str,
    seed: int,
) -> tuple[MaskedMixed, float]:
    """Let an encoder rebuild what is hidden of windows, `pretrain_epochs` long; labels are not looked at.

    Args:
        windows: Of the training part.
        validation: Of other recordings or a later time.
        network: Its sizes are those of the windows.
        candidate: The way of training.
        scales: Of the training part.
        checkpoint: File of the running training. The caller removes it.
        label: Shown to a person.
        seed: Of first weights, order of windows and what is hidden.

    Returns:
        The pretrained model, and the seconds of its optimizer's steps.

    Raises:
        ValueError: no windows, or a training that diverges.
    """
    torch.manual_seed(seed)
    model = MaskedMixed(network)
    if network.n_numeric:
        standardise_mixed_by(model, means=scales.means, deviations=scales.deviations)
    hiding = Hiding(share=candidate.hidden_share, patch_length=network.token_length)
    objective = RebuildingObjective(windows, validation, model.config, hiding=hiding, seed=seed)
    plan = _plan(candidate, candidate.pretrain_epochs, candidate.pretrain_epochs, seed)
    result = _shown(model, objective, plan, checkpoint, f"{label}, pretraining")
    return model, seconds_of(result)


def train_network(
    train: MixedItems,
    validation: MixedItems,
    network: DualPatchConfig,
    candidate: MixedCandidateConfig,
    *,
    scales: MixedScales,
    checkpoint: Path,
    label: str,
    seed: int,
    encoder: DualPatchEncoder | None = None,
) -> TrainedNetwork:
    """Train one network; of its epochs, validation chooses by the error that is learnt.

    With `probe_epochs` the head learns alone at first; then everything learns, each layer at `layer_decay` times the
    rate of the one above it.

    Args:
        train: With labels.
        validation: Of other recordings or a later time, with labels.
        network: Its sizes are those of the windows.
        candidate: The way of training.
        scales: Of the training part; values to forecast are standardised by the training labels.
        checkpoint: File of the running training; that of the probe lies beside it. The caller removes both.
        label: Shown to a person.
        seed: Of first weights, order of windows and dropout.
        encoder: Of a pretraining with the same sizes; None: first weights.

    Returns:
        The model, the fit of its last stage, and the seconds of all stages.

    Raises:
        ValueError: no labelled windows, or a training that diverges.
    """
    torch.manual_seed(seed)
    model = build_mixed(network)
    _take_scales(model, network, scales)
    spreads = None
    if network.head == "values":
        spreads = _take_target(model, train)

    probe_s = 0.0

    def stage(name: str, n_epochs: int, patience: int) -> FitResult:
        objective = HolesObjective(
            train,
            validation,
            network,
            targets=[f"target {number}" for number in range(network.n_outputs)] if spreads else ("target",),
            scales=spreads,
            rarity=candidate.rarity,
        )
        objective.removed_share = candidate.removed_share
        plan = _plan(candidate, n_epochs, patience, seed)
        return _shown(model, objective, plan, _beside(checkpoint, name), f"{label}{name and f', {name}'}")

    if encoder is not None:
        start_from_pretrained(model, encoder)
    if candidate.probe_epochs:
        freeze_encoder(model)
        probe_s = seconds_of(stage("probe", candidate.probe_epochs, candidate.probe_epochs))
        unfreeze(model)
    with learning_slower(model, rate_factors(model, slower=candidate.layer_decay)):
        result = stage("", candidate.n_epochs, candidate.patience)
    model.eval()
    return TrainedNetwork(model, result, probe_s + seconds_of(result))


def seconds_of(result: FitResult) -> float:
    """Seconds of a training's optimizer steps, those before a restart included."""
    return result.earlier_s + sum(result.step_ms) / 1000


def _take_scales(model: DualPatch, network: DualPatchConfig, scales: MixedScales) -> None:
    given: dict[str, tuple[float, ...]] = {}
    if network.n_numeric:
        given |= {"means": scales.means, "deviations": scales.deviations}
    if network.n_static_numeric:
        given |= {"static_means": scales.static_means, "static_deviations": scales.static_deviations}
    standardise_mixed_by(model, **given)


def _take_target(model: DualPatch, train: MixedItems) -> list[float]:
    """Standardise outputs by the training labels; gives their deviations, above 0."""
    labels = np.asarray(train.labels, np.float64).reshape(len(train), -1)
    means, deviations = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    deviations = np.where(deviations > 0, deviations, 1.0)
    model.target.take(means.tolist(), deviations.tolist())
    found: list[float] = deviations.tolist()
    return found


def _shown(
    model: nn.Module, objective: LabelObjective | RebuildingObjective, plan: FitPlan, checkpoint: Path, label: str
) -> FitResult:
    with ShownProgress(label) as progress:
        return fit(model, objective, plan, checkpoint=checkpoint, progress=progress)


def _beside(checkpoint: Path, name: str) -> Path:
    return checkpoint.with_stem(f"{checkpoint.stem}-{name}") if name else checkpoint


def _plan(candidate: MixedCandidateConfig, n_epochs: int, patience: int, seed: int) -> FitPlan:
    return FitPlan(
        n_epochs=n_epochs,
        batch_size=candidate.batch_size,
        micro_batch=candidate.batch_size,
        learning_rate=candidate.learning_rate,
        schedule=candidate.schedule,
        optimizer=candidate.optimizer,
        patience=patience,
        seed=seed,
    )
