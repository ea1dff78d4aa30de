"""The objective of a model that many groups share: their windows as one, each scaled by its own scaler."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from foresense.signals import Windows
from foresense.training.forecast import VALIDATION_BATCH


class PooledObjective:
    """Windows of many groups; items are training windows, those of one group `stride` samples apart.

    Items and validation windows go round: the first of each group, then the second of each, so that any run of them
    holds many groups. Every window counts alike. Nothing is copied but the windows of a batch.

    Attributes:
        n_items: Training windows of all groups.
        parts: Names of the channels.
    """

    def __init__(self, groups: Sequence[Windows], *, stride: int, validation_stride: int = 1) -> None:
        """Pool groups.

        Args:
            groups: At least one; same channels, units, context, horizon and interval.
            stride: Between the training windows of a group.
            validation_stride: Every so many validation windows of a group judge an epoch.

        Raises:
            ValueError: groups of different layouts.
        """
        _require_alike(groups)
        self.groups = groups
        self.context = groups[0].context
        self.parts = groups[0].channels
        self.owners, self.starts = _round_robin([group.starts["train"][::stride] for group in groups])
        self.validation = _round_robin([group.starts["validation"][::validation_stride] for group in groups])
        self.n_items = len(self.starts)

    def batch(self, items: np.ndarray) -> torch.Tensor:
        """(n, length, n_channels), float32, scaled."""
        return self._gather(self.owners[items], self.starts[items])

    def loss(self, model: Callable[..., Any], batch: torch.Tensor) -> torch.Tensor:
        """(n_channels,) mean squared errors, squared scaled units."""
        context, truth = batch[:, : self.context], batch[:, self.context :]
        error: torch.Tensor = (model(context).float() - truth).square().mean((0, 1))
        return error

    def validate(self, model: Callable[..., Any]) -> float:
        """Mean squared error over the validation windows of all groups, squared scaled units."""
        owners, starts = self.validation
        total = 0.0
        for first in range(0, len(starts), VALIDATION_BATCH):
            batch = self._gather(owners[first : first + VALIDATION_BATCH], starts[first : first + VALIDATION_BATCH])
            total += float(self.loss(model, batch).mean()) * len(batch)
        return total / len(starts)

    def _gather(self, owners: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        windows = np.empty((len(starts), self.groups[0].length, len(self.parts)), np.float32)
        for owner in np.unique(owners):
            rows = owners == owner
            windows[rows] = self.groups[owner].gather(starts[rows])
        return torch.from_numpy(windows)


def _round_robin(starts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Number of the group and start of each window, both (n,) int64: the first of every group first."""
    owners = np.repeat(np.arange(len(starts)), [len(own) for own in starts])
    turns = np.concatenate([np.arange(len(own)) for own in starts])
    order = np.argsort(turns, kind="stable")
    return owners[order], np.concatenate(starts)[order]


def _require_alike(groups: Sequence[Windows]) -> None:
    if not groups:
        raise ValueError("no groups to pool; a shared model needs at least one group with windows")
    for name in ("channels", "units", "context", "horizon", "interval_s"):
        for group in groups[1:]:
            if getattr(group, name) != getattr(groups[0], name):
                raise ValueError(
                    f"group {group.group!r}: {name} is {getattr(group, name)!r}, of {groups[0].group!r} "
                    f"{getattr(groups[0], name)!r}; a shared model needs one layout: pool the others apart"
                )
