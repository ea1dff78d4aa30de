"""Versions of models in MLflow's registry: champion, challenger, and how they came to be; MLflow comes when opened."""

from foresense.registry.folder import (
    ARTEFACT,
    ARTEFACT_FOLDER,
    SHIPPED,
    Manifest,
    VersionError,
    seal_artefact,
    seal_version,
    verify_version,
)
from foresense.registry.history import Event, champions, last_refusal, needed_versions, rolled_back
from foresense.registry.names import quoted, registered_name
from foresense.registry.store import (
    CHALLENGER,
    CHAMPION,
    Registry,
    RegistryError,
    Version,
    fetch,
    known_assets,
    open_registry,
)

__all__ = [
    "ARTEFACT",
    "ARTEFACT_FOLDER",
    "CHALLENGER",
    "CHAMPION",
    "SHIPPED",
    "Event",
    "Manifest",
    "Registry",
    "RegistryError",
    "Version",
    "VersionError",
    "champions",
    "fetch",
    "known_assets",
    "last_refusal",
    "needed_versions",
    "open_registry",
    "quoted",
    "registered_name",
    "rolled_back",
    "seal_artefact",
    "seal_version",
    "verify_version",
]
