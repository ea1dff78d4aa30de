"""The folder that is copied to a Raspberry Pi and runs there alone: models, golden vectors, smoke test, guide."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.device import measure, smoke_test
from foresense.export.keras_format import TFLITE, run_file
from foresense.export.manifest import write_manifest
from foresense.export.pi_texts import readme_text, requirements_text, unit_name, unit_text
from foresense.signals import file_sha256, write_bytes

#: How far another processor may be from the golden vectors, as a share of the largest of them, or of 1: float32 sums
#: come in another order; integers may be rounded the other way, by two steps of an int8 output's 256.
FLOAT_TOLERANCE, INTEGER_TOLERANCE = 1e-5, 2 / 256
NAME = re.compile(r"[a-z][a-z0-9_-]*")


class PiFolderError(ValueError):
    """What was handed in cannot be tested on a device."""


@dataclass(frozen=True)
class PiLimits:
    """What a device has to keep to; every one can fail.

    Attributes:
        latency_ms: 95th percentile of one inference.
        memory_mib: Peak of a process that holds the runtime and all models.
        growth_mib: Growth of that peak while one model runs `n_timed` times: more is a leak.
        quality_drop: Score that the exported file may lose against the model, on the whole test part.
        duration_s: The whole smoke test.
    """

    latency_ms: float = 200.0
    memory_mib: float = 512.0
    growth_mib: float = 4.0
    quality_drop: float = 0.01
    duration_s: float = 60.0


@dataclass(frozen=True)
class PiPlan:
    """How a device measures.

    Attributes:
        n_warmup: Untimed inferences before the timed ones, at least 10.
        n_timed: Timed inferences of each model, at least 50.
        n_threads: Of the runtime, for all figures.
        n_threads_other: With so many the outputs must be the same, bit by bit.
    """

    n_warmup: int = 10
    n_timed: int = 50
    n_threads: int = 1
    n_threads_other: int = 4

    def __post_init__(self) -> None:
        if self.n_warmup < 10 or self.n_timed < 50:
            raise PiFolderError(
                f"plan: {self.n_warmup} warm-ups and {self.n_timed} timed runs; fewer than 10 and 50 say little about "
                "a 95th percentile"
            )
        if self.n_threads < 1 or self.n_threads_other < 1 or self.n_threads == self.n_threads_other:
            raise PiFolderError(
                f"plan: {self.n_threads} and {self.n_threads_other} threads; give two different numbers from 1 on"
            )


@dataclass(frozen=True)
class Training:
    """What became of the training: the gates tell it on the device.

    Attributes:
        n_epochs: Epochs that were finished.
        loss: Of the last one, on the validation part.
    """

    n_epochs: int
    loss: float


@dataclass(frozen=True, eq=False)
class PiModel:
    """One exported file with what proves it.

    Attributes:
        name: Lower case, such as `thermal`; unique in the folder.
        file: A `.tflite`.
        variant: Its name in `keras_format.TFLITE`.
        max_size_mib: The gate of its size.
        inputs: (n, ...), float32: windows whose outputs become golden vectors.
        model_sha256: SHA-256 of the weights that the file was made from.
        training: None where nothing is known; the gate then shows "not measured" and fails.
        checkpoint_sha256: SHA-256 of the saved weights; None where none were saved: the same.
        tolerance: Largest difference from the golden vectors; None for the share of the largest that the variant's
            numbers allow.
    """

    name: str
    file: Path
    variant: str
    max_size_mib: float
    inputs: np.ndarray
    model_sha256: str
    training: Training | None
    checkpoint_sha256: str | None
    tolerance: float | None = None


def build_pi_folder(
    folder: Path,
    models: Sequence[PiModel],
    *,
    pipeline: str,
    limits: PiLimits | None = None,
    plan: PiPlan | None = None,
) -> dict[str, Any]:
    """Write everything that a device needs; the same inputs give the same bytes.

    Args:
        folder: An existing empty folder; the manifest is written last.
        models: One or more; all are loaded together for the memory test.
        pipeline: Name of the pipeline.
        limits: What the device has to keep to.
        plan: How it measures.

    Returns:
        What manifest.json holds.

    Raises:
        PiFolderError: no model, names twice or unusable, no golden input, or outputs that are not finite.
        ImportError: ai-edge-litert is not installed; names the extra.
    """
    _require_names([model.name for model in models])
    manifest: dict[str, Any] = {
        "schema_version": smoke_test.SCHEMA_VERSION,
        "kind": "pi",
        "pipeline": pipeline,
        "limits": asdict(limits or PiLimits()),
        "plan": asdict(plan or PiPlan()),
        "models": {model.name: _add_model(folder, model) for model in models},
    }
    for source in (Path(smoke_test.__file__), Path(measure.__file__)):
        write_bytes(folder / source.name, source.read_bytes())
    write_bytes(folder / "requirements_pi.txt", requirements_text().encode("ascii"))
    write_bytes(folder / unit_name(pipeline), unit_text(pipeline, manifest).encode("ascii"))
    write_bytes(folder / "README.md", readme_text(manifest).encode("ascii"))
    write_manifest(folder, manifest)
    return manifest


def _require_names(names: Sequence[str]) -> None:
    if not names:
        raise PiFolderError("no model was handed in; a folder for a device holds at least one")
    for name in names:
        if not NAME.fullmatch(name) or names.count(name) > 1:
            raise PiFolderError(
                f"model name {name!r}: expected lower-case letters, digits, - and _, each name once; got {list(names)}"
            )


def _add_model(folder: Path, model: PiModel) -> dict[str, Any]:
    """Copy one model, write its golden vectors, and describe both."""
    if model.variant not in TFLITE:
        raise PiFolderError(f"{model.name}: variant {model.variant!r}; a Pi runs one of {', '.join(TFLITE)}")
    if not len(model.inputs) or model.inputs.dtype != np.float32:
        raise PiFolderError(
            f"{model.name}: golden inputs of shape {model.inputs.shape}, {model.inputs.dtype}; expected at least one "
            "window, float32"
        )
    file, golden = folder / f"{model.name}_{model.variant}.tflite", folder / f"{model.name}_golden.npz"
    write_bytes(file, model.file.read_bytes())
    outputs = run_file(file, model.inputs)
    if not np.isfinite(outputs).all():
        raise PiFolderError(
            f"{model.name}: the file gives values that are not finite for its golden inputs; export again"
        )
    np.savez_compressed(golden, allow_pickle=False, inputs=model.inputs, outputs=outputs)
    is_float = model.variant in ("tflite-float32", "tflite-float16")
    share = FLOAT_TOLERANCE if is_float else INTEGER_TOLERANCE
    tolerance = share * max(1.0, float(np.abs(outputs).max())) if model.tolerance is None else model.tolerance
    training = None
    if model.training is not None:
        loss = model.training.loss
        training = {"n_epochs": model.training.n_epochs, "loss": loss if math.isfinite(loss) else None}
    return {
        "file": file.name,
        "file_sha256": file_sha256(file),
        "variant": model.variant,
        "is_int8": model.variant.startswith("tflite-int8"),
        "size_mib": round(file.stat().st_size / 2**20, 4),
        "max_size_mib": model.max_size_mib,
        "golden": golden.name,
        "golden_sha256": file_sha256(golden),
        "n_golden": len(outputs),
        "input_shape": [1, *model.inputs.shape[1:]],
        "output_shape": [1, *outputs.shape[1:]],
        "tolerance": tolerance,
        "model_sha256": model.model_sha256,
        "training": training,
        "checkpoint_sha256": model.checkpoint_sha256,
    }
