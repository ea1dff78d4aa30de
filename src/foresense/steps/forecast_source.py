"""Which version forecasts an asset: the champion of the registry, or, when asked for, the newest training."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from foresense.config import PipelineConfig
from foresense.models import model_sha256
from foresense.signals import Layout, group_folders, read_json, recordings_digest
from foresense.steps.forecast_context import SkippedForecastError
from foresense.steps.forecast_version import VersionRef


def champions(layout: Layout, pipeline: str, config: PipelineConfig) -> Callable[[str], VersionRef]:
    """Asset to its champion, fetched and verified.

    The function that is returned raises SkippedForecastError for an asset without one; says what to do.
    """
    from foresense.registry import open_registry

    registry = open_registry(layout, pipeline)

    @cache
    def of_group(group: str) -> VersionRef:
        champion = registry.champion(group)
        if champion is None:
            raise SkippedForecastError(
                f"no champion of {group!r}; promote one (`foresense promote {group} --reason ...`), or forecast with "
                "the newest training, which nobody promoted (--latest)"
            )
        return VersionRef(str(champion.number), registry.fetch(group, champion.number))

    return lambda asset: of_group(_group(asset, config))


def newest_trainings(layout: Layout, pipeline: str, config: PipelineConfig) -> Callable[[str], VersionRef]:
    """Asset to what the last training left in `models/<pipeline>/`, built as a version; nobody promoted it.

    The label is `latest-<first letters of the weights' SHA-256>`. What was built of the same weights and recordings
    before is used again.

    The function that is returned raises SkippedForecastError for an asset that has no model.
    """
    folders = {
        read_json(folder / "index.json")["group"]: folder for folder in group_folders(layout.of(pipeline).windows)
    }

    @cache
    def of_group(group: str) -> VersionRef:
        trained = layout.of(pipeline).models / folders[group].name if group in folders else None
        if trained is None or not (trained / "candidate.json").is_file():
            raise SkippedForecastError(f"no model of {group!r}; run `foresense train {pipeline}` first")
        digest = model_sha256(trained)
        return VersionRef(f"latest-{digest[:8]}", _built(layout, pipeline, folders[group].name, digest))

    return lambda asset: of_group(_group(asset, config))


def _built(layout: Layout, pipeline: str, name: str, digest: str) -> Path:
    """Folder of the version; built where there is none of these weights and recordings."""
    from foresense.steps.versions import build_version

    manifest = layout.cache / "built" / pipeline / name / "manifest.json"
    if manifest.is_file():
        content = read_json(manifest)
        recordings_sha256 = recordings_digest(layout.of(pipeline).windows)
        if (content["model_sha256"], content["data_sha256"]) == (digest, recordings_sha256):
            return manifest.parent
    return build_version(layout, pipeline, name)


def _group(asset: str, config: PipelineConfig) -> str:
    return asset if config.window.group == "asset" else "all"
