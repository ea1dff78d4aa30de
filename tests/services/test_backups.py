"""Backup and restore of the project's folders, with real files and no docker."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from foresense.config import IngestConfig
from foresense.services import actions, backups, places
from foresense.signals import file_sha256
from foresense.sources.store import read_means
from foresense.stores import Batch
from foresense.stores.embedded import EmbeddedStore


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project with samples in the embedded store, an MLflow database in use, artifacts and a cache of DVC."""
    root = tmp_path / "project"
    (root / "store" / "lathe").mkdir(parents=True)
    (root / "store" / "lathe" / "part-1.parquet").write_bytes(os.urandom(1000))
    (root / "deploy").mkdir()
    (root / "deploy" / ".env").write_text("A_PASSWORD=123\n")
    (root / "bridge").mkdir()
    (root / "bridge" / "dead-letters.jsonl").write_text("a letter\n")
    (root / "mlflow" / "artifacts").mkdir(parents=True)
    (root / "mlflow" / "README.md").write_text("not data")
    (root / ".dvc" / "cache" / "ab").mkdir(parents=True)
    cached = root / ".dvc" / "cache" / "ab" / "cdef"
    cached.write_text("bytes of a model")
    cached.chmod(0o444)
    with closing(sqlite3.connect(root / "mlflow" / "mlflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE runs (name TEXT)")
        database.execute("INSERT INTO runs VALUES ('first')")
        database.commit()
        assert (root / "mlflow" / "mlflow.db-wal").stat().st_size > 0  # the row is not in the main file yet
        yield root


@pytest.fixture
def backup(foresense) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        assert foresense(["backup", "--embedded"], root) == 0
        return max((root / "backups").iterdir())

    return make


def runs(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "mlflow" / "mlflow.db")) as database:
        return [name for (name,) in database.execute("SELECT name FROM runs")]


def test_what_was_lost_comes_back_with_bytes_modes_and_rows(foresense, backup, project: Path, tmp_path: Path) -> None:
    folder = backup(project)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert foresense(["restore", str(folder)], fresh) == 0
    part = Path("store") / "lathe" / "part-1.parquet"
    assert (fresh / part).read_bytes() == (project / part).read_bytes()
    assert stat.S_IMODE((fresh / ".dvc" / "cache" / "ab" / "cdef").stat().st_mode) == 0o444
    assert runs(fresh) == ["first"]
    assert (fresh / "bridge" / "dead-letters.jsonl").read_text() == "a letter\n"
    assert not (fresh / "mlflow" / "README.md").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert {path.suffix for path in folder.iterdir()} == {".tar", ".json", ".sha256"}
    assert not [path for path in fresh.rglob("*") if "restoring" in path.name]


def test_data_is_never_replaced_unless_asked_and_then_stays_beside(
    foresense, backup, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = backup(project)
    part = project / "store" / "lathe" / "part-1.parquet"
    part.write_bytes(b"newer")
    capsys.readouterr()
    assert foresense(["restore", str(folder)], project) == 1
    taken = [str(project / place) for place in ("deploy/.env", "bridge", "store", "mlflow/mlflow.db", ".dvc/cache")]
    assert f"there is data already in {taken}; --replace puts it aside and restores" in capsys.readouterr().err
    assert part.read_bytes() == b"newer"
    assert foresense(["restore", str(folder), "--replace"], project) == 0
    assert len(part.read_bytes()) == 1000
    (old,) = project.glob("store.before-*")
    assert (old / "lathe" / "part-1.parquet").read_bytes() == b"newer"
    # The log of the old database must not be read into the new one.
    assert len(list((project / "mlflow").glob("mlflow.db-wal.before-*"))) == 1
    assert runs(project) == ["first"]


def told(folder: Path, text: str) -> None:
    """Another manifest, with a digest that fits."""
    (folder / "manifest.json").write_text(text)
    (folder / "manifest.json.sha256").write_text(f"{file_sha256(folder / 'manifest.json')}\n")


def retold(folder: Path, **changed: str) -> None:
    """A manifest whose first part says something else."""
    found = json.loads((folder / "manifest.json").read_text())
    found["parts"][0] |= changed
    told(folder, json.dumps(found))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tar: tar.write_bytes(tar.read_bytes()[:-1] + b"x"), "store.tar: its SHA-256 is another one"),
        (lambda tar: tar.write_bytes(tar.read_bytes()[:-1]), r"store.tar: \d+ bytes, expected \d+"),
        (lambda tar: tar.unlink(), "store.tar: missing"),
        (
            lambda tar: (tar.parent / "manifest.json").unlink(),
            "no manifest.json in it: not a backup, or one that was not",
        ),
        (
            lambda tar: (tar.parent / "manifest.json").write_text("{"),
            "manifest.json: damaged, nothing was restored: its SHA-256 is not what manifest.json.sha256 says",
        ),
        (
            lambda tar: (tar.parent / "manifest.json.sha256").unlink(),
            "no manifest.json.sha256 in it: damaged, or of an earlier format: use the commit that wrote it",
        ),
        (lambda tar: told(tar.parent, "{"), r"manifest.json: damaged \(Expecting .*\), nothing was restored"),
        (
            lambda tar: told(tar.parent, json.dumps({"format": 9, "parts": []})),
            "format 9, expected 2: use the commit that wrote it",
        ),
        (lambda tar: retold(tar.parent, kind="vol"), r"a part has a wrong name, kind or file: \['secrets'\]"),
        (
            lambda tar: retold(tar.parent, file="../secrets.tar"),
            r"a part has a wrong name, kind or file: \['secrets'\]",
        ),
        (lambda tar: retold(tar.parent, name="../x"), r"a part has a wrong name, kind or file: \['../x'\]"),
    ],
)
def test_a_damaged_backup_changes_nothing(foresense, backup, project: Path, damage, message: str) -> None:
    folder = backup(project)
    damage(folder / "store.tar")
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    with pytest.raises(ValueError, match=message):
        backups.verified(folder)
    assert foresense(["restore", str(folder), "--replace"], project) == 1
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before


def test_a_part_of_another_commit_is_refused(project: Path) -> None:
    strange = backups.Part("tomorrow", "place", "tomorrow.tar", 0, "")
    with pytest.raises(
        ValueError, match=r"has \['tomorrow'\], which this commit does not know: use the commit that wrote"
    ):
        places.check_places(places.places(project, {}), [strange], replace=True)


def test_a_backup_is_complete_or_absent(
    foresense, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError("part-1.parquet: No such file")

    monkeypatch.setattr(places, "_add_database", fails)
    assert foresense(["backup", "--embedded"], project) == 1
    assert (
        "mlflow/mlflow.db: could not be copied (part-1.parquet: No such file); stop what writes"
        in capsys.readouterr().err
    )
    assert list((project / "backups").iterdir()) == []


def test_no_room_is_said_before_anything_is_copied(
    foresense, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert foresense(["backup", "--embedded", "--to", str(project / "elsewhere")], project) == 1
    assert "0 MiB free, 0 MiB needed; give another place with --to" in capsys.readouterr().err


def test_an_empty_project_has_nothing_to_back_up(foresense, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert foresense(["backup"], tmp_path) == 1
    message = f"nothing to back up: none of {tmp_path}/deploy/.env, {tmp_path}/bridge, {tmp_path}/store, "
    assert message in capsys.readouterr().err
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_backup_never_goes_over_another_one(tmp_path: Path) -> None:
    with (
        pytest.raises(FileExistsError, match="exists already; a backup never goes over another one"),
        backups.new_backup(tmp_path),
    ):
        pass


def test_a_restore_that_fails_half_way_puts_everything_back(
    backup, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backup(project)
    part = project / "store" / "lathe" / "part-1.parquet"
    part.write_bytes(b"newer")
    move = places._move

    def fails_at_the_cache(source: Path, target: Path) -> Path:
        if target == project / ".dvc" / "cache":
            raise OSError("disk gone")
        return move(source, target)

    monkeypatch.setattr(places, "_move", fails_at_the_cache)
    with pytest.raises(OSError, match="disk gone"):
        places.restore_places(places.places(project, {}), folder, backups.verified(folder), "now")
    assert part.read_bytes() == b"newer"
    assert (project / ".dvc" / "cache" / "ab" / "cdef").exists()
    assert not [path for path in project.rglob("*") if "restoring" in path.name or "before" in path.name]


def test_git_keeps_out_passwords_backups_and_what_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    paths = [
        "deploy/.env",
        "bridge/spool.sqlite",
        "backups/1/store.tar",
        "migration/1-old-format.parquet",
        "forecasts/plant/1.parquet",
        "nights/plant/2026-11-21/decisions.json",
        "store.before-1",
        "mlflow/mlflow.db.before-1",
        ".dvc/cache.before-1",
    ]
    root = Path(__file__).parents[2]
    done = subprocess.run(["git", "check-ignore", *paths], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.split() == paths


def test_a_killed_backup_has_no_name_and_is_told_of(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from foresense.services import actions, backups;"
        "backups.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "root = Path(sys.argv[1]); actions.backup(root, root / 'backups', {}, embedded=True, tell=print)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(project)], check=False)
    assert done.returncode == -9
    (left,) = (project / "backups").iterdir()
    assert left.name.startswith(".")
    assert left.name.endswith(".partial")
    with pytest.raises(ValueError, match=r"no manifest\.json in it: not a backup, or one that was not finished"):
        backups.verified(left)
    monkeypatch.setattr(backups, "stamp", lambda: left.name.strip(".").partition(".")[0])
    with pytest.raises(FileExistsError, match=r"\.partial: exists already; a backup never goes over another one"):
        actions.backup(project, project / "backups", {}, embedded=True, tell=print)
    monkeypatch.setattr(backups, "stamp", lambda: "later")
    actions.backup(project, project / "backups", {}, embedded=True, tell=print)
    assert (
        f"{left}: a backup that did not finish; unless another one runs now, remove it by hand"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nothing-there", "not a folder; a backup is a folder with manifest.json in it, such as backups/<time>"),
        ("store/lathe/part-1.parquet", "not a folder; a backup is a folder with manifest.json in it"),
        ("store", "no manifest.json in it: not a backup, or one that was not finished"),
    ],
)
def test_what_is_no_backup_is_named(
    foresense, project: Path, capsys: pytest.CaptureFixture[str], given: str, message: str
) -> None:
    assert foresense(["restore", str(project / given), "--replace"], project) == 1
    assert f"foresense: {project / given}: {message}" in capsys.readouterr().err


def test_terminate_ends_a_backup_without_a_trace(project: Path) -> None:
    code = (
        "import os, signal, sys; from foresense.services import backups; from foresense.__main__ import main;"
        "backups.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGTERM);"
        "sys.argv[1:] = ['--project', sys.argv[1], 'backup', '--embedded']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(project)], capture_output=True, text=True, check=False)
    assert done.returncode == 143, done.stderr
    assert list((project / "backups").iterdir()) == []


def test_a_store_that_no_name_stands_for_is_refused(
    foresense, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORESENSE_STORE", "embeded:x")
    assert foresense(["backup", "--embedded"], project) == 1
    assert "no store 'embeded:x'; known: embedded:<folder>, influx (address in FOR" in capsys.readouterr().err
    assert not (project / "backups").exists()


def test_samples_in_influxdb_are_told_to_be_missing_until_it_is_said_that_they_are_elsewhere(
    foresense, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORESENSE_STORE", "influx")
    monkeypatch.setenv("FORESENSE_INFLUX_URL", "http://plant:8086")
    words = ["backup", "--embedded", "--to"]
    assert foresense([*words, str(project / "b1")], project) == 1
    shown = capsys.readouterr().out
    assert "NOT in this backup: the samples in influx (http://plant:8086); use `influx backup` (2.x) or" in shown
    assert shown.endswith(": complete but for the samples\n")
    (folder,) = (project / "b1").iterdir()
    assert "bridge" in {each.name for each in backups.verified(folder)}
    assert foresense([*words, str(project / "b2"), "--without-store"], project) == 0
    assert ": complete, without the store (--without-store)\n" in capsys.readouterr().out
    (folder,) = (project / "b2").iterdir()
    assert "store" not in {each.name for each in backups.verified(folder)}


def test_what_is_not_there_is_told_and_what_migrate_removed_is_in_it(
    foresense, backup, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (watched := ("store-forecasts", "store-anomalies", "forecasts", "nights")):
        (project / name).mkdir()
        (project / name / "kept").write_text(name)
    (project / "migration").mkdir()
    (project / "migration" / "1-old-format.parquet").write_bytes(b"the only copy")
    (project / "store").rename(project / "typo")
    folder = backup(project)
    shown = capsys.readouterr().out
    assert f"not there: store ({project}/store)\n" in shown
    assert f"not there: mlflow-artifacts ({project}/mlflow/artifacts)\n" not in shown
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert foresense(["restore", str(folder)], fresh) == 0
    assert all((fresh / name / "kept").read_text() == name for name in watched)
    assert (fresh / "migration" / "1-old-format.parquet").read_bytes() == b"the only copy"


@pytest.mark.parametrize(
    ("said", "written_to", "words"),
    [
        ("", "embedded:plantstore", "says nothing, which stands for embedded:store; set FORESENSE_STORE=embedded:pl"),
        ("embedded:store", "influx", "says embedded:store; set FORESENSE_STORE=influx to have those samples"),
    ],
)
def test_a_bridge_that_writes_to_another_store_is_told(
    foresense,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: str,
    written_to: str,
    words: str,
) -> None:
    monkeypatch.setenv("FORESENSE_STORE", said)
    state = project / "bridge" / "state.json"
    state.write_text(json.dumps({"store": written_to}))
    assert foresense(["backup", "--embedded"], project) == 1
    message = f"{state}: the bridge writes to the store '{written_to}', and FORESENSE_STORE {words}"
    assert message in capsys.readouterr().err
    assert not (project / "backups").exists()
    assert foresense(["backup", "--embedded", "--without-store"], project) == 0


@pytest.mark.parametrize("state", ['{"store": "embedded:../project/store"}', '{"store": ""}', "{}", "[]", "{"])
def test_a_bridge_that_writes_there_or_does_not_say_is_no_hindrance(backup, project: Path, state: str) -> None:
    (project / "bridge" / "state.json").write_text(state)
    assert "store" in {each.name for each in backups.verified(backup(project))}


def test_ingest_does_not_take_means_of_the_store_that_a_restore_replaced(
    foresense, backup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hour_ns = 3600 * 10**9
    now_ns = 480_000 * hour_ns
    times_ns = now_ns + np.arange(-30 * 24, 0) * hour_ns
    channels = ({"name": "current", "unit": "A"},)
    config = IngestConfig.model_validate({"source": "store", "channels": channels})
    kept = tmp_path / ".foresense" / "kept" / "live"

    def write(value: float) -> None:
        with closing(EmbeddedStore(tmp_path / "store")) as store:
            store.write(Batch.of_asset("lathe", times_ns, ("current",), np.full((len(times_ns), 1), value)))

    def means() -> set[float]:
        with closing(EmbeddedStore(tmp_path / "store")) as store:
            (table,) = read_means(store, "embedded:store", config, kept, now_ns).tables
        return set(table.values[:, 0].tolist())

    write(1.0)
    folder = backup(tmp_path)
    write(2.0)
    assert means() == {2.0}
    assert foresense(["restore", str(folder), "--replace"], tmp_path) == 0
    assert f"removed: {kept.parent} (what ingest read of the store before; " in capsys.readouterr().out
    assert means() == {1.0}
