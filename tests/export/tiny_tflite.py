"""TFLite files made by hand, without a converter: one fully connected layer, float32 or int8 throughout."""

import json
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from foresense.export.pi import PiModel, Training, build_pi_folder

WEIGHTS = np.array([[1, 2, -1], [0.5, 0, 0.25]])
INPUTS = np.array([[0.5, 0.25, -0.25], [1, -1, 0.5], [0.25, 0.5, 0.75]], np.float32)
SHA256 = "ab" * 32
#: Scales of the int8 file: inputs -1 to 1, weights and outputs in quarters, so that its arithmetic is exact.
SCALE_IN, SCALE_WEIGHTS, SCALE_OUT = 2**-6, 2**-2, 2**-2


def write_float32(file: Path, weights: np.ndarray) -> Path:
    """Outputs are `inputs @ weights.T`; weights (n_out, n_in)."""
    n_out, n_in = weights.shape
    tensors = [
        _tensor("inputs", (1, n_in), schema.TensorType.FLOAT32),
        _tensor("weights", (n_out, n_in), schema.TensorType.FLOAT32, buffer=1),
        _tensor("outputs", (1, n_out), schema.TensorType.FLOAT32),
    ]
    return _write(file, tensors, weights.astype(np.float32), version=1)


def write_int8(file: Path, weights: np.ndarray) -> Path:
    """The same with int8 on both sides; `weights` are multiples of SCALE_WEIGHTS."""
    n_out, n_in = weights.shape
    tensors = [
        _tensor("inputs", (1, n_in), schema.TensorType.INT8, scale=SCALE_IN),
        _tensor("weights", (n_out, n_in), schema.TensorType.INT8, buffer=1, scale=SCALE_WEIGHTS),
        _tensor("outputs", (1, n_out), schema.TensorType.INT8, scale=SCALE_OUT),
    ]
    return _write(file, tensors, (weights / SCALE_WEIGHTS).astype(np.int8), version=4)


def make_pi_folder(root: Path) -> Path:
    """Models `thermal` (float32) and `acoustic` (int8), with the quality that a benchmark measured."""
    folder = root / "pi"
    folder.mkdir()
    made = (
        ("thermal", "tflite-float32", write_float32(root / "float32.tflite", WEIGHTS), 50.0),
        ("acoustic", "tflite-int8", write_int8(root / "int8.tflite", WEIGHTS), 20.0),
    )
    models = [
        PiModel(name, file, variant, max_size_mib, INPUTS, SHA256, Training(2, 0.5), SHA256)
        for name, variant, file, max_size_mib in made
    ]
    manifest = build_pi_folder(folder, models, pipeline="thermal")
    quality = {name: {"sha256": said["file_sha256"], "drop": 0.004} for name, said in manifest["models"].items()}
    (folder / "quality.json").write_text(json.dumps({"models": quality}))
    return folder


def _tensor(name: str, shape: tuple[int, int], kind: int, *, buffer: int = 0, scale: float = 0) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
    if scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
    return tensor


def _write(file: Path, tensors: list[schema.TensorT], weights: np.ndarray, *, version: int) -> Path:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = version
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [2], [operator]
    stored = schema.BufferT()
    stored.data = np.frombuffer(weights.tobytes(), np.uint8)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT(), stored]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(bytes(builder.Output()))
    return file
