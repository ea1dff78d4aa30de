"""TFLite files through litert-torch, quantized by ai-edge-quantizer.

Of the ways to a smaller file that stack.md measured, `dynamic_wi8_afp32` has int8 weights and float32 activations,
`static_wi8_ai8` is the only one with integers throughout. PT2E's static file has int8 doors and 48 float32 tensors
inside, so it is not offered.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from foresense.export.source import ExportSource, versions_of

SIGNATURE = "serving_default"


class _Named(nn.Module):
    """Gives the output its name: litert-torch takes it from the keys of a dictionary."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {self.output: self.model(**inputs)}


def float32(source: ExportSource, file: Path) -> str:
    """Write a float32 file of batch 1, inputs and output named as those of the source."""
    file.write_bytes(_float32_file(source).read_bytes())
    return versions_of("litert-torch")


def dynamic(source: ExportSource, file: Path) -> str:
    """Write a file with int8 weights and float32 activations, which the runtime quantizes for each window."""
    return _quantized(source, file, "dynamic_wi8_afp32")


def int8(source: ExportSource, file: Path) -> str:
    """Write a file of integers throughout, input and output included, calibrated with the source's windows."""
    return _quantized(source, file, "static_wi8_ai8")


def _quantized(source: ExportSource, file: Path, recipe: str) -> str:
    quantizer = _edge("ai_edge_quantizer.quantizer").Quantizer(str(_float32_file(source)))
    quantizer.load_quantization_recipe(getattr(_edge("ai_edge_quantizer.recipe"), recipe)())
    ranges = None
    if quantizer.need_calibration:
        ranges = quantizer.calibrate({SIGNATURE: source.examples}, num_threads=torch.get_num_threads())
    file.write_bytes(bytes(quantizer.quantize(ranges).quantized_model))
    return versions_of("litert-torch", "ai-edge-quantizer")


def _float32_file(source: ExportSource) -> Path:
    file = source.scratch / "float32.tflite"
    if not file.is_file():
        edge_model = _edge("litert_torch").convert(
            _Named(source.model, source.output).eval(), sample_kwargs=source.example
        )
        edge_model.export(str(file))
    return file


def _edge(module: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"exporting to TFLite needs {module.partition('.')[0]}, which is in the extra 'edge': "
            "pip install 'foresense[edge]', or leave the tflite variants out of `export.variants`"
        ) from error
