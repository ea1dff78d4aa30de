"""Reads a source of machines in known conditions by its name."""

from pathlib import Path

from pydantic import TypeAdapter

from foresense.config.anomaly import AnomalyIngestConfig
from foresense.sources import Places
from foresense.sources.conditions import FoundConditions, load_conditions


def read(source: str, folder: Path, **asked: object) -> FoundConditions:
    config = TypeAdapter(AnomalyIngestConfig).validate_python({"source": source, **asked})
    return load_conditions(source)(config, Places(folder, folder, folder))
