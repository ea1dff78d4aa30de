"""What every converter gets: the model, its shape, calibration windows, and a scratch folder for half-made files."""

from collections.abc import Mapping
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
        model: Takes the arrays of `calibration` by name, float32; in evaluation mode.
        calibration: Input to (n, ...), float32: windows of the training part.
        output: Name of what the model gives.
        scratch: An existing folder for files that several variants share.
    """

    model: nn.Module
    calibration: Mapping[str, np.ndarray]
    output: str
    scratch: Path

    @property
    def examples(self) -> list[dict[str, np.ndarray]]:
        """Each calibration window as a batch of one."""
        n = min(len(values) for values in self.calibration.values())
        arrays = {name: np.ascontiguousarray(values) for name, values in self.calibration.items()}
        return [{name: values[number : number + 1] for name, values in arrays.items()} for number in range(n)]

    @property
    def example(self) -> dict[str, torch.Tensor]:
        """The batch of one that files are made for."""
        return {name: torch.from_numpy(values) for name, values in self.examples[0].items()}

    @cached_property
    def reference(self) -> np.ndarray:
        """(n, ...), float32: what the model says of each calibration window, one at a time."""
        with torch.inference_mode():
            found = [
                self.model(**{name: torch.from_numpy(values) for name, values in example.items()})
                for example in self.examples
            ]
        return torch.cat(found).numpy()


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
