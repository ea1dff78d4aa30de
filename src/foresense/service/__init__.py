"""What answers requests with a loaded artefact. No web framework, no TensorFlow, no MLflow: runtimes when asked for."""

from foresense.service.actigraphy import ActigraphyService, Healthy, Unhealthy
from foresense.service.artefact import open_artefact, service_from_artefact
from foresense.service.encoder import open_encoder
from foresense.service.errors import (
    EncoderError,
    MemoryLimitError,
    NotInitializedError,
    OverloadedError,
    RequestTimeoutError,
    SecurityError,
    ServiceClosedError,
    ServiceError,
    UnreferencedError,
)
from foresense.service.integrity import verify_model_integrity
from foresense.service.monitor import ActigraphyMonitor, MonitorStats, NoData
from foresense.service.parts import (
    CLINICAL,
    ActigraphyFeatures,
    ActigraphyParts,
    ActigraphyResult,
    Encoder,
    KnownAnswer,
    Metric,
    PreparedWeek,
)
from foresense.service.weights import PATModelLoader

__all__ = [
    "CLINICAL",
    "ActigraphyFeatures",
    "ActigraphyMonitor",
    "ActigraphyParts",
    "ActigraphyResult",
    "ActigraphyService",
    "Encoder",
    "EncoderError",
    "Healthy",
    "KnownAnswer",
    "MemoryLimitError",
    "Metric",
    "MonitorStats",
    "NoData",
    "NotInitializedError",
    "OverloadedError",
    "PATModelLoader",
    "PreparedWeek",
    "RequestTimeoutError",
    "SecurityError",
    "ServiceClosedError",
    "ServiceError",
    "Unhealthy",
    "UnreferencedError",
    "open_artefact",
    "open_encoder",
    "service_from_artefact",
    "verify_model_integrity",
]
