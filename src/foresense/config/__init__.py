"""Typed sections of params.yaml and devices/*.yaml: frozen, checked once, every problem reported together."""

from foresense.config.actigraphy_pipeline import ActigraphyConfig
from foresense.config.activity import ActivityConfig
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.config.device import DeviceConfig, read_device
from foresense.config.engine import EngineConfig
from foresense.config.mixed_pipeline import MixedConfig
from foresense.config.pipeline import (
    STEPS,
    BenchmarkConfig,
    CandidateConfig,
    ChannelConfig,
    ExportConfig,
    FeaturesConfig,
    FleetConfig,
    GateConfig,
    IngestConfig,
    PipelineConfig,
    SplitConfig,
    TrainConfig,
    WindowConfig,
)
from foresense.config.reading import (
    AnyPipeline,
    ConfigError,
    Section,
    read_any,
    read_pipeline,
    read_pipelines,
    read_stages,
    steps_with_section,
)

__all__ = [
    "STEPS",
    "ActigraphyConfig",
    "ActivityConfig",
    "AnomalyConfig",
    "AnyPipeline",
    "BenchmarkConfig",
    "CandidateConfig",
    "ChannelConfig",
    "ConfigError",
    "DeviceConfig",
    "EngineConfig",
    "ExportConfig",
    "FeaturesConfig",
    "FleetConfig",
    "GateConfig",
    "IngestConfig",
    "MixedConfig",
    "PipelineConfig",
    "Section",
    "SplitConfig",
    "TrainConfig",
    "WindowConfig",
    "read_any",
    "read_device",
    "read_pipeline",
    "read_pipelines",
    "read_stages",
    "steps_with_section",
]
