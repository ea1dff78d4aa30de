"""What every converter gets: the model, its shape, calibration windows, and a scratch folder for half-made files."""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foresense.export import format_of
from foresense.export.quiet import quieted


@dataclass(frozen=True, eq=False)
class ExportSource:
    """One trained model on its way out.

    Attributes:
        model: (n, context, n_channels) to (n, horizon, n_channels), float32, scaled; in evaluation mode.
        calibration: (n, context, n_channels), float32, scaled; contexts of the training part.
        scratch: An existing folder for files that several variants share.
    """

    model: nn.Module
    calibration: np.ndarray
    scratch: Path

    @property
    def example(self) -> torch.Tensor:
        """(1, context, n_channels): the batch of one that files are made for."""
        return torch.from_numpy(np.ascontiguousarray(self.calibration[:1]))

    @cached_property
    def reference(self) -> np.ndarray:
        """(n, horizon, n_channels), float32, scaled: what the model says of each calibration window, one at a time."""
        with torch.inference_mode():
            contexts = torch.from_numpy(np.ascontiguousarray(self.calibration))
            return torch.cat([self.model(contexts[n : n + 1]) for n in range(len(contexts))]).numpy()


def convert(source: ExportSource, variant: str, file: Path) -> str:
    """Write one variant.

    Args:
        source: The model.
        variant: A name in FORMATS.
        file: Written, never half: converters write it in one go at their end.

    Returns:
        Converter and version, such as "litert-torch 0.10.0".

    Raises:
        ValueError: no such variant.
        ImportError: the converter is not installed; names the extra.
    """
    module, _, function = format_of(variant).partition(":")
    with quieted():
        return str(getattr(import_module(module), function)(source, file))


def versions_of(*packages: str) -> str:
    """The installed versions of distributions: "onnx 1.23.2, onnxruntime 1.31.1"."""
    return ", ".join(f"{name} {version(name)}" for name in packages)
