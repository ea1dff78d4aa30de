"""An exported file as a model of MLflow: signature, input example, and no pickle anywhere."""

from pathlib import Path

import numpy as np


def save_mlflow_model(folder: Path, onnx_file: Path, *, context: np.ndarray, forecast: np.ndarray) -> Path:
    """Write an MLflow model that `mlflow models serve` and `mlflow.pyfunc.load_model` read.

    Args:
        folder: Where to write; must not exist.
        onnx_file: The forecaster, float32.
        context: (1, context, n_channels), float32, scaled: the input example.
        forecast: (1, horizon, n_channels), float32, scaled: gives the shape of the output.

    Returns:
        `folder`.
    """
    import onnx  # with mlflow.onnx three seconds of imports, which only the step `export` needs
    from mlflow import onnx as mlflow_onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(context.dtype, context.shape, "context")]),
        outputs=Schema([TensorSpec(forecast.dtype, forecast.shape, "forecast")]),
    )
    mlflow_onnx.save_model(
        onnx.load(onnx_file),
        folder,
        signature=signature,
        input_example={"context": context},
        onnx_execution_providers=["CPUExecutionProvider"],
        pip_requirements=["onnxruntime", "numpy"],
    )
    return folder
