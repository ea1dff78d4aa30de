"""The objectives of mixed windows: labels where there are some, and before any label what a pretraining hides.

Both are objectives of `foresense.training.fit`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from foresense.config.dualpatch import DualPatchConfig
from foresense.models.dualpatch_inputs import Hidden
from foresense.models.dualpatch_pretraining import Rebuilt
from foresense.training.mixed_hiding import Hiding, hidden_places
from foresense.training.mixed_items import VALIDATION_BATCH, MixedItems, require_some
from foresense.training.mixed_losses import UNLABELLED, LabelledError, class_error, value_error
from foresense.training.wrist import class_weights

#: From labels and outputs of the validation windows to one number, lower is better.
Score = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True, eq=False)
class LabelledInputs:
    """Inputs of a model by name, and what somebody has said of each window.

    Attributes:
        inputs: Name -> (n, ...), as `DualPatch.forward` takes them.
        labels: As in `MixedItems`, of these n windows.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor


class LabelObjective:
    """Cross-entropy of classes or squared errors of values, over the labels that there are.

    Errors of a batch are divided by the labels that so many training windows have on average, and not by those that
    they happen to have: every label counts alike, and errors of micro-batches add up to those of the batch.

    Attributes:
        n_items: Training windows, labelled or not.
        parts: Names of the targets; a model of classes has one.
        expected: (n_targets,) labels of an average training window.
        n_without_labels: Training batches so far that had none: their error was 0.
    """

    def __init__(
        self,
        train: MixedItems,
        validation: MixedItems,
        config: DualPatchConfig,
        *,
        targets: Sequence[str] = ("target",),
        scales: Sequence[float] | None = None,
        rarity: float = 0.0,
        score: Score | None = None,
        device: str = "cpu",
    ) -> None:
        """Learn from some windows, and choose an epoch by others.

        Args:
            train: With labels; whole numbers are classes, floats are values.
            validation: Of other recordings, likewise.
            config: Of the model.
            targets: A name for each output of values; one name for classes.
            scales: Of each target of values: errors count in these units; None: in the targets' own.
            rarity: A class weighs 1 / count to this power; 0 counts every label alike.
            score: Judges an epoch by the validation windows; None: the same error as in training.
            device: `cpu` or `cuda`.

        Raises:
            ValueError: no labels, labels of another shape or range than the model's outputs, a target without a single
                training or validation label, or not one name and scale for each target.
        """
        self.config, self.parts, self.score, self.device = config, tuple(targets), score, device
        self.train, self.validation = train, validation
        self.is_classes = _labels_of(train, "training").dtype.kind in "iu"
        n_targets = 1 if self.is_classes else config.n_outputs
        if len(self.parts) != n_targets or (scales is not None and (self.is_classes or len(scales) != n_targets)):
            found = "none" if scales is None else str(len(scales))
            raise ValueError(
                f"targets: expected {n_targets} names, and as many scales for values only, found {len(self.parts)} "
                f"names and {found} scales; see n_outputs"
            )
        self.labels = self._checked(train, "training")
        self.validation_labels = self._checked(validation, "validation")
        self.scales = None if scales is None else torch.tensor(scales, dtype=torch.float32, device=device)
        self.weights = None
        if self.is_classes and rarity:
            said = self.labels[self.labels >= 0]
            self.weights = torch.from_numpy(class_weights(said, config.n_outputs, rarity=rarity)).float().to(device)
        self.n_items, self.n_without_labels = len(train), 0
        self.expected = torch.from_numpy(self._counted(self.labels) / len(train)).to(device)

    def batch(self, items: np.ndarray) -> LabelledInputs:
        """Gather training windows."""
        labels = torch.from_numpy(np.ascontiguousarray(self.labels[items])).to(self.device)
        return LabelledInputs(self.train.inputs(items, self.device), labels)

    def loss(self, model: Callable[..., Any], batch: LabelledInputs) -> torch.Tensor:
        """(n_targets,) errors, whose mean over all training windows is that over all labels."""
        error = self._error(model(**batch.inputs), batch.labels)
        self.n_without_labels += int(not error.n_labels.any())
        return error.total / (self.expected * len(batch.labels)).to(error.total.dtype)

    def validate(self, model: Callable[..., Any]) -> float:
        """The score, or the mean over the targets of the errors of a validation label."""
        found = _said(model, self.validation, self.device)
        if self.score is not None:
            return self.score(self.validation_labels, found.cpu().numpy())
        labels = torch.from_numpy(np.ascontiguousarray(self.validation_labels)).to(self.device)
        return float(self._error(found, labels).mean.detach().mean())

    def _error(self, outputs: torch.Tensor, labels: torch.Tensor) -> LabelledError:
        if self.is_classes:
            return class_error(outputs, labels, self.weights)
        return value_error(outputs, labels, self.scales)

    def _counted(self, labels: np.ndarray) -> np.ndarray:
        """(n_targets,) labels that there are."""
        if self.is_classes:
            return np.array([(labels >= 0).sum()], np.float64)
        counts: np.ndarray = np.isfinite(labels).reshape(-1, self.config.n_outputs).sum(0).astype(np.float64)
        return counts

    def _checked(self, items: MixedItems, part: str) -> np.ndarray:
        require_some(items, part)
        labels = _labels_of(items, part)
        steps = (items.n_steps,) if self.config.head == "steps" else ()
        n_outputs = self.config.n_outputs
        shape = (len(items), *steps) if self.is_classes else (len(items), *steps, n_outputs)
        is_short = not self.is_classes and n_outputs == 1 and labels.shape == shape[:-1]
        if (labels.dtype.kind in "iu") != self.is_classes or (labels.shape != shape and not is_short):
            kind = "whole numbers" if self.is_classes else "floats"
            raise ValueError(f"{part} labels: expected {kind} {shape}, found {labels.dtype} {labels.shape}")
        if not self.is_classes and self.config.head == "classes":
            raise ValueError(f"{part} labels: expected numbers of classes for head 'classes', found {labels.dtype}")
        if self.is_classes and self.config.head == "values":
            raise ValueError(f"{part} labels: expected floats for head 'values', found {labels.dtype}")
        known = np.array(labels.reshape(shape), np.int64 if self.is_classes else np.float32)
        if self.is_classes and known.max() >= n_outputs:
            raise ValueError(f"{part} labels: expected classes below {n_outputs}, found {known.max()}; see n_outputs")
        if steps and items.lengths is not None:
            known[np.arange(items.n_steps) >= np.asarray(items.lengths)[:, None]] = (
                UNLABELLED if self.is_classes else np.nan
            )
        without = [name for name, n in zip(self.parts, self._counted(known), strict=True) if not n]
        if without:
            raise ValueError(
                f"{part} labels: none for {', '.join(without)}; leave the target out, or split the recordings otherwise"
            )
        return known


class RebuildingObjective:
    """Squared error of hidden values and cross-entropy of hidden categories; what is seen does not count.

    For `foresense.models.dualpatch_pretraining.MaskedMixed`. Validation hides the same places each epoch. An error is
    the mean over what a batch asks for, and 0 where it asks for nothing.

    Attributes:
        n_items: Training windows; they need no labels.
        parts: `numbers`, standard deviations squared, and `categories`, nats; only those that the model has.
    """

    def __init__(
        self,
        train: MixedItems,
        validation: MixedItems,
        config: DualPatchConfig,
        *,
        hiding: Hiding | None = None,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """Learn from the windows alone.

        Args:
            train: Static covariates and labels are not looked at.
            validation: Of other recordings.
            config: Of the model.
            hiding: How much is hidden, by what; None: 0.4 of it, by every kind, in patches of the model's length.
            seed: Of what is hidden in validation.
            device: `cpu` or `cuda`.

        Raises:
            ValueError: no training or no validation windows.
        """
        for items, part in ((train, "training"), (validation, "validation")):
            require_some(items, part)
        self.train, self.validation, self.config, self.device = train, validation, config, device
        self.hiding = hiding or Hiding(patch_length=config.token_length)
        self.n_items = len(train)
        kinds = {"numbers": config.n_numeric, "categories": config.n_categorical}
        self.parts = tuple(name for name, n in kinds.items() if n)
        self.hidden = self._drawn(len(validation), torch.Generator().manual_seed(seed))

    def batch(self, items: np.ndarray) -> tuple[dict[str, torch.Tensor], Hidden]:
        """Training windows of the places `items` (n,), and what is hidden of them."""
        return _bare(self.train.inputs(items, self.device)), self._split(self._drawn(len(items)))

    def loss(self, model: Callable[..., Any], batch: tuple[dict[str, torch.Tensor], Hidden]) -> torch.Tensor:
        """(n_parts,) mean errors of what is hidden and known."""
        inputs, hidden = batch
        return rebuilding_error(model(hidden, **inputs)).mean

    def validate(self, model: Callable[..., Any]) -> float:
        """The mean over the parts of the errors of a hidden place, over the validation windows."""
        total = torch.zeros(len(self.parts), dtype=torch.float64)
        n_asked = torch.zeros(len(self.parts), dtype=torch.float64)
        for first in range(0, len(self.validation), VALIDATION_BATCH):
            rows = slice(first, first + VALIDATION_BATCH)
            hidden = self._split(self.hidden[rows])
            error = rebuilding_error(model(hidden, **_bare(self.validation.inputs(rows, self.device))))
            total += error.total.detach().double().cpu()
            n_asked += error.n_labels.cpu()
        return float((total / n_asked.clamp_min(1)).mean())

    def _drawn(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        config = self.config
        return hidden_places(
            n, n_channels=config.n_channels, n_steps=config.n_steps, hiding=self.hiding, generator=generator
        )

    def _split(self, places: torch.Tensor) -> Hidden:
        numbers, categories = places.to(self.device).split([self.config.n_numeric, self.config.n_categorical], dim=1)
        return Hidden(numbers if self.config.n_numeric else None, categories if self.config.n_categorical else None)


def rebuilding_error(rebuilt: Rebuilt) -> LabelledError:
    """Squared errors of hidden values, and cross-entropy of hidden categories, as two targets where there are both."""
    totals, counts = [], []
    if rebuilt.numbers is not None and rebuilt.true_numbers is not None and rebuilt.asked_numbers is not None:
        errors = torch.where(rebuilt.asked_numbers, rebuilt.numbers.float() - rebuilt.true_numbers, 0.0)
        totals.append(errors.square().sum())
        counts.append(rebuilt.asked_numbers.sum(dtype=torch.float64))
    if rebuilt.true_values is not None and rebuilt.asked_values is not None:
        truth = torch.where(rebuilt.asked_values, rebuilt.true_values, UNLABELLED)
        errors_of = [
            cross_entropy(
                logits.float().flatten(0, 1), truth[:, number].flatten(), reduction="sum", ignore_index=UNLABELLED
            )
            for number, logits in enumerate(rebuilt.logits)
        ]
        totals.append(torch.stack(errors_of).sum())
        counts.append(rebuilt.asked_values.sum(dtype=torch.float64))
    return LabelledError(torch.stack(totals), torch.stack(counts))


def outputs_of(model: nn.Module, items: MixedItems, *, device: str = "cpu") -> np.ndarray:
    """What a trained model says of windows, (n, ...), float32: logits or values, as `DualPatch.forward` gives them."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        found: np.ndarray = _said(model, items, device).cpu().numpy()
    model.train(was_training)
    return found


def _said(model: Callable[..., Any], items: MixedItems, device: str) -> torch.Tensor:
    starts = range(0, len(items), VALIDATION_BATCH)
    return torch.cat([model(**items.inputs(slice(n, n + VALIDATION_BATCH), device)).float() for n in starts])


def _bare(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Inputs without the static covariates, which no pretraining looks at."""
    return {name: values for name, values in inputs.items() if not name.startswith("static_")}


def _labels_of(items: MixedItems, part: str) -> np.ndarray:
    if items.labels is None:
        raise ValueError(f"the {part} windows have no labels; pretrain on them, or give labels")
    return np.asarray(items.labels)
