"""Runs an exported encoder; needs numpy and onnxruntime or ai-edge-litert, and nothing of this project."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

INPUT, OUTPUT = "actigraphy_input", "features"


def open_features(file: Path, n_threads: int = 1) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Load a variant.

    Args:
        file: `.onnx` or `.tflite`.
        n_threads: Of the runtime.

    Returns:
        A function from {"actigraphy_input": (1, n_minutes)}, standardised counts, to (1, 96) features; both float32.
    """
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = n_threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda inputs: np.asarray(session.run([OUTPUT], dict(inputs))[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=n_threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (scale_in, zero_in), (scale_out, zero_out) = source["quantization"], target["quantization"]

    def features(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        week = inputs[INPUT]
        if source["dtype"] == np.int8:
            week = np.clip(np.rint(week / scale_in) + zero_in, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], week)
        interpreter.invoke()
        found = np.asarray(interpreter.get_tensor(target["index"]))
        return found if found.dtype != np.int8 else ((found - np.float32(zero_out)) * scale_out).astype(np.float32)

    return features
