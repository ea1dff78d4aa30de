"""What may be deleted of the local MLflow store, oldest first: versions that nothing needs, files of old runs."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from foresense.registry.history import needed_versions
from foresense.registry.names import registered_name
from foresense.registry.store import Registry, Version, all_pages, fetched_versions, known_assets, open_registry
from foresense.signals import Layout

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Collectable:
    """Files of the local store that nothing needs.

    Attributes:
        label: What they are, for a person.
        time_ms: When they came to be, milliseconds since 1970.
        paths: Files and folders.
        n_bytes: Their size.
        version: The version whose files they are; None of a run.
    """

    label: str
    time_ms: int
    paths: tuple[Path, ...]
    n_bytes: int
    version: Version | None = None


@dataclass(frozen=True)
class Needed:
    """What must not be deleted.

    Attributes:
        versions: (pipeline, asset, number).
        digests: Of those versions: names of their fetched copies.
        run_ids: Runs that hold the files and the evidence of those versions.
        nights: `YYYY-MM-DD`: nights that made those versions; their data and weights stay in DVC's cache.
    """

    versions: frozenset[tuple[str, str, int]]
    digests: frozenset[str]
    run_ids: frozenset[str]
    nights: frozenset[str]


def find_needed(layout: Layout, depth: int) -> tuple[Needed, list[Version]]:
    """What must stay of every pipeline and asset, and the versions that need not.

    Args:
        layout: Where the store is.
        depth: Champions before the one now that a rollback may go back to.
    """
    kept: list[Version] = []
    free: list[Version] = []
    registries: dict[str, Registry] = {}
    for pipeline, asset in known_assets(layout):
        registry = registries.setdefault(pipeline, open_registry(layout, pipeline))
        champion, challenger = registry.champion(asset), registry.challenger(asset)
        numbers = set(needed_versions(registry.history(asset), challenger.number if challenger else None, depth))
        numbers |= {champion.number} if champion else set()
        for version in registry.versions(asset):
            (kept if version.number in numbers else free).append(version)
    needed = Needed(
        versions=frozenset((one.pipeline, one.asset, one.number) for one in kept),
        digests=frozenset(one.sha256 for one in kept),
        run_ids=frozenset(one.run_id for one in kept),
        nights=frozenset(one.night for one in kept if one.night is not None),
    )
    return needed, free


def collectables(
    layout: Layout, client: "MlflowClient", needed: Needed, free: Sequence[Version], *, keep_nights: int
) -> list[Collectable]:
    """Everything that may go: copies that can be fetched again, then what the local store holds, oldest first.

    A run stays whole when it holds a needed version, still runs, or began in the newest `keep_nights` days of its
    pipeline; of the others the files may go, never the numbers.
    """
    found = []
    for version in free:
        folder = _artifacts(layout, client.get_run(version.run_id))
        if folder is not None and (folder / version.place).is_dir():
            entry = client.get_model_version(registered_name(version.pipeline, version.asset), str(version.number))
            label = f"version {version.number} of {version.pipeline}/{version.asset}"
            found.append(_collectable(label, entry.creation_timestamp, (folder / version.place,), version))
    places = {(version.run_id, version.place) for version in free}
    for run in _old_runs(client, keep_nights):
        folder = _artifacts(layout, run)
        if folder is not None and run.info.run_id not in needed.run_ids:
            kept = {folder / place for run_id, place in places if run_id == run.info.run_id}
            label = f"files of run {run.info.run_name or run.info.run_id[:8]}"
            found.append(_collectable(label, run.info.start_time, _without(folder, kept)))
    copies = [
        _collectable(f"fetched copy {folder.name[:12]} of a version", 0, (folder,))
        for folder in sorted(fetched_versions(layout).glob("*"))
        if folder.name not in needed.digests
    ]
    return [*copies, *sorted((one for one in found if one.paths), key=lambda one: one.time_ms)]


def delete(client: "MlflowClient", needed: Needed, one: Collectable) -> None:
    """Delete what `collectables` named: a version first in the registry, so that no entry is left without files.

    Raises:
        ValueError: it is needed.
    """
    version = one.version
    if version is not None:
        if (version.pipeline, version.asset, version.number) in needed.versions:
            raise ValueError(f"{one.label} is needed and was not deleted")
        client.delete_model_version(registered_name(version.pipeline, version.asset), str(version.number))
    for path in one.paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is none."""
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in inside if one.is_file() and not one.is_symlink())


def _collectable(label: str, time_ms: int, paths: tuple[Path, ...], version: Version | None = None) -> Collectable:
    return Collectable(label, time_ms, paths, sum(map(bytes_of, paths)), version)


def _without(folder: Path, kept: set[Path]) -> tuple[Path, ...]:
    """What lies in a run's folder, but for the files of versions, which go by themselves."""
    if not folder.is_dir():
        return ()
    inside = [path for path in folder.iterdir() if path.name != "versions"]
    return tuple(sorted([*inside, *(path for path in folder.glob("versions/*") if path not in kept)]))


def _old_runs(client: "MlflowClient", keep_nights: int) -> Iterator[Any]:
    """Finished runs that began before the newest `keep_nights` days of their pipeline."""
    newest_first = partial(client.search_runs, order_by=["attributes.start_time DESC"])
    for experiment in client.search_experiments():
        runs = all_pages(partial(newest_first, [experiment.experiment_id]))
        first_ms = runs[0].info.start_time - keep_nights * _DAY_MS if runs else 0
        yield from (run for run in runs if run.info.start_time <= first_ms and run.info.status != "RUNNING")


def _artifacts(layout: Layout, run: Any) -> Path | None:
    """Folder of a run's files, where it lies in the local store."""
    address = urlparse(run.info.artifact_uri)
    folder = Path(unquote(address.path))
    return folder if address.scheme in ("", "file") and folder.is_relative_to(layout.tracking.resolve()) else None
