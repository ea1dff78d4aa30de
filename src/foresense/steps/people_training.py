"""One classifier from its first weights to what it says of the people held out; a finished one is kept."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foresense.config.activity import ActivityCandidateConfig
from foresense.config.wrist import WristModelConfig
from foresense.features.statistical import statistical_features
from foresense.models.classifiers import build_classifier, load_classifier, save_classifier, standardise_by
from foresense.models.wrist import MaskedPatches, WristTransformer, start_from_pretrained
from foresense.models.wrist_rocket import WristRocket
from foresense.signals import read_json, replaced_folder, write_json
from foresense.signals.labelled import write_array
from foresense.steps.people_data import Fold, PeopleData
from foresense.training import FitPlan, FitResult, fit
from foresense.training.progress import ShownProgress
from foresense.training.wrist import ClassificationObjective, probabilities
from foresense.training.wrist_augment import Augmentation
from foresense.training.wrist_items import WristItems
from foresense.training.wrist_pretraining import ReconstructionObjective
from foresense.training.wrist_ridge import fit_rocket

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """One candidate in one fold.

    Attributes:
        name: As in params.yaml.
        model: In evaluation mode, weights of the best epoch.
        validation: (k, n_classes), what it says of the people that choose.
        test: (k, n_classes), of the people held out.
        fit: Epochs and times.
    """

    name: str
    model: nn.Module
    validation: np.ndarray
    test: np.ndarray
    fit: FitResult


def network_of(candidate: ActivityCandidateConfig, data: PeopleData) -> WristModelConfig:
    """The network as it fits the windows."""
    windows = data.windows
    sizes = {"window_length": windows.length, "rate_hz": windows.rate_hz, "n_channels": len(windows.channels)}
    return WristModelConfig.model_validate({**candidate.network.model_dump(), **sizes})


def train_classifier(
    data: PeopleData,
    fold: Fold,
    name: str,
    candidate: ActivityCandidateConfig,
    *,
    seed: int,
    kept: Path,
    made_from: tuple[str, ...],
) -> TrainedClassifier:
    """Train one candidate on the training people of a fold; those that choose pick its epoch, the others are not seen.

    Args:
        data: Windows and features.
        fold: Who trains, chooses and tests.
        name: Shown to a person.
        candidate: Network and way of training.
        seed: Of first weights, order of windows, dropout and augmentation.
        kept: Folder of finished classifiers and checkpoints, by digest.
        made_from: Digests of windows, features and code.

    Raises:
        ValueError: a class without a training window, or a training that diverges.
    """
    network = network_of(candidate, data)
    facts = [*made_from, network.model_dump(), candidate.model_dump(), fold.number, seed]
    folder = kept / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    if (folder / "fit.json").is_file():
        LOG.info("%s, fold %d: known", name, fold.number)
        return _read(name, folder)
    torch.manual_seed(seed)
    model = build_classifier(network, n_classes=len(data.windows.classes))
    train, validation = (_needed(data.items(rows), network) for rows in (fold.train, fold.validation))
    checkpoint = folder.with_suffix(".safetensors")
    label = f"{name}, fold {fold.number}"
    if isinstance(model, WristRocket):
        LOG.info("%s: %d kernels over %d windows", label, network.n_kernels, len(train))
        result = fit_rocket(model, train, validation, penalties=candidate.penalties, rarity=candidate.rarity)
    else:
        result = _fitted(model, train, validation, candidate, checkpoint=checkpoint, label=label, seed=seed)
    model.eval()
    test = _needed(data.items(fold.test), network)
    found = TrainedClassifier(name, model, probabilities(model, validation), probabilities(model, test), result)
    with replaced_folder(folder) as beside:
        save_classifier(beside, model, classes=data.windows.classes)
        write_array(beside / "validation.npy", found.validation)
        write_array(beside / "test.npy", found.test)
        write_json(beside / "fit.json", asdict(result))
    for unfinished in kept.glob(f"{folder.name}*.safetensors"):
        unfinished.unlink()
    LOG.info("%s: best validation %.4f in epoch %d", label, result.best_validation, result.best_epoch)
    return found


def _fitted(
    model: nn.Module,
    train: WristItems,
    validation: WristItems,
    candidate: ActivityCandidateConfig,
    *,
    checkpoint: Path,
    label: str,
    seed: int,
) -> FitResult:
    """Train a network step by step, after a pretraining where one is asked for."""
    network: WristModelConfig = model.config  # type: ignore[assignment]  # of every class in CLASSIFIERS
    n_classes: int = model.n_classes  # type: ignore[assignment]
    scales = {
        "statistics": _tensor(train.statistics),
        "topology": _tensor(train.topology),
        "windows": torch.from_numpy(train.windows),
    }
    standardise_by(model, **scales)
    if candidate.pretrain_epochs and isinstance(model, WristTransformer):
        start_from_pretrained(model, _pretrained(train, validation, network, candidate, seed, checkpoint, label))
    objective = ClassificationObjective(
        train,
        validation,
        n_classes=n_classes,
        rarity=candidate.rarity,
        augmentation=Augmentation(turn_deg=candidate.turn_deg, mixup=candidate.mixup),
        statistics_of=_statistics_of(network.rate_hz) if train.statistics is not None else None,
    )
    plan = _plan(candidate, candidate.n_epochs, candidate.patience, seed)
    with ShownProgress(label) as progress:
        return fit(model, objective, plan, checkpoint=checkpoint, progress=progress)


def _read(name: str, folder: Path) -> TrainedClassifier:
    return TrainedClassifier(
        name=name,
        model=load_classifier(folder)[0],
        validation=np.load(folder / "validation.npy", allow_pickle=False),
        test=np.load(folder / "test.npy", allow_pickle=False),
        fit=FitResult(**read_json(folder / "fit.json")),
    )


def _pretrained(
    train: WristItems,
    validation: WristItems,
    network: WristModelConfig,
    candidate: ActivityCandidateConfig,
    seed: int,
    checkpoint: Path,
    label: str,
) -> MaskedPatches:
    """An encoder that has learnt hidden patches of the training people, without their labels."""
    model = MaskedPatches(network)
    standardise_by(model, windows=torch.from_numpy(train.windows))
    objective = ReconstructionObjective(
        train, validation, n_patches=network.n_patches, turn_deg=candidate.turn_deg, seed=seed
    )
    plan = _plan(candidate, candidate.pretrain_epochs, candidate.pretrain_epochs, seed)
    with ShownProgress(f"{label}, pretraining") as progress:
        fit(model, objective, plan, checkpoint=checkpoint.with_stem(f"{checkpoint.stem}-pre"), progress=progress)
    return model


def _plan(candidate: ActivityCandidateConfig, n_epochs: int, patience: int, seed: int) -> FitPlan:
    return FitPlan(
        n_epochs=n_epochs,
        batch_size=candidate.batch_size,
        micro_batch=candidate.batch_size,
        learning_rate=candidate.learning_rate,
        schedule=candidate.schedule,
        patience=patience,
        seed=seed,
    )


def _needed(items: WristItems, network: WristModelConfig) -> WristItems:
    """Without what this network does not take."""
    return WristItems(
        items.windows,
        statistics=items.statistics if network.n_statistics else None,
        topology=items.topology if network.n_topology else None,
        times=items.times if network.n_times else None,
        labels=items.labels,
    )


def _tensor(values: np.ndarray | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)


def _statistics_of(rate_hz: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda windows: statistical_features(windows.astype(np.float64), rate_hz)
