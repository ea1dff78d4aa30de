"""What stands in MLflow is loaded by MLflow itself and forecasts the same."""

from pathlib import Path

import numpy as np
import pytest

from foresense.config import CandidateConfig
from foresense.export.quiet import quieted
from foresense.tracking import save_mlflow_model


@pytest.mark.slow
def test_mlflow_loads_the_model_and_knows_its_signature(tmp_path: Path) -> None:
    with quieted():
        import mlflow.pyfunc
        import torch

        from foresense.models import build_model

        model = build_model(CandidateConfig(model="dlinear"), n_channels=2, context=64, horizon=8).eval()
        context = torch.rand(1, 64, 2)
        forecast = model(context).detach().numpy()
        names = {"input_names": ["context"], "output_names": ["forecast"]}
        torch.onnx.export(model, (context,), tmp_path / "model.onnx", dynamo=True, verbose=False, **names)
        folder = save_mlflow_model(
            tmp_path / "mlflow-model", tmp_path / "model.onnx", context=context.numpy(), forecast=forecast
        )
        loaded = mlflow.pyfunc.load_model(str(folder))
    np.testing.assert_allclose(loaded.predict({"context": context.numpy()})["forecast"], forecast, atol=1e-6)
    assert [(one.name, one.shape) for one in loaded.metadata.signature.inputs] == [("context", (1, 64, 2))]
    assert loaded.input_example["context"].shape == (1, 64, 2)
    assert not list(folder.rglob("*.pkl"))
