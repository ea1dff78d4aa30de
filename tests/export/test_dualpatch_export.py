"""Mixed windows out of the house: raw values with NaN go into the file, and it says what the network says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foresense.export.quiet import quieted
from foresense.export.source import ExportSource, convert
from foresense.models.dualpatch import DualPatch
from tests.models.mixed_batches import batch_of, tiny_model

TOLERANCE = 1e-5
SHAPES: tuple[dict[str, Any], ...] = (
    {"branches": "both", "head": "steps"},
    {"branches": "both", "fusion": "gate", "pooling": "attention"},
    {"branches": "pointwise"},
)


def source_of(model: DualPatch, folder: Path) -> ExportSource:
    """Windows with holes, unseen categories and padding; the first one is whole, the second one has one step."""
    batch = batch_of(model.config, 8)
    batch["numbers"][2, 0] = float("nan")
    batch["numbers"][3, :, :2] = torch.tensor([float("inf"), -float("inf")])
    batch["lengths"][1] = 1
    return ExportSource(model, {name: rows.numpy() for name, rows in batch.items()}, "prediction", folder)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(shape.values()))
def test_an_onnx_file_takes_raw_values_with_holes_and_padding(shape: dict[str, Any], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source = source_of(tiny_model(**shape), tmp_path)
    file = tmp_path / "model.onnx"
    convert(source, "onnx-float32", file)
    session = onnxruntime.InferenceSession(file)
    assert [door.name for door in session.get_inputs()] == list(source.calibration)
    found = np.concatenate([session.run(None, example)[0] for example in source.examples])
    assert np.abs(found - source.reference).max() <= TOLERANCE
    assert np.isfinite(found).all()


def test_a_tflite_file_takes_raw_values_with_holes_and_padding(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    source = source_of(tiny_model(branches="both"), tmp_path)
    file = tmp_path / "model.tflite"
    convert(source, "tflite-float32", file)
    with quieted():
        runner = interpreters.Interpreter(str(file)).get_signature_runner("serving_default")
    doors = {name: details["dtype"] for name, details in runner.get_input_details().items()}
    assert set(doors) == set(source.calibration)
    assert {doors[name] for name in ("categories", "lengths", "static_categories")} == {np.int32}  # litert narrows them
    found = [
        runner(**{name: rows.astype(doors[name]) for name, rows in example.items()}) for example in source.examples
    ]
    assert np.abs(np.concatenate([one["prediction"] for one in found]) - source.reference).max() <= TOLERANCE
