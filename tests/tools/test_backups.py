"""Backup and restore of the project's folders, with real files and no docker."""

import json
import os
import sqlite3
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tools import backups
from tools.services import main


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project with samples in the embedded store, an MLflow database in use, artifacts and a cache of DVC."""
    root = tmp_path / "project"
    (root / "store" / "lathe").mkdir(parents=True)
    (root / "store" / "lathe" / "part-1.parquet").write_bytes(os.urandom(1000))
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


def backup(root: Path) -> Path:
    assert main(["backup"], root) == 0
    return max((root / "backups").iterdir())


def runs(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "mlflow" / "mlflow.db")) as database:
        return [name for (name,) in database.execute("SELECT name FROM runs")]


def test_what_was_lost_comes_back_with_bytes_modes_and_rows(project: Path, tmp_path: Path) -> None:
    folder = backup(project)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert main(["restore", str(folder)], fresh) == 0
    part = Path("store") / "lathe" / "part-1.parquet"
    assert (fresh / part).read_bytes() == (project / part).read_bytes()
    assert stat.S_IMODE((fresh / ".dvc" / "cache" / "ab" / "cdef").stat().st_mode) == 0o444
    assert runs(fresh) == ["first"]
    assert not (fresh / "mlflow" / "README.md").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not [path for path in fresh.rglob("*") if "restoring" in path.name]


def test_data_is_never_replaced_unless_asked_and_then_stays_beside(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = backup(project)
    part = project / "store" / "lathe" / "part-1.parquet"
    part.write_bytes(b"newer")
    capsys.readouterr()
    assert main(["restore", str(folder)], project) == 1
    assert "there is data already in ['store', 'mlflow/mlflow.db', '.dvc/cache']; --replace" in capsys.readouterr().err
    assert part.read_bytes() == b"newer"
    assert main(["restore", str(folder), "--replace"], project) == 0
    assert len(part.read_bytes()) == 1000
    (old,) = project.glob("store.before-*")
    assert (old / "lathe" / "part-1.parquet").read_bytes() == b"newer"
    # The log of the old database must not be read into the new one.
    assert len(list((project / "mlflow").glob("mlflow.db-wal.before-*"))) == 1
    assert runs(project) == ["first"]


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
            r"manifest.json: damaged \(.*nothing was restored",
        ),
        (
            lambda tar: (tar.parent / "manifest.json").write_text(json.dumps({"format": 9, "parts": []})),
            "format 9, expected 1: use the commit that wrote it",
        ),
    ],
)
def test_a_damaged_backup_changes_nothing(project: Path, damage, message: str) -> None:
    folder = backup(project)
    damage(folder / "store.tar")
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    with pytest.raises(ValueError, match=message):
        backups.verified(folder)
    assert main(["restore", str(folder), "--replace"], project) == 1
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before


def test_a_part_of_another_commit_is_refused(project: Path) -> None:
    strange = backups.Part("tomorrow", "place", "tomorrow.tar", 0, "")
    with pytest.raises(
        ValueError, match=r"has \['tomorrow'\], which this commit does not know: use the commit that wrote"
    ):
        backups.check_places(project, [strange], replace=True)


def test_a_backup_is_complete_or_absent(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise OSError("part-1.parquet: No such file")

    monkeypatch.setattr(backups, "_add_database", fails)
    assert main(["backup"], project) == 1
    assert (
        "mlflow/mlflow.db: could not be copied (part-1.parquet: No such file); stop what writes"
        in capsys.readouterr().err
    )
    assert list((project / "backups").iterdir()) == []


def test_no_room_is_said_before_anything_is_copied(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backups.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert main(["backup", "--to", str(project / "elsewhere")], project) == 1
    assert "0 MiB free, 0 MiB needed; give another place with --to" in capsys.readouterr().err


def test_an_empty_project_has_nothing_to_back_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup"], tmp_path) == 1
    assert "nothing to back up: none of deploy/.env, store, mlflow/mlflow.db" in capsys.readouterr().err


def test_a_backup_never_goes_over_another_one(tmp_path: Path) -> None:
    with (
        pytest.raises(FileExistsError, match="exists already; a backup never goes over another one"),
        backups.new_backup(tmp_path),
    ):
        pass


def test_a_restore_that_fails_half_way_puts_everything_back(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = backup(project)
    part = project / "store" / "lathe" / "part-1.parquet"
    part.write_bytes(b"newer")
    move = backups._move

    def fails_at_the_cache(source: Path, target: Path) -> Path:
        if target == project / ".dvc" / "cache":
            raise OSError("disk gone")
        return move(source, target)

    monkeypatch.setattr(backups, "_move", fails_at_the_cache)
    with pytest.raises(OSError, match="disk gone"):
        backups.restore_places(project, folder, backups.verified(folder), "now")
    assert part.read_bytes() == b"newer"
    assert (project / ".dvc" / "cache" / "ab" / "cdef").exists()
    assert not [path for path in project.rglob("*") if "restoring" in path.name or "before" in path.name]


def test_git_keeps_out_passwords_backups_and_what_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    paths = ["deploy/.env", "backups/1/store.tar", "store.before-1", "mlflow/mlflow.db.before-1", ".dvc/cache.before-1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(["git", "check-ignore", *paths], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.split() == paths


def test_parts_that_are_merged_away_meanwhile_are_copied_merged(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = backups._files
    old, merged = project / "store" / "lathe" / "part-1.parquet", project / "store" / "lathe" / "part-1-2.parquet"

    def merges_after_the_look(source: Path) -> list[Path]:
        found = files(source)
        if old in found:
            old.rename(merged)
        return found

    monkeypatch.setattr(backups, "_files", merges_after_the_look)
    folder = backup(project)
    with tarfile.open(folder / "store.tar") as tar:
        assert tar.getnames() == ["data", "data/lathe", "data/lathe/part-1-2.parquet"]
