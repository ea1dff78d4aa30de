"""The objective of a classifier of wrist windows: the classes, weighted by how rare they are; and what it then says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from foresense.training.wrist_augment import AS_RECORDED, Augmentation, mixed, turned
from foresense.training.wrist_items import VALIDATION_BATCH, Inputs, WristItems, require_some


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Inputs of a classifier and the share of each class in every window, (n, n_classes), rows adding up to 1."""

    inputs: Inputs
    targets: torch.Tensor


class ClassificationObjective:
    """Cross-entropy of the classes, each weighted by how rare it is among the training windows.

    The weights average to 1 over the training windows, so that errors of micro-batches add up to those of the batch.

    Attributes:
        n_items: Training windows.
        parts: `cross_entropy`, in nats.
        weights: (n_classes,).
    """

    parts: tuple[str, ...] = ("cross_entropy",)

    def __init__(
        self,
        train: WristItems,
        validation: WristItems,
        *,
        n_classes: int,
        rarity: float = 1.0,
        augmentation: Augmentation = AS_RECORDED,
        statistics_of: Callable[[np.ndarray], np.ndarray] | None = None,
        select: Literal["score", "loss"] = "score",
        device: str = "cpu",
    ) -> None:
        """Learn the classes of some people, and choose an epoch by others.

        Args:
            train: With labels.
            validation: Of other people, with labels.
            n_classes: Labels are below it.
            rarity: A class weighs 1 / count to this power: 0 counts every window alike, 1 every class.
            augmentation: Of the training windows.
            statistics_of: From windows (n, length, 3), g, to their statistics: asked for windows that were turned.
            select: An epoch is judged by macro-F1 and Cohen's kappa, or by the cross-entropy.
            device: `cpu` or `cuda`.

        Raises:
            ValueError: no labels, labels out of range, a class without a training window, no validation windows, or
                turned windows whose statistics nobody computes.
        """
        self.labels = _labels_of(train, "training", n_classes)
        self.validation_labels = _labels_of(validation, "validation", n_classes)
        if augmentation.turn_deg and train.statistics is not None and statistics_of is None:
            raise ValueError(
                "turn_deg is above 0, and turned windows have other statistics; give statistics_of, or leave turn_deg "
                "or the statistics out"
            )
        self.train, self.validation, self.n_classes = train, validation, n_classes
        self.augmentation, self.statistics_of = augmentation, statistics_of
        self.select, self.device = select, device
        self.n_items = len(train)
        self.weights = torch.from_numpy(class_weights(self.labels, n_classes, rarity=rarity)).float().to(device)

    def batch(self, items: np.ndarray) -> LabelledBatch:
        """Gather training windows, augmented."""
        windows, statistics, topology, times = self.train.inputs(items)
        targets = torch.nn.functional.one_hot(torch.from_numpy(self.labels[items]), self.n_classes).float()
        if self.augmentation.turn_deg:
            windows = turned(windows, at_most_deg=self.augmentation.turn_deg)
            if self.statistics_of is not None:
                statistics = torch.from_numpy(np.asarray(self.statistics_of(windows.numpy()), np.float32))
        rows: list[torch.Tensor | None] = [windows, statistics, topology, times, targets]
        if self.augmentation.mixup:
            rows = mixed(rows, concentration=self.augmentation.mixup)
        found = [None if row is None else row.to(self.device) for row in rows]
        assert found[0] is not None
        assert found[4] is not None
        return LabelledBatch((found[0], found[1], found[2], found[3]), found[4])

    def loss(self, model: Callable[..., Any], batch: LabelledBatch) -> torch.Tensor:
        """(1,) weighted cross-entropy, nats."""
        logarithms = model(*batch.inputs).float().log_softmax(-1)
        errors: torch.Tensor = -(self.weights * batch.targets * logarithms).sum(-1)
        return errors.mean(0, keepdim=True)

    def validate(self, model: Callable[..., Any]) -> float:
        """1 - (macro-F1 + kappa) / 2, or the weighted cross-entropy, nats, of the validation windows."""
        logits = _logits(model, self.validation, self.device).cpu()
        truth = torch.from_numpy(self.validation_labels)
        if self.select == "loss":
            own = logits.log_softmax(-1).gather(1, truth[:, None])[:, 0]
            return float(-(self.weights.cpu()[truth] * own).mean())
        return 1 - sum(macro_f1_and_kappa(self.validation_labels, logits.argmax(-1).numpy(), self.n_classes)) / 2


def probabilities(model: nn.Module, items: WristItems, *, device: str = "cpu") -> np.ndarray:
    """What a trained classifier says of windows: (n, n_classes), float32, rows adding up to 1."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        found: np.ndarray = _logits(model, items, device).softmax(-1).cpu().numpy()
    model.train(was_training)
    return found


def class_weights(labels: np.ndarray, n_classes: int, *, rarity: float) -> np.ndarray:
    """(n_classes,) weights like 1 / count ** rarity, whose mean over the labels is 1.

    Raises:
        ValueError: a class has no window.
    """
    counts = np.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(
            f"classes {np.flatnonzero(counts == 0).tolist()} have no training window; leave them out of the classes, "
            "or split the people otherwise"
        )
    weights = counts.astype(np.float64) ** -rarity
    scaled: np.ndarray = weights * counts.sum() / (weights * counts).sum()
    return scaled


def macro_f1_and_kappa(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> tuple[float, float]:
    """Macro-F1 over the classes that occur in either, and Cohen's kappa (0 where one class is all there is).

    Args:
        truth: (n,), numbers of classes.
        predicted: (n,), likewise.
        n_classes: How many there are.

    Source: Cohen, A Coefficient of Agreement for Nominal Scales, 1960.
    """
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    asked, given, right = counts.sum(1), counts.sum(0), counts.diagonal()
    occurs = asked + given > 0
    macro_f1 = float((2 * right[occurs] / (asked + given)[occurs]).mean())
    n = counts.sum()
    by_chance = float((asked * given).sum() / n**2)
    kappa = (float(right.sum() / n) - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
    return macro_f1, kappa


def _logits(model: Callable[..., Any], items: WristItems, device: str) -> torch.Tensor:
    starts = range(0, len(items), VALIDATION_BATCH)
    return torch.cat([model(*items.inputs(slice(n, n + VALIDATION_BATCH), device)).float() for n in starts])


def _labels_of(items: WristItems, part: str, n_classes: int) -> np.ndarray:
    require_some(items, part)
    if items.labels is None:
        raise ValueError(f"the {part} windows have no labels; pretrain on them, or give labels")
    labels = np.asarray(items.labels)
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"{part} labels: expected whole numbers from 0 to {n_classes - 1}, found {labels.dtype} from "
            f"{labels.min()} to {labels.max()}; give numbers of classes"
        )
    return labels.astype(np.int64)
