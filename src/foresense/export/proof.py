"""Convert a model to every asked variant, and prove that each file says what the model says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from foresense.export import file_name
from foresense.export.inspect import read_types, require_types
from foresense.export.quiet import quieted
from foresense.export.source import ExportSource, convert
from foresense.signals import file_sha256

#: Units of the output. Float32 files differ from the model only by the order of sums; more means a wrong conversion.
FLOAT_TOLERANCE = 1e-4
#: How far beyond its worst calibration window a quantized file may stray on a golden vector.
QUANTIZED_MARGIN = 1.5

LIBRARIES = ("numpy", "torch", "transformers", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch")

#: Loads a file: a function from the inputs of one window, by name, to its outputs.
OpenFile = Callable[[Path], Callable[[Mapping[str, np.ndarray]], np.ndarray]]


class ExportError(ValueError):
    """Nothing could be exported, or an exported file does not agree with its model."""


@dataclass(frozen=True, eq=False)
class Proven:
    """What was converted, and how far each file is from the model.

    Attributes:
        facts: variant -> {file, size_mib, sha256, max_abs_error, tolerance, tensor_types, operators,
            n_integer_kernels, n_hybrid_kernels, input_type, output_type, converter_version}.
        outputs: variant -> its outputs for every calibration window, (n, ...).
        refused: variant -> first line of the reason.
    """

    facts: dict[str, dict[str, Any]]
    outputs: dict[str, np.ndarray]
    refused: dict[str, str]


def convert_all(
    folder: Path, source: ExportSource, variants: Sequence[str], open_file: OpenFile, *, what: str
) -> Proven:
    """Write every variant that can be made and agrees with the model into `folder`.

    Args:
        folder: Exists.
        source: The model with its calibration windows.
        variants: Names in FORMATS.
        open_file: Runs a file as the artefact's user will.
        what: Names the model in an error.

    Raises:
        ExportError: not one variant could be made; lists every reason.
    """
    proven = Proven({}, {}, {})
    for variant in variants:
        file = folder / file_name(variant)
        try:
            proven.facts[variant], proven.outputs[variant] = _prove(source, variant, file, open_file)
        except Exception as error:  # a converter may raise anything: it is recorded, and the others go on
            file.unlink(missing_ok=True)
            proven.refused[variant] = f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
    if not proven.facts:
        reasons = "; ".join(f"{variant}: {reason}" for variant, reason in proven.refused.items())
        raise ExportError(f"{what}: no variant could be exported: {reasons}")
    return proven


def versions() -> dict[str, str]:
    """The installed versions of what has a part in an exported file."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _prove(source: ExportSource, variant: str, file: Path, open_file: OpenFile) -> tuple[dict[str, Any], np.ndarray]:
    """Convert one variant and measure it against the model; gives its facts and its outputs."""
    converter = convert(source, variant, file)
    types = read_types(file)
    require_types(variant, types)
    with quieted():
        run = open_file(file)
    outputs = np.concatenate([run(example) for example in source.examples])
    error = float(np.abs(outputs - source.reference).max())
    is_float = variant.endswith("-float32")
    if not np.isfinite(error) or (is_float and error > FLOAT_TOLERANCE):
        raise ExportError(
            f"{variant} differs from the model by {error:.3g} on {len(outputs)} calibration windows; "
            f"at most {FLOAT_TOLERANCE:g} is rounding"
        )
    facts = {
        "file": file.name,
        "size_mib": round(file.stat().st_size / 2**20, 4),
        "sha256": file_sha256(file),
        "max_abs_error": error,
        "tolerance": FLOAT_TOLERANCE if is_float else QUANTIZED_MARGIN * error,
        "tensor_types": types.tensors,
        "operators": types.operators,
        "n_integer_kernels": types.n_integer_kernels,
        "n_hybrid_kernels": types.n_hybrid_kernels,
        "input_type": types.input_type,
        "output_type": types.output_type,
        "converter_version": converter,
    }
    return facts, outputs
