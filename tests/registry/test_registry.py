"""The registry in a real SQLite store and behind a real server: equal versions are one, and no death loses anything."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foresense.registry import Registry, RegistryError, VersionError, known_assets, open_registry, seal_version
from foresense.registry.folder import PARTS
from foresense.signals import Layout

#: Seven more processes that run what nobody asks for here.
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
WRITES = (
    "create_run",
    "set_terminated",
    "log_artifacts",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_alias",
    "set_registered_model_tag",
)


@pytest.fixture
def layout(mlflow_store: Path, tmp_path: Path) -> Layout:
    return Layout(tmp_path, tmp_path)


@pytest.fixture
def registry(layout: Layout) -> Registry:
    return open_registry(layout, "plant")


def make_version(layout: Layout, text: str, *, asset: str = "lathe-1", pipeline: str = "plant") -> Path:
    """A folder with every part of a version; `text` stands for the weights."""
    folder = layout.root / "made" / f"{asset.replace('/', '-')}-{text}"
    for name in (*PARTS, "reference.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name.endswith("safetensors") else "{}")
    seal_version(folder, pipeline=pipeline, asset=asset, data_sha256="ab" * 32, trained_until_s=1_700_000_000)
    return folder


def registered(registry: Registry, n: int) -> None:
    for number in range(1, n + 1):
        assert registry.register(make_version(registry.layout, f"v{number}")).number == number


@pytest.mark.slow
def test_equal_folders_are_one_version_and_the_challenger_is_the_newest(registry: Registry) -> None:
    first = registry.register(make_version(registry.layout, "v1"), night="2026-11-20")
    second = registry.register(make_version(registry.layout, "v2"))
    assert registry.register(make_version(registry.layout, "v1")) == first
    assert registry.versions("lathe-1") == (first, second)
    assert (first.number, first.night, first.trained_until_s) == (1, "2026-11-20", 1_700_000_000)
    assert registry.challenger("lathe-1") == first
    assert registry.champion("lathe-1") is None
    assert registry.client.get_run(first.run_id).data.tags["model_sha256"] == first.model_sha256


@pytest.mark.slow
def test_a_version_is_kept_with_the_run_that_trained_it(registry: Registry) -> None:
    from foresense.tracking import open_run

    folder = make_version(registry.layout, "v1")
    sha256 = seal_version(
        folder, pipeline="plant", asset="lathe-1", data_sha256="ab" * 32, trained_until_s=1_700_000_000
    ).model_sha256
    with open_run(registry.layout, "plant", "training", {"model_sha256": sha256}) as run:
        pass
    assert registry.register(folder).run_id == run.run_id


@pytest.mark.slow
def test_fetch_gives_what_was_registered_and_says_which_file_is_altered(registry: Registry) -> None:
    folder = make_version(registry.layout, "v1")
    registry.register(folder)
    fetched = registry.fetch("lathe-1", "challenger")
    assert {path.relative_to(fetched) for path in fetched.rglob("*")} == {
        path.relative_to(folder) for path in folder.rglob("*")
    }
    assert (fetched / "model" / "model.safetensors").read_text() == "v1"
    with pytest.raises(RegistryError, match=r"plant/lathe-1: no alias 'champion' \(versions: 1\); `foresense promote`"):
        registry.fetch("lathe-1")

    (fetched / "scaler.json").write_text('{"kind": "minmax"}')
    with pytest.raises(VersionError, match=r"scaler\.json is altered: SHA-256 44136fa355b3… in the manifest"):
        registry.fetch("lathe-1", 1)
    (fetched / "scaler.json").unlink()
    (fetched / "extra.pt").write_text("")
    with pytest.raises(VersionError, match=r"scaler\.json is missing; extra\.pt is not in the manifest; nothing was"):
        registry.fetch("lathe-1", 1)


@pytest.mark.slow
def test_a_version_that_was_sealed_again_is_not_the_registered_one(registry: Registry) -> None:
    registry.register(make_version(registry.layout, "v1"))
    fetched = registry.fetch("lathe-1", 1)
    (fetched / "model" / "model.safetensors").write_text("other weights")
    seal_version(fetched, pipeline="plant", asset="lathe-1", data_sha256="ab" * 32, trained_until_s=1_700_000_000)
    with pytest.raises(VersionError, match=r"the registry names another version .* manifest\.json is altered"):
        registry.fetch("lathe-1", 1)


@pytest.mark.slow
def test_what_is_not_a_version_of_this_pipeline_is_refused(registry: Registry) -> None:
    with pytest.raises(VersionError, match="a version of pipeline 'oil', expected 'plant'"):
        registry.register(make_version(registry.layout, "v1", pipeline="oil"))
    folder = make_version(registry.layout, "v1")
    (folder / "conformal.json").unlink()
    with pytest.raises(VersionError, match=r"missing: conformal\.json"):
        seal_version(folder, pipeline="plant", asset="lathe-1", data_sha256="ab", trained_until_s=0)
    with pytest.raises(VersionError, match=r"conformal\.json is missing"):
        registry.register(folder)
    assert known_assets(registry.layout) == ()


@pytest.mark.slow
def test_names_of_assets_are_kept_true_and_nearest_ones_are_told(registry: Registry) -> None:
    for asset in ("mill/5:axis", "mill.5", "Fräse 2"):
        registry.register(make_version(registry.layout, "v1", asset=asset))
    assert registry.assets() == ("Fräse 2", "mill.5", "mill/5:axis")
    assert registry.fetch("mill/5:axis", 1).is_dir()
    with pytest.raises(RegistryError, match=r"asset 'mill.6' has no version; did you mean 'mill.5'"):
        registry.version("mill.6", 1)


@pytest.mark.slow
def test_promotions_and_rollbacks_are_a_pile(registry: Registry) -> None:
    registered(registry, 3)
    for number in (1, 2, 3):
        event = registry.promote("lathe-1", number, who="ada", reason=f"better {number}")
        assert (event.from_version, event.to_version) == (number - 1 or None, number)
    assert registry.promote("lathe-1", 3, who="bob", reason="again").who == "ada"
    refused = registry.refuse("lathe-1", 2, who="night", reason="worse", night="2026-11-21")
    assert registry.refuse("lathe-1", 2, who="night", reason="worse", night="2026-11-21") == refused
    for back in (2, 1):
        assert registry.rollback("lathe-1", who="ada", reason="alarms").to_version == back
        champion = registry.champion("lathe-1")
        assert champion is not None
        assert champion.number == back
    with pytest.raises(RegistryError, match=r"no champion to go back to \(version 1 is the first\)"):
        registry.rollback("lathe-1", who="ada", reason="alarms")
    kinds = [event.kind for event in registry.history("lathe-1")]
    assert kinds == ["promotion"] * 3 + ["refusal"] + ["rollback"] * 2
    with pytest.raises(RegistryError, match="--reason: empty"):
        registry.promote("lathe-1", 2, who="ada", reason="  ")
    with pytest.raises(RegistryError, match="--reason: 1501 characters, a tag of MLflow holds 1500"):
        registry.promote("lathe-1", 2, who="ada", reason="x" * 1501)
    with pytest.raises(RegistryError, match=r"no version 9 \(versions: 1, 2, 3\)"):
        registry.promote("lathe-1", 9, who="ada", reason="typo")


@pytest.mark.slow
def test_an_alias_that_someone_moved_in_mlflow_is_recorded_and_not_undone(registry: Registry) -> None:
    registered(registry, 3)
    registry.promote("lathe-1", 1, who="ada", reason="first")
    registry.client.set_registered_model_alias("plant.lathe-1", "champion", "3")
    registry.promote("lathe-1", 2, who="ada", reason="better")
    found = [(event.kind, event.from_version, event.to_version) for event in registry.history("lathe-1")]
    assert found == [("promotion", None, 1), ("moved", 1, 3), ("promotion", 3, 2)]
    assert registry.rollback("lathe-1", who="ada", reason="no").to_version == 3


class Dying:
    """A client of MLflow whose process dies at its n-th write, before it or just after it."""

    def __init__(self, client: Any, dies_at: int, *, after: bool) -> None:
        self._client, self._left, self._after = client, dies_at, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return self._counted(call) if name in WRITES else call

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if self._after:
                    call(*arguments, **named)
                raise KeyboardInterrupt
            return call(*arguments, **named)

        return counted


STORIES: dict[str, Callable[[Registry, list[Path]], object]] = {
    "register": lambda registry, folders: registry.register(folders[2]),
    "promote": lambda registry, folders: registry.promote("lathe-1", 2, who="night", reason="better", night="n"),
    "refuse": lambda registry, folders: registry.refuse("lathe-1", 2, who="night", reason="worse", night="n"),
    "rollback": lambda registry, folders: registry.rollback("lathe-1", who="ada", reason="alarms"),
}


def state(registry: Registry) -> Any:
    events = [replace(event, when_utc="") for event in registry.history("lathe-1")]
    champion, challenger = registry.champion("lathe-1"), registry.challenger("lathe-1")
    shas = [version.sha256 for version in registry.versions("lathe-1")]
    return events, champion and champion.number, challenger and challenger.number, shas


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_death_at_any_write_is_mended_by_a_repeat(story: str, after: bool, layout: Layout) -> None:
    registry = open_registry(layout, "plant")
    folders = [make_version(layout, f"v{number}") for number in (1, 2, 3)]

    def prepared(asset: str) -> Registry:
        """The same beginnings under another name of the pipeline, so that every death has a store of its own."""
        fresh = open_registry(layout, asset)
        for number, folder in enumerate(folders, start=1):
            seal_version(folder, pipeline=asset, asset="lathe-1", data_sha256="ab", trained_until_s=0)
            if number <= 2:
                fresh.register(folder)
        fresh.promote("lathe-1", 1, who="night", reason="first", night="m")
        if story == "rollback":
            fresh.promote("lathe-1", 2, who="night", reason="second", night="m")
        return fresh

    untouched = prepared("never-dies")
    STORIES[story](untouched, folders)
    expected = state(untouched)[:3]
    n_writes = 0
    for dies_at in range(1, 20):
        survivor = prepared(f"dies-at-{dies_at}")
        dying = replace(survivor, client=Dying(survivor.client, dies_at, after=after))  # type: ignore[arg-type]
        try:
            STORIES[story](dying, folders)
        except KeyboardInterrupt:
            n_writes += 1
        else:
            break
        if story != "rollback" or not all(event.is_done for event in survivor.history("lathe-1")) or dies_at == 1:
            STORIES[story](survivor, folders)  # a rollback that was finished is not repeated: it would be another one
        assert state(survivor)[:3] == expected, dies_at
        assert len(set(state(survivor)[3])) == len(state(survivor)[3])
    assert n_writes == {"register": 5, "promote": 3, "refuse": 1, "rollback": 3}[story]
    assert registry.assets() == ()


@pytest.mark.slow
def test_another_call_after_a_death_keeps_what_the_dead_one_decided(registry: Registry) -> None:
    registered(registry, 3)
    registry.promote("lathe-1", 1, who="ada", reason="first")
    dying = replace(registry, client=Dying(registry.client, 2, after=False))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        dying.promote("lathe-1", 2, who="night", reason="better", night="2026-11-20")
    champion = registry.champion("lathe-1")
    assert champion is not None
    assert champion.number == 1
    registry.promote("lathe-1", 3, who="ada", reason="by hand")
    found = [(event.from_version, event.to_version, event.who) for event in registry.history("lathe-1")]
    assert found == [(None, 1, "ada"), (1, 2, "night"), (2, 3, "ada")]
    assert registry.rollback("lathe-1", who="ada", reason="no").to_version == 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An MLflow server of its own that serves artifacts, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/kept"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *places],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env={**os.environ, **NO_JOBS},
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(480):
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "server.log").read_text()
                    time.sleep(0.25)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # a database of its own in a scratch folder: nothing to end well
            process.wait(30)


@pytest.mark.slow
@pytest.mark.long
def test_a_tracking_server_keeps_versions_history_and_files(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    here = open_registry(Layout(tmp_path / "here", tmp_path / "here"), "plant")
    registered(here, 2)
    here.promote("lathe-1", 1, who="ada", reason="first")
    here.promote("lathe-1", 2, who="ada", reason="second")
    here.rollback("lathe-1", who="ada", reason="alarms")

    elsewhere = open_registry(Layout(tmp_path / "elsewhere", tmp_path / "elsewhere"), "plant")
    assert (elsewhere.fetch("lathe-1") / "model" / "model.safetensors").read_text() == "v1"
    assert [event.kind for event in elsewhere.history("lathe-1")] == ["promotion", "promotion", "rollback"]
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    (evidence / "evidence.json").write_text("{}")
    version = elsewhere.version("lathe-1", 2)
    elsewhere.attach(version, evidence, "evidence/2026-11-21")
    kept = elsewhere.client.list_artifacts(version.run_id, "evidence/2026-11-21")
    assert [file.path for file in kept] == ["evidence/2026-11-21/evidence.json"]
    assert not (tmp_path / "here" / "mlflow").exists()
