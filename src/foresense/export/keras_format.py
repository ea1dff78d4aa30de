"""TFLite and ONNX files of a Keras model, each proved to be what its name says and to say what the model says.

`int8` has two meanings in the field. Here, as everywhere in the project, `tflite-int8` is integers throughout, doors
included; `tflite-int8-float-io` has the same integer kernels behind float32 doors (QUANTIZE first, DEQUANTIZE last).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from foresense.export.device.measure import open_model, outputs_of
from foresense.export.inspect import FileTypes, TypesError, read_types, require_types
from foresense.export.keras_onnx import INPUT, write_onnx
from foresense.export.quiet import quieted
from foresense.signals import file_sha256, write_bytes

#: Share of the largest output, or of 1: float32 files differ from the model by the order of sums only.
FLOAT_TOLERANCE = 1e-4


class KerasExportError(ValueError):
    """Windows that cannot calibrate or prove a file, or a file that does not agree with its model."""


@dataclass(frozen=True, eq=False)
class KerasSource:
    """One trained Keras model on its way out.

    Attributes:
        model: A `keras.Model` with one input (None, ...) and one output (None, ...), both float32.
        calibration: (n, ...), float32: windows of the training part, as the model gets them; the ranges of integers
            come from them, so noise or few windows give a bad file.
        proving: (m, ...), float32: windows on which each file is compared with the model.
    """

    model: Any
    calibration: np.ndarray
    proving: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(self.model.input_shape[1:])
        for name in ("calibration", "proving"):
            windows = getattr(self, name)
            if windows.shape[1:] != shape or not len(windows) or windows.dtype != np.float32:
                raise KerasExportError(
                    f"{name}: windows of shape {windows.shape}, {windows.dtype}; the model takes (n, "
                    f"{', '.join(map(str, shape))}), float32, n > 0"
                )
            if not np.isfinite(windows).all():
                raise KerasExportError(f"{name}: holds values that are not finite; fill or drop those windows first")
        if np.ptp(self.calibration) == 0:
            raise KerasExportError(
                "calibration: all values are equal, no range of integers follows from them; give windows of the "
                "training part"
            )

    @cached_property
    def reference(self) -> np.ndarray:
        """(m, ...), float32: what the model says of each proving window."""
        return np.asarray(self.model.predict(self.proving, batch_size=1, verbose=0))


def _float32(converter: Any, tf: Any, source: KerasSource) -> None:
    """Nothing to set."""


def _float16(converter: Any, tf: Any, source: KerasSource) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: Any, tf: Any, source: KerasSource) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8_float_io(converter: Any, tf: Any, source: KerasSource) -> None:
    _dynamic(converter, tf, source)
    converter.representative_dataset = lambda: ([window[None]] for window in source.calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _int8(converter: Any, tf: Any, source: KerasSource) -> None:
    _int8_float_io(converter, tf, source)
    converter.inference_input_type = converter.inference_output_type = tf.int8


#: variant -> what it asks of TensorFlow's converter.
TFLITE: dict[str, Callable[[Any, Any, KerasSource], None]] = {
    "tflite-float32": _float32,
    "tflite-float16": _float16,
    "tflite-dynamic": _dynamic,
    "tflite-int8-float-io": _int8_float_io,
    "tflite-int8": _int8,
}
#: What a Keras model can leave as.
VARIANTS = (*TFLITE, "onnx-float32")


def require_offered(variants: Sequence[str]) -> None:
    """Refuse an unknown variant before anything is converted.

    Raises:
        ValueError: names the known ones.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise ValueError(f"no Keras export variant {variant!r} (known: {', '.join(VARIANTS)})")


def convert_keras(source: KerasSource, variant: str, file: Path) -> str:
    """Write one variant, of batch 1.

    Args:
        source: The model with its windows.
        variant: A name in VARIANTS.
        file: Written whole, or not at all.

    Returns:
        The converter and its version, such as "tensorflow 2.21.0".

    Raises:
        ValueError: no such variant.
        ImportError: TensorFlow is not installed; names the extra.
        RuntimeError: ONNX cannot hold the model; the message has the last lines.
    """
    require_offered([variant])
    if variant not in TFLITE:
        with quieted():
            return write_onnx(source.model, file)
    try:
        tf = import_module("tensorflow")
    except ImportError as error:
        raise ImportError("exporting a Keras model needs TensorFlow: pip install 'foresense[edge]'") from error
    with quieted():
        converter = tf.lite.TFLiteConverter.from_keras_model(source.model)
        TFLITE[variant](converter, tf, source)
        write_bytes(file, converter.convert())
    return f"tensorflow {tf.__version__}"


@dataclass(frozen=True)
class KerasExport:
    """What one model left as.

    Attributes:
        variants: variant -> {file, size_mib, sha256, max_abs_error, mean_abs_error, tensor_types, operators,
            n_integer_kernels, n_hybrid_kernels, input_type, output_type, converter_version}; errors in units of the
            output, over the proving windows.
        refused: variant -> first line of the reason.
    """

    variants: dict[str, dict[str, Any]]
    refused: dict[str, str]


def export_keras(folder: Path, source: KerasSource, variants: Sequence[str]) -> KerasExport:
    """Write `<variant>.tflite` or `.onnx` of every variant that can be made, is what it claims, and agrees.

    Args:
        folder: Exists.
        source: The model with its windows.
        variants: Names in VARIANTS.

    Raises:
        ValueError: no such variant.
        KerasExportError: not one variant could be made; lists every reason.
    """
    require_offered(variants)
    export = KerasExport({}, {})
    for variant in variants:
        file = folder / f"{variant}.{variant.partition('-')[0]}"
        try:
            export.variants[variant] = _prove(source, variant, file)
        except Exception as error:  # a converter may raise anything: it is recorded, and the others go on
            file.unlink(missing_ok=True)
            export.refused[variant] = f"{type(error).__name__}: {(str(error).splitlines() or ['no text'])[0]}"
    if not export.variants:
        reasons = "; ".join(f"{variant}: {reason}" for variant, reason in export.refused.items())
        raise KerasExportError(f"no variant could be exported: {reasons}")
    return export


def _prove(source: KerasSource, variant: str, file: Path) -> dict[str, Any]:
    """Convert one variant and measure it against the model; gives its facts."""
    converter = convert_keras(source, variant, file)
    types = read_types(file)
    require_keras_types(variant, types)
    error = np.abs(run_file(file, source.proving) - source.reference)
    rounding = FLOAT_TOLERANCE * max(1.0, float(np.abs(source.reference).max()))
    if not np.isfinite(error).all() or (variant.endswith("-float32") and error.max() > rounding):
        raise KerasExportError(
            f"differs from the model by {error.max():.3g} on {len(source.proving)} windows; at most {rounding:g} is "
            "rounding of float32"
        )
    return {
        "file": file.name,
        "size_mib": round(file.stat().st_size / 2**20, 4),
        "sha256": file_sha256(file),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "tensor_types": types.tensors,
        "operators": types.operators,
        "n_integer_kernels": types.n_integer_kernels,
        "n_hybrid_kernels": types.n_hybrid_kernels,
        "input_type": types.input_type,
        "output_type": types.output_type,
        "converter_version": converter,
    }


def run_file(file: Path, windows: np.ndarray, n_threads: int = 1) -> np.ndarray:
    """(n, ...), float32: what an exported file says of each window, one at a time, by its runtime, without TensorFlow.

    Args:
        file: A `.tflite`, or an `.onnx`.
        windows: (n, ...), float32.
        n_threads: Of the runtime.

    Raises:
        ImportError: the runtime is not installed; names the extra.
    """
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = n_threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, {INPUT: window[None]})[0] for window in windows])
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError("running TFLite files needs ai-edge-litert: pip install 'foresense[edge]'") from error
    with quieted():
        run, _ = open_model(Interpreter, str(file), n_threads)
    return np.asarray(outputs_of(run, windows))


def require_keras_types(variant: str, found: FileTypes) -> None:
    """Refuse a file that is not what its variant's name says; sizes prove nothing.

    Raises:
        TypesError: says what was found instead.
    """
    if variant not in TFLITE:
        return require_types(variant, found)
    n_int8, n_float16 = found.tensors.get("int8", 0), found.tensors.get("float16", 0)
    n_float = n_float16 + found.tensors.get("float32", 0)
    doors = (found.input_type, found.output_type)
    expected_doors = ("int8", "int8") if variant == "tflite-int8" else ("float32", "float32")
    problems = []
    if doors != expected_doors:
        problems.append(f"doors are {doors[0]} and {doors[1]}, expected {expected_doors[0]} on both sides")
    if variant in ("tflite-float32", "tflite-float16") and n_int8:
        problems.append(f"{n_int8} int8 tensors")
    if variant == "tflite-float32" and n_float16:
        problems.append(f"{n_float16} float16 tensors")
    if variant == "tflite-float16" and not n_float16:
        problems.append("no float16 tensor")
    if variant == "tflite-dynamic" and not found.n_hybrid_kernels:
        problems.append("no operator with int8 weights and float32 activations")
    if variant.startswith("tflite-int8"):
        n_doors = 0 if variant == "tflite-int8" else 2
        if not found.n_integer_kernels:
            problems.append("no kernel whose weights and activations are integers")
        if n_float != n_doors:
            problems.append(f"{n_float} float tensors, expected {n_doors}")
    if problems:
        raise TypesError(f"{variant}: not what it claims: {'; '.join(problems)} (tensors {found.tensors})")
