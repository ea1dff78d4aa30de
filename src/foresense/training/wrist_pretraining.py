"""The objective before any label: hidden patches of a wrist window from those that are seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from foresense.training.wrist_augment import Augmentation, hidden_patches, turned
from foresense.training.wrist_items import VALIDATION_BATCH, WristItems, require_some


class ReconstructionObjective:
    """Mean squared error of hidden patches, scaled units squared; patches that the encoder sees do not count.

    For `foresense.models.wrist.MaskedPatches`. Validation hides the same patches each epoch.

    Attributes:
        n_items: Training windows; they need no labels.
        parts: `hidden_patches`.

    Source: Nie et al., A Time Series is Worth 64 Words, ICLR 2023, section 3.2 (40 % of the patches).
    """

    parts: tuple[str, ...] = ("hidden_patches",)

    def __init__(
        self,
        train: WristItems,
        validation: WristItems,
        *,
        n_patches: int,
        share: float = 0.4,
        turn_deg: float = 0.0,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """Learn from the windows alone.

        Args:
            train: Features and labels are not looked at.
            validation: Of other people.
            n_patches: Of a window.
            share: Of the patches that are hidden, rounded to whole ones, at least one and never all.
            turn_deg: As of `Augmentation`.
            seed: Of the patches that are hidden in validation.
            device: `cpu` or `cuda`.

        Raises:
            ValueError: a single patch, a share outside 0 ... 1, or no validation windows.
        """
        if n_patches < 2 or not 0 < share < 1:
            raise ValueError(
                f"hidden patches: expected at least 2 patches and a share between 0 and 1, found {n_patches} and "
                f"{share:g}; shorten patch_length"
            )
        require_some(validation)
        Augmentation(turn_deg=turn_deg)
        self.train, self.validation, self.n_patches, self.share = train, validation, n_patches, share
        self.turn_deg, self.device = turn_deg, device
        self.n_items = len(train)
        draws = torch.Generator().manual_seed(seed)
        self.hidden = hidden_patches(len(validation), n_patches=n_patches, share=share, generator=draws)

    def batch(self, items: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows (n, length, n_channels), g, and which of their patches are hidden, (n, n_patches)."""
        windows = self.train.inputs(items)[0]
        if self.turn_deg:
            windows = turned(windows, at_most_deg=self.turn_deg)
        hidden = hidden_patches(len(items), n_patches=self.n_patches, share=self.share)
        return windows.to(self.device), hidden.to(self.device)

    def loss(self, model: Callable[..., Any], batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(1,) mean squared error of the hidden patches."""
        guessed, truth = model(*batch)
        error: torch.Tensor = (guessed.float() - truth)[batch[1]].square().mean()[None]
        return error

    def validate(self, model: Callable[..., Any]) -> float:
        """The same over the validation windows."""
        total = 0.0
        for first in range(0, len(self.validation), VALIDATION_BATCH):
            windows = self.validation.inputs(slice(first, first + VALIDATION_BATCH), self.device)[0]
            hidden = self.hidden[first : first + VALIDATION_BATCH].to(self.device)
            total += float(self.loss(model, (windows, hidden))) * len(windows)
        return total / len(self.validation)
