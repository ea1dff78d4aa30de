"""ONNX files through torch's own exporter; int8 by onnxruntime (int8 weights, activations quantized at run time)."""

import shutil
from pathlib import Path

import onnx
import torch

from foresense.export.source import ExportSource, versions_of

OPSET = 20  # the first with Gelu as one operator


def float32(source: ExportSource, file: Path) -> str:
    """Write a float32 file of batch 1, inputs and output named as those of the source."""
    shutil.copyfile(_float32_file(source), file)
    return versions_of("torch", "onnxscript")


def int8(source: ExportSource, file: Path) -> str:
    """Write a file whose matrix products run in integers: int8 weights, activations scaled anew for each window."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(_float32_file(source), file, weight_type=QuantType.QInt8)
    return versions_of("torch", "onnxscript", "onnxruntime")


def _float32_file(source: ExportSource) -> Path:
    file = source.scratch / "float32.onnx"
    if not file.is_file():
        # dynamo=True: onnxruntime refuses the PatchTST that the legacy exporter writes
        program = torch.onnx.export(
            source.model,
            (),
            kwargs=source.example,
            dynamo=True,
            input_names=list(source.example),
            output_names=[source.output],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export gave no program; its version has changed, see stack.md")
        onnx.save(_without_traces(program.model_proto), file)
    return file


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the stack traces that the exporter keeps: paths of this machine, and other bytes on the next one."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for function in model.functions:
        for part in (function, *function.node):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    return model
