"""MetricSink -> MLflow: the local store in mlflow/, or a server by MLFLOW_TRACKING_URI."""

from foresense.tracking.mlflow_model import save_mlflow_model
from foresense.tracking.mlflow_store import (
    MlflowRun,
    add_to_run,
    attach_to_model,
    open_client,
    open_run,
    open_store,
    run_of_model,
    tracking_uri,
)

__all__ = [
    "MlflowRun",
    "add_to_run",
    "attach_to_model",
    "open_client",
    "open_run",
    "open_store",
    "run_of_model",
    "save_mlflow_model",
    "tracking_uri",
]
