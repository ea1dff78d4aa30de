"""Versions and their aliases in MLflow's model registry, with a history that survives a death between any two calls."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from foresense.registry.folder import VersionError, verify_version
from foresense.registry.history import MOVING, Event, champions, new_event
from foresense.registry.names import registered_name
from foresense.signals import Layout, tree_sha256

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
MAX_REASON = 1500  # an event with a reason and one that it overrules must fit into MLflow's 5000 characters of a tag
_EVENT = "event."  # tags of a registered model that hold its history: event.<number>.<random>
_SHA = "version_sha256"


class RegistryError(ValueError):
    """What was asked of the registry cannot be done."""


@dataclass(frozen=True)
class Version:
    """One registered version, never changed: what forecasts one asset, or the artefact of a pipeline of another kind.

    Attributes:
        pipeline: Whose model.
        asset: The machine, or `all`; of an artefact the group.
        number: Counts up from 1 for each asset.
        sha256: Tree digest of its folder.
        model_sha256: Of the weights.
        data_sha256: Of the recordings that it was trained on.
        trained_until_s: Time of the last row of training and validation, seconds since 1970 UTC; None of an artefact.
        night: `YYYY-MM-DD` of the night that registered it; None where a person did.
        created_utc: ISO 8601.
        run_id: Run of MLflow that holds its files.
        place: Folder inside the artifacts of that run.
    """

    pipeline: str
    asset: str
    number: int
    sha256: str
    model_sha256: str
    data_sha256: str
    trained_until_s: int | None
    night: str | None
    created_utc: str
    run_id: str
    place: str


def open_registry(layout: Layout, pipeline: str) -> "Registry":
    """The registry of one pipeline, in the local store or on the server of `MLFLOW_TRACKING_URI`."""
    from foresense.tracking import open_store

    client, experiment_id = open_store(layout, pipeline)
    return Registry(client, experiment_id, pipeline, layout)


def known_assets(layout: Layout) -> tuple[tuple[str, str], ...]:
    """(pipeline, asset) of everything that was ever registered, sorted."""
    from foresense.tracking import open_client

    models = all_pages(open_client(layout).search_registered_models)
    return tuple(
        sorted((m.tags["pipeline"], m.tags["asset"]) for m in models if {"pipeline", "asset"} <= m.tags.keys())
    )


def fetched_versions(layout: Layout) -> Path:
    """Folder of the local copies, each named by its digest."""
    return layout.cache / "versions"


def fetch(layout: Layout, pipeline: str, asset: str, which: str | int = CHAMPION) -> Path:
    """Folder of a version, downloaded and verified; see `Registry.fetch`."""
    return open_registry(layout, pipeline).fetch(asset, which)


@dataclass(frozen=True)
class Registry:
    """The versions of one pipeline.

    A change of the champion is written in three calls: the event (not done), the alias, the event (done). Whoever
    comes next and finds an event that is not done finishes it, so that history and alias agree again and the version
    before is known. One process at a time changes an asset on one machine.

    Attributes:
        client: Of MLflow.
        experiment_id: Experiment of the pipeline, where a run is made for weights that this store did not train.
        pipeline: Name in params.yaml.
        layout: Where the local cache and the locks are.
    """

    client: "MlflowClient"
    experiment_id: str
    pipeline: str
    layout: Layout

    def register(self, folder: Path, *, night: str | None = None) -> Version:
        """Register a version, and let the alias `challenger` point to it. Equal folders are one version.

        The files are uploaded before the version is made: there is no version without its files.

        Args:
            folder: As `steps.versions.build_version` or `steps.artefact_versions.build_artefact_version` leaves it.
            night: `YYYY-MM-DD`, where a night registers it.

        Raises:
            VersionError: the folder is not what its manifest says, or of another pipeline.
        """
        from foresense.tracking import run_of_model

        manifest = verify_version(folder)
        if manifest.pipeline != self.pipeline:
            raise VersionError(f"{folder}: a version of pipeline {manifest.pipeline!r}, expected {self.pipeline!r}")
        digest, name = tree_sha256(folder), registered_name(self.pipeline, manifest.asset)
        until_s = manifest.trained_until_s
        with self._alone(manifest.asset):
            self._require_model(manifest.asset)
            found = self._search(f"name = '{name}' and tags.{_SHA} = '{digest}'")
            if not found:
                run_id = run_of_model(self.client, self.experiment_id, self.pipeline, manifest.model_sha256)
                place = f"versions/{digest[:16]}"
                self.client.log_artifacts(run_id, str(folder), place)
                tags = {
                    _SHA: digest,
                    "model_sha256": manifest.model_sha256,
                    "data_sha256": manifest.data_sha256,
                    "place": place,
                    **({} if until_s is None else {"trained_until_s": str(until_s)}),
                    **({"night": night} if night else {}),
                }
                source = f"{self.client.get_run(run_id).info.artifact_uri}/{place}"
                found = [self.client.create_model_version(name, source, run_id=run_id, tags=tags)]
            version = self._version(manifest.asset, found[0])
            self.client.set_registered_model_alias(name, CHALLENGER, str(version.number))
        return version

    def assets(self) -> tuple[str, ...]:
        """Assets of this pipeline that have a version, sorted."""
        return tuple(asset for pipeline, asset in known_assets(self.layout) if pipeline == self.pipeline)

    def versions(self, asset: str) -> tuple[Version, ...]:
        """Every version of an asset, oldest first; empty where there is none."""
        found = self._search(f"name = '{registered_name(self.pipeline, asset)}'")
        return tuple(sorted((self._version(asset, one) for one in found), key=lambda one: one.number))

    def version(self, asset: str, which: str | int) -> Version:
        """One version by its number or alias.

        Raises:
            RegistryError: there is none; says which there are.
        """
        self._require_known(asset)
        number = which if isinstance(which, int) else self._aliases(asset).get(which)
        versions = {one.number: one for one in self.versions(asset)}
        if number not in versions:
            known = ", ".join(str(one) for one in versions) or "none"
            asked = f"version {which}" if isinstance(which, int) else f"alias {which!r}"
            advice = "; `foresense promote` makes one the champion" if which == CHAMPION else ""
            raise RegistryError(f"{self.pipeline}/{asset}: no {asked} (versions: {known}){advice}")
        return versions[number]

    def champion(self, asset: str) -> Version | None:
        """The promoted version; None where none was."""
        return self._by_alias(asset, CHAMPION)

    def challenger(self, asset: str) -> Version | None:
        """The newest registered version; None where there is none."""
        return self._by_alias(asset, CHALLENGER)

    def history(self, asset: str) -> tuple[Event, ...]:
        """Every promotion, refusal and rollback of an asset, oldest first."""
        return tuple(event for _, event in self._events(asset))

    def fetch(self, asset: str, which: str | int = CHAMPION) -> Path:
        """Bring a version into the local cache, and compare every file with its manifest.

        Args:
            asset: The machine, or `all`.
            which: `champion`, `challenger`, or a number.

        Returns:
            `.foresense/versions/<digest>`, verified.

        Raises:
            RegistryError: no such version.
            VersionError: a file is altered, missing or too much; says which.
        """
        version = self.version(asset, which)
        folder = fetched_versions(self.layout) / version.sha256
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder.parent) as scratch:
                Path(self.client.download_artifacts(version.run_id, version.place, scratch)).rename(folder)
        verify_version(folder)
        if (digest := tree_sha256(folder)) != version.sha256:
            raise VersionError(
                f"{folder}: its files agree with its manifest, but the registry names another version "
                f"({version.sha256[:12]}… registered, {digest[:12]}… found): manifest.json is altered; nothing was "
                "loaded. Delete the folder to fetch it again"
            )
        return folder

    def promote(
        self, asset: str, number: int, *, who: str, reason: str, night: str | None = None, overrules: str | None = None
    ) -> Event:
        """Make a version the champion, and record it; a repeat after a death finishes what was begun.

        Raises:
            RegistryError: no reason, or no such version.
        """
        _require_reason(reason)
        self.version(asset, number)
        with self._alone(asset):
            self._mend(asset)
            events, now = self.history(asset), self._aliases(asset).get(CHAMPION)
            last = next((event for event in reversed(events) if event.kind in MOVING), None)
            if now == number and last is not None:
                return last
            return self._move(asset, new_event("promotion", who, reason, now, number, night, overrules))

    def rollback(self, asset: str, *, who: str, reason: str) -> Event:
        """Make the champion before the champion again, and record it.

        Raises:
            RegistryError: no reason, no champion before, or its files were collected.
        """
        _require_reason(reason)
        self._require_known(asset)
        with self._alone(asset):
            finished = self._mend(asset)
            if finished is not None and finished.kind == "rollback":
                return finished
            pile = champions(self.history(asset))
            if len(pile) < 2:
                now = f"version {pile[-1]} is the first" if pile else "there is none now"
                raise RegistryError(
                    f"{self.pipeline}/{asset}: no champion to go back to ({now}); name a version instead: "
                    f"foresense promote {asset} --version N --reason ..."
                )
            self.version(asset, pile[-2])
            return self._move(asset, new_event("rollback", who, reason, pile[-1], pile[-2]))

    def refuse(self, asset: str, number: int, *, who: str, reason: str, night: str | None = None) -> Event:
        """Record that a version was not promoted; it keeps its alias and its evidence.

        Raises:
            RegistryError: no reason, or no such version.
        """
        _require_reason(reason)
        self.version(asset, number)
        with self._alone(asset):
            self._mend(asset)
            event = new_event("refusal", who, reason, self._aliases(asset).get(CHAMPION), number, night)
            for known in self.history(asset):
                if night is not None and replace(known, when_utc=event.when_utc) == event:
                    return known
            self._write(asset, event)
        return event

    def mend(self, asset: str) -> Event | None:
        """Finish the change that a dead process began; every change does so first.

        Returns:
            What was finished; None where nothing was left.
        """
        with self._alone(asset):
            return self._mend(asset)

    def attach(self, version: Version, folder: Path, place: str) -> None:
        """Keep a folder (evidence) with the run that holds a version's files."""
        self.client.log_artifacts(version.run_id, str(folder), place)

    def _move(self, asset: str, event: Event) -> Event:
        """Write the event, set the alias, mark the event as done."""
        key = self._write(asset, replace(event, is_done=False))
        return self._finish(asset, key, event)

    def _finish(self, asset: str, key: str, event: Event) -> Event:
        name = registered_name(self.pipeline, asset)
        self.client.set_registered_model_alias(name, CHAMPION, str(event.to_version))
        self.client.set_registered_model_tag(name, key, event.done().as_text())
        return event.done()

    def _mend(self, asset: str) -> Event | None:
        """Finish what a dead process left, or record an alias that someone moved; returns what was finished."""
        events = self._events(asset)
        left = next(((key, event) for key, event in reversed(events) if not event.is_done), None)
        if left is not None:
            return self._finish(asset, *left)
        pile, now = champions(event for _, event in events), self._aliases(asset).get(CHAMPION)
        before = pile[-1] if pile else None
        if now != before:
            self._write(
                asset, new_event("moved", "unknown", "the alias was set in MLflow, not by foresense", before, now)
            )
        return None

    def _write(self, asset: str, event: Event) -> str:
        key = f"{_EVENT}{len(self._events(asset)) + 1:06d}.{token_hex(4)}"
        self.client.set_registered_model_tag(registered_name(self.pipeline, asset), key, event.as_text())
        return key

    def _events(self, asset: str) -> list[tuple[str, Event]]:
        model = self._model(asset)
        tags = model.tags if model is not None else {}
        return [(key, Event.from_text(tags[key])) for key in sorted(tags) if key.startswith(_EVENT)]

    def _aliases(self, asset: str) -> dict[str, int]:
        model = self._model(asset)
        return {} if model is None else {alias: int(number) for alias, number in model.aliases.items()}

    def _by_alias(self, asset: str, alias: str) -> Version | None:
        return self.version(asset, alias) if alias in self._aliases(asset) else None

    def _model(self, asset: str) -> Any | None:
        found = self.client.search_registered_models(f"name = '{registered_name(self.pipeline, asset)}'")
        return found[0] if found else None

    def _require_model(self, asset: str) -> None:
        if self._model(asset) is None:
            tags = {"pipeline": self.pipeline, "asset": asset}
            self.client.create_registered_model(registered_name(self.pipeline, asset), tags=tags)

    def _require_known(self, asset: str) -> None:
        if self._model(asset) is None:
            known = self.assets()
            near = get_close_matches(asset, known, n=3)
            advice = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise RegistryError(f"{self.pipeline}: asset {asset!r} has no version{advice} ({len(known)} assets have)")

    def _search(self, asked: str) -> list["ModelVersion"]:
        return all_pages(self.client.search_model_versions, asked)

    def _version(self, asset: str, found: "ModelVersion") -> Version:
        tags = found.tags
        return Version(
            pipeline=self.pipeline,
            asset=asset,
            number=int(found.version),
            sha256=tags[_SHA],
            model_sha256=tags["model_sha256"],
            data_sha256=tags["data_sha256"],
            trained_until_s=int(tags["trained_until_s"]) if "trained_until_s" in tags else None,
            night=tags.get("night"),
            created_utc=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
            run_id=str(found.run_id),
            place=tags["place"],
        )

    @contextmanager
    def _alone(self, asset: str) -> Iterator[None]:
        """One process at a time changes this asset; the kernel lets go of the lock however a process ends."""
        path = self.layout.cache / "locks" / f"registry-{registered_name(self.pipeline, asset)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise RegistryError('--reason: empty; say in words why, it stays in the history (--reason "bearing replaced")')
    if len(reason) > MAX_REASON:
        raise RegistryError(f"--reason: {len(reason)} characters, a tag of MLflow holds {MAX_REASON}; say it shorter")


def all_pages(search: Any, asked: str | None = None) -> list[Any]:
    """Every entry of a search of MLflow, which answers in pages."""
    page = search(asked) if asked else search()
    found = list(page)
    while page.token:
        page = search(asked, page_token=page.token) if asked else search(page_token=page.token)
        found += page
    return found
