"""The objective of a forecaster: mean squared error, kept apart by channel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from foresense.signals import Windows

VALIDATION_BATCH = 16  # windows at once: bounds the memory of an epoch's end as micro-batches bound that of a step


class ForecastObjective:
    """Windows of one group; items are training windows, `stride` samples apart.

    Validation takes every `validation_stride`-th window of the validation part.

    Attributes:
        n_items: Training windows.
        parts: Names of the channels.
    """

    def __init__(self, windows: Windows, *, stride: int, validation_stride: int = 1, device: str = "cpu") -> None:
        self.windows = windows
        self.device = device
        self.starts = windows.starts["train"][::stride]
        self.validation = windows.starts["validation"][::validation_stride]
        self.n_items = len(self.starts)
        self.parts = windows.channels

    def batch(self, items: np.ndarray) -> torch.Tensor:
        """(n, length, n_channels), float32, scaled."""
        return torch.from_numpy(self.windows.gather(self.starts[items])).to(self.device)

    def loss(self, model: Callable[..., Any], batch: torch.Tensor) -> torch.Tensor:
        """(n_channels,) mean squared errors, squared scaled units."""
        context, truth = batch[:, : self.windows.context], batch[:, self.windows.context :]
        error: torch.Tensor = (model(context).float() - truth).square().mean((0, 1))
        return error

    def validate(self, model: Callable[..., Any]) -> float:
        """Mean squared error over the validation windows, squared scaled units."""
        starts = self.validation
        total = 0.0
        for first in range(0, len(starts), VALIDATION_BATCH):
            chosen = starts[first : first + VALIDATION_BATCH]
            batch = torch.from_numpy(self.windows.gather(chosen)).to(self.device)
            total += float(self.loss(model, batch).mean()) * len(batch)
        return total / len(starts)


def forecaster(model: Callable[..., Any], device: str = "cpu") -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A trained model as a function from contexts (n, context, n_channels) and starts to forecasts, numpy both."""

    def forecast(context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = model(torch.from_numpy(np.ascontiguousarray(context)).to(device)).cpu().numpy()
        return found

    return forecast
