"""Errors of partly labelled windows: what nobody has labelled counts for nothing, and never makes a NaN."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

UNLABELLED = -1  # of a class; of a value it is NaN


@dataclass(frozen=True, eq=False)
class LabelledError:
    """Errors added up over the labels that there are.

    Attributes:
        total: (n_targets,), differentiable; exactly 0, and still with a gradient of zeros, where there is no label.
        n_labels: (n_targets,), float64 whole numbers.
    """

    total: torch.Tensor
    n_labels: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """(n_targets,) errors of a label; 0 without one."""
        return self.total / self.n_labels.clamp_min(1).to(self.total.dtype)


def class_error(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> LabelledError:
    """Cross-entropy, nats, of windows or of steps.

    Args:
        logits: (..., n_classes), float.
        labels: (...), whole numbers; below 0 where nobody has said.
        weights: (n_classes,), of the errors of each class; they do not change `n_labels`.

    Returns:
        One target.

    Raises:
        ValueError: labels of another shape than the logits have before their last axis, not whole, or too large.
    """
    if labels.shape != logits.shape[:-1] or labels.is_floating_point():
        raise ValueError(
            f"labels of classes: expected whole numbers {tuple(logits.shape[:-1])} for logits {tuple(logits.shape)}, "
            f"found {str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
        )
    n_classes = logits.shape[-1]
    if labels.numel() and int(labels.max()) >= n_classes:
        raise ValueError(f"labels of classes: expected below {n_classes}, found {int(labels.max())}; see n_outputs")
    kept = labels >= 0
    known = torch.where(kept, labels, UNLABELLED).long()
    total = cross_entropy(
        logits.float().reshape(-1, n_classes),
        known.reshape(-1),
        weight=weights,
        ignore_index=UNLABELLED,
        reduction="sum",
    )
    return LabelledError(total[None], kept.sum(dtype=torch.float64)[None])


def value_error(values: torch.Tensor, labels: torch.Tensor, scales: torch.Tensor | None = None) -> LabelledError:
    """Squared errors of windows or of steps, kept apart by target.

    Args:
        values: (..., n_targets), float.
        labels: The same shape, NaN where nobody has said; +-inf is no label either. Of one target the last axis may be
            left out.
        scales: (n_targets,): errors are divided by them before they are squared.

    Raises:
        ValueError: labels of another shape: (n,) against (n, 1) must never become n x n.
    """
    if labels.shape == values.shape[:-1] and values.shape[-1] == 1:
        labels = labels[..., None]
    if labels.shape != values.shape or not labels.is_floating_point():
        raise ValueError(
            f"labels of values: expected float {tuple(values.shape)}, found "
            f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}; give one for each output"
        )
    kept = labels.isfinite()
    errors = values.float() - torch.where(kept, labels.to(torch.float32), values.detach().float())
    if scales is not None:
        errors = errors / scales
    before = tuple(range(values.dim() - 1))
    return LabelledError(errors.square().sum(before), kept.sum(before, dtype=torch.float64))
