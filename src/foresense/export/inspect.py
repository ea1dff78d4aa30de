"""What a file really computes in: types of its tensors and its operators, read from the file, never from its name."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: ONNX operators that multiply integers.
ONNX_INTEGER = ("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm")
#: TFLite operators that hold the weights of a model.
TFLITE_WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")


class TypesError(ValueError):
    """A file does not compute in the numbers that its name claims."""


@dataclass(frozen=True)
class FileTypes:
    """Types and operators of one file.

    Attributes:
        tensors: Tensors by type; for ONNX the stored ones, for TFLite all of them.
        operators: How often each operator occurs.
        n_integer_kernels: Weighted operators whose weights and activations are integers.
        n_hybrid_kernels: Weighted operators with int8 weights and float32 activations.
        input_type: Type of the input.
        output_type: Type of the output.
    """

    tensors: dict[str, int]
    operators: dict[str, int]
    n_integer_kernels: int
    n_hybrid_kernels: int
    input_type: str
    output_type: str


def read_types(file: Path) -> FileTypes:
    """Read the types of an ONNX or TFLite file.

    Raises:
        ValueError: neither `.onnx` nor `.tflite`.
    """
    readers = {".onnx": _onnx_types, ".tflite": _tflite_types}
    if file.suffix not in readers:
        raise ValueError(f"{file}: expected a file named .onnx or .tflite")
    return readers[file.suffix](file)


def require_types(variant: str, found: FileTypes) -> None:
    """Refuse a file that is not what its variant's name says.

    Raises:
        TypesError: says what was found instead.
    """
    kind = variant.partition("-")[2]
    n_int8 = found.tensors.get("int8", 0) + found.tensors.get("uint8", 0)
    n_float = sum(n for name, n in found.tensors.items() if name.startswith("float"))
    problems = []
    if kind == "float32" and n_int8:
        problems.append(f"{n_int8} int8 tensors in a float32 file")
    if kind == "dynamic" and not found.n_hybrid_kernels:
        problems.append("no operator with int8 weights and float32 activations")
    if kind == "int8" and not found.n_integer_kernels:
        problems.append("no integer kernel")
    if variant == "tflite-int8" and (n_float or {found.input_type, found.output_type} != {"int8"}):
        problems.append(
            f"{n_float} float tensors, input {found.input_type}, output {found.output_type}; full integer has none"
        )
    if problems:
        raise TypesError(f"{variant}: not what it claims: {'; '.join(problems)} (tensors {found.tensors})")


def _onnx_types(file: Path) -> FileTypes:
    import onnx

    graph = onnx.load(file).graph

    def name_of(kind: int) -> str:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)))

    operators = Counter(node.op_type for node in graph.node)
    return FileTypes(
        tensors=_sorted(Counter(name_of(stored.data_type) for stored in graph.initializer)),
        operators=_sorted(operators),
        n_integer_kernels=sum(operators[name] for name in ONNX_INTEGER),
        n_hybrid_kernels=0,
        input_type=name_of(graph.input[0].type.tensor_type.elem_type),
        output_type=name_of(graph.output[0].type.tensor_type.elem_type),
    )


def _tflite_types(file: Path) -> FileTypes:
    # the flatbuffer itself: an interpreter shows the graph after its delegate has rewritten it
    from ai_edge_litert import schema_py_generated as schema

    type_names = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
    operator_names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    codes = [operator_names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    types: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    n_integer = n_hybrid = 0
    for graph in model.subgraphs:
        kinds = [type_names[tensor.type] for tensor in graph.tensors]
        types.update(kinds)
        for operator in graph.operators:
            name = codes[operator.opcodeIndex]
            operators[name] += 1
            if name in TFLITE_WEIGHTED:
                activation, weights = (kinds[index] for index in operator.inputs[:2])
                n_integer += activation == weights == "int8"
                n_hybrid += activation == "float32" and weights == "int8"
    main = model.subgraphs[0]
    return FileTypes(
        tensors=_sorted(types),
        operators=_sorted(operators),
        n_integer_kernels=n_integer,
        n_hybrid_kernels=n_hybrid,
        input_type=type_names[main.tensors[main.inputs[0]].type],
        output_type=type_names[main.tensors[main.outputs[0]].type],
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {str(name): int(n) for name, n in sorted(counts.items())}
