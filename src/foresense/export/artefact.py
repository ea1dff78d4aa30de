"""The folder that leaves a pipeline: every variant with the proof that it agrees with the model, and how to use it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from foresense.export import file_name, predict
from foresense.export.inspect import read_types, require_types
from foresense.export.quiet import quieted
from foresense.export.readme import readme_text
from foresense.export.source import ExportSource, convert
from foresense.export.verify import SEAL
from foresense.signals import Windows, file_sha256, write_bytes, write_json

SCHEMA_VERSION = 1
#: Scaled units. Float32 files differ from the model only by the order of sums; more means a wrong conversion.
FLOAT_TOLERANCE = 1e-4
#: How far beyond its worst calibration window a quantized file may stray on a golden vector.
QUANTIZED_MARGIN = 1.5

LIBRARIES = ("numpy", "torch", "transformers", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch")


class ExportError(ValueError):
    """Nothing could be exported, or an exported file does not agree with its model."""


@dataclass(frozen=True)
class Origin:
    """Where an artefact comes from.

    Attributes:
        pipeline: Name of the pipeline.
        data_sha256: Digest of the recordings behind the model.
        model_sha256: SHA-256 of the trained weights.
        evaluation: Content of the model's `evaluation.json`.
    """

    pipeline: str
    data_sha256: str
    model_sha256: str
    evaluation: dict[str, Any]


@dataclass(frozen=True)
class BuiltArtefact:
    """What one artefact holds.

    Attributes:
        variants: variant -> {file, size_mib, sha256, max_abs_error, tolerance, tensor_types, operators,
            n_integer_kernels, n_hybrid_kernels, input_type, output_type, converter_version}.
        refused: variant -> first line of the reason.
    """

    variants: dict[str, dict[str, Any]]
    refused: dict[str, str]


def calibration_contexts(windows: Windows, n: int) -> np.ndarray:
    """Contexts of `n` windows of the training part, evenly spread over it.

    Args:
        windows: One group's windows.
        n: How many; fewer where the training part has fewer.

    Returns:
        (n, context, n_channels), float32, scaled.
    """
    starts = windows.starts["train"]
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, min(n, len(starts))).round().astype(np.int64))]
    return np.ascontiguousarray(windows.gather(chosen)[:, : windows.context])


def build_artefact(
    folder: Path, source: ExportSource, windows: Windows, origin: Origin, *, variants: Sequence[str], n_golden: int
) -> BuiltArtefact:
    """Convert, prove and describe one model.

    Args:
        folder: An existing empty folder; the manifest and its seal are written last.
        source: The model with its calibration windows.
        windows: One group's windows: shape, scaler, names, units.
        origin: Where model and data come from.
        variants: Names in FORMATS; the first that can be made is what `predict.py` uses unless told otherwise.
        n_golden: How many calibration windows become golden vectors.

    Raises:
        ExportError: not one variant could be made; lists every reason.
    """
    built: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    golden: dict[str, np.ndarray] = {}
    for variant in variants:
        file = folder / file_name(variant)
        try:
            built[variant], outputs = _prove(source, variant, file)
            golden[variant] = outputs[:n_golden]
        except Exception as error:  # a converter may raise anything: it is recorded, and the others go on
            file.unlink(missing_ok=True)
            refused[variant] = f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
    if not built:
        reasons = "; ".join(f"{variant}: {reason}" for variant, reason in refused.items())
        raise ExportError(f"{origin.pipeline}/{windows.group}: no variant could be exported: {reasons}")

    contexts = source.calibration[:n_golden]
    physical = windows.scaler.inverse(contexts.astype(np.float64), windows.channels)
    np.savez(
        folder / "golden.npz",
        allow_pickle=False,
        physical=physical,
        inputs=contexts,
        model=source.reference[:n_golden],
        **golden,
    )
    windows.scaler.write(folder / "scaler.json")
    write_json(folder / "windowing.json", _windowing(windows))
    write_json(folder / "evaluation.json", origin.evaluation)
    write_bytes(folder / "predict.py", Path(predict.__file__).read_bytes())
    manifest = _manifest(folder, windows, origin, built, refused, n_golden=len(contexts))
    write_bytes(folder / "README.md", readme_text(manifest, origin.evaluation).encode())
    manifest["files"] = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", manifest)
    write_bytes(folder / SEAL, f"{file_sha256(folder / 'manifest.json')}  manifest.json\n".encode())
    return BuiltArtefact(variants=built, refused=refused)


def _prove(source: ExportSource, variant: str, file: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Convert one variant and measure it against the model; gives its facts and its outputs."""
    converter = convert(source, variant, file)
    types = read_types(file)
    require_types(variant, types)
    with quieted():
        forecast = predict.open_model(file)
    outputs = np.concatenate([forecast(context[None]) for context in source.calibration])
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


def _windowing(windows: Windows) -> dict[str, Any]:
    return {
        "group": windows.group,
        "channels": list(windows.channels),
        "units": list(windows.units),
        "context": windows.context,
        "horizon": windows.horizon,
        "interval_s": windows.interval_s,
        "time_zone": windows.time_zone,
    }


def _manifest(
    folder: Path,
    windows: Windows,
    origin: Origin,
    variants: dict[str, dict[str, Any]],
    refused: dict[str, str],
    *,
    n_golden: int,
) -> dict[str, Any]:
    n_channels = len(windows.channels)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "forecast",
        "pipeline": origin.pipeline,
        **_windowing(windows),
        "input": {"name": "context", "shape": [1, windows.context, n_channels], "dtype": "float32", "scale": "scaled"},
        "output": {
            "name": "forecast",
            "shape": [1, windows.horizon, n_channels],
            "dtype": "float32",
            "scale": "scaled",
        },
        "scaler": json.loads((folder / "scaler.json").read_text()),
        "windowing": _windowing(windows),
        "model": origin.evaluation.get("model", {}),
        "model_sha256": origin.model_sha256,
        "data_sha256": origin.data_sha256,
        "versions": _versions(),
        "golden": {"file": "golden.npz", "n": n_golden},
        "variants": variants,
        "refused": refused,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
