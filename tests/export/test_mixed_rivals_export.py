"""Rivals out of the house: raw windows with NaN go into a file, and it says what the network says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foresense.export.quiet import quieted
from foresense.export.source import ExportSource, convert
from foresense.training import mixed_rivals
from tests.models.rival_worlds import learnt

TOLERANCE = 1e-5  # relative to the largest output
RIVALS = [("logistic", 2), ("boosting", 6), ("last_week", None)]


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_rivals, "MAX_ROUNDS", 30)
    monkeypatch.setattr(mixed_rivals, "ROUNDS_OF_FOLDS", 15)


def source_of(name: str, n_classes: int | None, folder: Path) -> ExportSource:
    """Windows with holes; the first channel of the second one, and all of the third one, is missing."""
    model, inputs, _ = learnt(name, n_classes)
    some = {name: rows[:12].clone() for name, rows in inputs.items()}
    some["numbers"][1, 0] = some["numbers"][2] = float("nan")
    some["numbers"][3, :, -2:] = torch.tensor([float("inf"), -float("inf")])
    return ExportSource(model, {name: rows.numpy() for name, rows in some.items()}, "prediction", folder)


def require_agreement(found: np.ndarray, source: ExportSource) -> None:
    assert found.shape == source.reference.shape
    assert np.isfinite(found).all()
    shown = source.reference[source.reference > -1e3]  # not what stands for a probability of 0
    assert np.std(shown) > 0
    assert np.abs(found - source.reference)[source.reference > -1e3].max() <= TOLERANCE * np.abs(shown).max()


@pytest.mark.parametrize(("name", "n_classes"), RIVALS)
def test_an_onnx_file_takes_raw_values_with_holes(name: str, n_classes: int | None, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    source = source_of(name, n_classes, tmp_path)
    file = tmp_path / "model.onnx"
    convert(source, "onnx-float32", file)
    session = onnxruntime.InferenceSession(file)
    assert [door.name for door in session.get_inputs()] == list(source.calibration)
    require_agreement(np.concatenate([session.run(None, example)[0] for example in source.examples]), source)


@pytest.mark.parametrize(("name", "n_classes"), RIVALS)
def test_a_tflite_file_takes_raw_values_with_holes(name: str, n_classes: int | None, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    source = source_of(name, n_classes, tmp_path)
    file = tmp_path / "model.tflite"
    convert(source, "tflite-float32", file)
    with quieted():
        runner = interpreters.Interpreter(str(file)).get_signature_runner("serving_default")
    doors = {door: details["dtype"] for door, details in runner.get_input_details().items()}
    assert set(doors) == set(source.calibration)
    found = [
        runner(**{door: rows.astype(doors[door]) for door, rows in example.items()})["prediction"]
        for example in source.examples
    ]
    require_agreement(np.concatenate(found), source)
