"""The folder that leaves a pipeline: every variant with the proof that it agrees with the model, and how to use it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.export import predict
from foresense.export.manifest import SCHEMA_VERSION, write_manifest
from foresense.export.proof import convert_all, versions
from foresense.export.readme import readme_text
from foresense.export.source import ExportSource
from foresense.signals import Windows, write_bytes, write_json


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
    proven = convert_all(folder, source, variants, _forecast_by, what=f"{origin.pipeline}/{windows.group}")
    contexts = source.calibration["context"][:n_golden]
    physical = windows.scaler.inverse(contexts.astype(np.float64), windows.channels)
    np.savez(
        folder / "golden.npz",
        allow_pickle=False,
        physical=physical,
        inputs=contexts,
        model=source.reference[:n_golden],
        **{variant: outputs[:n_golden] for variant, outputs in proven.outputs.items()},
    )
    windows.scaler.write(folder / "scaler.json")
    write_json(folder / "windowing.json", _windowing(windows))
    write_json(folder / "evaluation.json", origin.evaluation)
    write_bytes(folder / "predict.py", Path(predict.__file__).read_bytes())
    manifest = _manifest(folder, windows, origin, proven.facts, proven.refused, n_golden=len(contexts))
    write_bytes(folder / "README.md", readme_text(manifest, origin.evaluation).encode())
    write_manifest(folder, manifest)
    return BuiltArtefact(variants=proven.facts, refused=proven.refused)


def _forecast_by(file: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    forecast = predict.open_model(file)
    return lambda example: forecast(example["context"])


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
        "versions": versions(),
        "golden": {"file": "golden.npz", "n": n_golden},
        "variants": variants,
        "refused": refused,
    }
