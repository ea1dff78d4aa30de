"""Open an exported encoder: ONNX by onnxruntime, TFLite by ai-edge-litert; nothing else is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.service.errors import EncoderError
from foresense.service.parts import N_FEATURES, WEEK_MINUTES, Encoder


@dataclass(frozen=True, eq=False)
class OpenedEncoder:
    """An exported encoder.

    Attributes:
        run: Calls the runtime.
        takes_batches: Whether the file takes several weeks at once; else they are asked one by one.
    """

    run: Encoder
    takes_batches: bool

    def __call__(self, weeks: np.ndarray, /) -> np.ndarray:
        """(n, 10080), float32, scaled -> (n, 96), float32."""
        return self.run(weeks) if self.takes_batches else np.concatenate([self.run(week[None]) for week in weeks])


def open_encoder(file: Path, n_threads: int = 2) -> OpenedEncoder:
    """Load a file with one input (n, 10080) and one output (n, 96) under any names; n is free or 1.

    Numbers are float32; those of a full-integer TFLite file are int8, and converted here.

    Args:
        file: Named `.onnx` or `.tflite`.
        n_threads: Of the runtime.

    Raises:
        EncoderError: another file, or other inputs and outputs.
        ImportError: the runtime is not installed; says how to get it.
    """
    readers = {".onnx": _open_onnx, ".tflite": _open_tflite}
    if file.suffix not in readers:
        raise EncoderError(f"{file}: expected a file named .onnx or .tflite")
    return readers[file.suffix](file, n_threads)


def _open_onnx(file: Path, n_threads: int) -> OpenedEncoder:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = n_threads, 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken, given = session.get_inputs(), session.get_outputs()
    _require_shapes(
        file,
        {one.name: (one.shape, one.type) for one in taken},
        {one.name: (one.shape, one.type) for one in given},
        numbers=("tensor(float)",),
    )

    def encode(weeks: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([given[0].name], {taken[0].name: weeks})[0])

    return OpenedEncoder(encode, takes_batches=taken[0].shape[0] != 1)


def _open_tflite(file: Path, n_threads: int) -> OpenedEncoder:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(f"{file}: needs the extra 'edge': pip install 'foresense[edge]'") from error
    interpreter = Interpreter(str(file), num_threads=n_threads)
    taken, given = interpreter.get_input_details(), interpreter.get_output_details()
    _require_shapes(
        file,
        {one["name"]: (one["shape_signature"].tolist(), np.dtype(one["dtype"]).name) for one in taken},
        {one["name"]: (one["shape_signature"].tolist(), np.dtype(one["dtype"]).name) for one in given},
        numbers=("float32", "int8"),
    )
    source, target = taken[0], given[0]
    interpreter.allocate_tensors()
    n_allocated = 1

    def encode(weeks: np.ndarray) -> np.ndarray:
        nonlocal n_allocated
        if len(weeks) != n_allocated:
            interpreter.resize_tensor_input(source["index"], weeks.shape, strict=True)
            interpreter.allocate_tensors()
            n_allocated = len(weeks)
        interpreter.set_tensor(source["index"], _quantized(weeks, source))
        interpreter.invoke()
        return _real(np.asarray(interpreter.get_tensor(target["index"])), target)

    return OpenedEncoder(encode, takes_batches=source["shape_signature"][0] != 1)


def _quantized(weeks: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """A full-integer file takes int8; what it cannot hold becomes its nearest."""
    if details["dtype"] == np.float32:
        return weeks
    scale, zero = details["quantization"]
    return np.asarray(np.clip(np.rint(weeks / scale) + zero, -128, 127), np.int8)


def _real(features: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    if details["dtype"] == np.float32:
        return features
    scale, zero = details["quantization"]
    return np.asarray((features - np.float32(zero)) * scale, np.float32)


def _require_shapes(
    file: Path,
    taken: Mapping[str, tuple[list[Any], str]],
    given: Mapping[str, tuple[list[Any], str]],
    *,
    numbers: Sequence[str],
) -> None:
    """One input and one output of the right length and number type, for one week or for any number of them."""
    for what, found, length in (("input", taken, WEEK_MINUTES), ("output", given, N_FEATURES)):
        fits = [
            shape[1:] == [length] and _is_one_or_free(shape[0]) and kind in numbers for shape, kind in found.values()
        ]
        if fits != [True]:
            told = ", ".join(f"{name} {shape} {kind}" for name, (shape, kind) in found.items())
            raise EncoderError(
                f"{file}: expected one {what} (n, {length}) of {' or '.join(numbers)}, n free or 1, found "
                f"{told or 'none'}; it is no exported encoder of weeks"
            )


def _is_one_or_free(n: object) -> bool:
    """TFLite writes -1 for a free number, ONNX its name or nothing."""
    return n in (1, -1) or not isinstance(n, int)
