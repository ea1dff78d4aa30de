"""What is copied while others write, where it lies, and what is refused."""

import os
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from foresense.services import backups, databases, places
from foresense.stores import Batch
from foresense.stores.embedded import EmbeddedStore

#: Writes a row into the store a hundred times a second, where a bridge writes once; 8 parts are merged into one.
STORE_WRITER = """
import sys
import time
from pathlib import Path
import numpy as np
from foresense.stores import Batch, embedded
embedded.FAN = 8
store = embedded.EmbeddedStore(Path(sys.argv[1]))
for n in range(10**6):
    store.write(Batch.of_asset("lathe", np.array([n * 10**9]), ("a",), np.array([[float(n)]])))
    if n == 40:
        print("at work", flush=True)
    if n > 40:
        time.sleep(0.01)
"""
#: Appends and drops as the bridge does, in messages that count; what is in the queue is always one run of numbers.
QUEUE_WRITER = """
import sys
from pathlib import Path
from foresense.bridge.spool import Spool
spool = Spool(Path(sys.argv[1]))
for n in range(10**6):
    spool.append([("t", n, b"%08d" % n * 300)])
    if n % 20 == 19:
        spool.drop(n - 9)
    if n == 40:
        print("at work", flush=True)
"""


@contextmanager
def at_work(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


def taken(root: Path, environment: dict[str, str] | None = None) -> Path:
    """A backup of the places of `root`."""
    target = root / "backups" / str(time.monotonic_ns())
    with backups.new_backup(target) as partial:
        backups.write_manifest(partial, root, places.write_places(places.places(root, environment or {}), partial))
    return target


def brought_back(folder: Path, root: Path) -> None:
    places.restore_places(places.places(root, {}), folder, backups.verified(folder), "now")


def test_a_store_at_work_is_copied_whole(tmp_path: Path) -> None:
    root = tmp_path / "project"
    store = EmbeddedStore(root / "store")
    with at_work(STORE_WRITER, root / "store"):
        for number in range(8):
            n_before = store.assets()["lathe"][1] // 10**9 + 1
            folder = taken(root)
            brought_back(folder, tmp_path / str(number))
            copy = EmbeddedStore(tmp_path / str(number) / "store")
            found = copy.read("lathe", 0, 10**18, channels=("a",))
            n_found = len(found.times_ns)
            assert n_found >= n_before
            np.testing.assert_array_equal(found.values[:, 0], np.arange(n_found))
            assert not list((tmp_path / str(number)).rglob("*.unfinished"))


def test_a_queue_at_work_is_copied_in_one_state_and_can_be_used_again(tmp_path: Path) -> None:
    from foresense.bridge.spool import Spool

    root = tmp_path / "project"
    path = root / "bridge" / "spool.sqlite"
    with at_work(QUEUE_WRITER, path):
        assert databases.is_held(path)
        for number in range(8):
            folder = taken(root)
            brought_back(folder, tmp_path / str(number))
            copy = tmp_path / str(number) / "bridge" / "spool.sqlite"
            assert [each.name for each in copy.parent.iterdir()] == ["spool.sqlite"]
            spool = Spool(copy)
            kept = [message.received_ns for message in spool.oldest(10**6, 10**9)]
            assert 10 <= len(kept) <= 30
            assert kept == list(range(kept[0], kept[0] + len(kept)))
            spool.append([("t", 0, b"")])
            spool.close()


def test_a_database_of_another_program_is_copied_while_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE run (name TEXT)")
        database.execute("INSERT INTO run VALUES ('first')")
        database.commit()
        database.execute("INSERT INTO run VALUES ('not committed')")
        brought_back(taken(tmp_path), tmp_path / "fresh")
    with closing(sqlite3.connect(tmp_path / "fresh" / "mlflow" / "mlflow.db")) as copy:
        assert copy.execute("SELECT name FROM run").fetchall() == [("first",)]


def test_a_database_that_is_kept_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_WAIT_S", 0.01)
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE run (name TEXT)")
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match=r"mlflow\.db: could not be copied \(database is locked\); stop what writes"):
            taken(tmp_path)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_file_that_goes_away_meanwhile_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = places._settled
    old, merged = tmp_path / "store" / "part-1", tmp_path / "store" / "part-1-2"
    old.parent.mkdir()
    old.write_text("samples")

    def merges_after_the_look(place: Path) -> list[Path]:
        found = settled(place)
        if old in found:
            old.rename(merged)
        return found

    monkeypatch.setattr(places, "_settled", merges_after_the_look)
    with tarfile.open(taken(tmp_path) / "store.tar") as tar:
        assert tar.getnames() == ["data", "data/part-1-2"]


def test_a_listing_during_a_merge_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [["1", "2"], ["1"], ["1-2"], ["1-2", "3"]]
    monkeypatch.setattr(places, "_listing", lambda _: [tmp_path / name for name in seen.pop(0)])
    assert places._settled(tmp_path) == [tmp_path / "1-2", tmp_path / "3"]
    monkeypatch.setattr(places, "_listing", lambda _: [tmp_path / str(time.monotonic_ns())])
    with pytest.raises(OSError, match="files go away faster than they can be listed"):
        places._settled(tmp_path)


def test_many_files_are_copied_without_holding_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_N_HELD", 1)
    for name in "abc":
        path = tmp_path / "store" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    brought_back(taken(tmp_path), tmp_path / "fresh")
    assert [(tmp_path / "fresh" / "store" / name).read_text() for name in "abc"] == ["a", "b", "c"]


def test_what_is_linked_twice_comes_back_as_two_files(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a").write_text("samples")
    (tmp_path / "store" / "b").hardlink_to(tmp_path / "store" / "a")
    brought_back(taken(tmp_path), tmp_path / "fresh")
    assert (tmp_path / "fresh" / "store" / "b").read_text() == "samples"


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "a symbolic link"),
        (lambda path: os.mkfifo(path), "neither a file nor a folder"),
    ],
)
def test_only_files_and_folders_are_backed_up(tmp_path: Path, made: Callable[[Path], None], kind: str) -> None:
    (tmp_path / "store").mkdir()
    made(tmp_path / "store" / "odd")
    with pytest.raises(ValueError, match=f"store/odd: {kind}, and a backup holds files and folders only"):
        taken(tmp_path)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_folder_that_may_not_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()

    def refuses(place: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(PermissionError(13, "Permission denied", str(place)))
        return iter(())

    monkeypatch.setattr(places.os, "walk", refuses)
    with pytest.raises(PermissionError, match="Permission denied"):
        taken(tmp_path)


def test_places_are_where_store_and_bridge_were_told_to_keep_them(tmp_path: Path) -> None:
    environment = {"FORESENSE_STORE": "embedded:samples", "FORESENSE_BRIDGE_FOLDER": str(tmp_path / "elsewhere")}
    root = tmp_path / "project"
    found = places.places(root, environment)
    assert (found["store"], found["bridge"]) == (root / "samples", tmp_path / "elsewhere")
    assert places.places(root, {"FORESENSE_STORE": "influx"})["store"] == root / "store"
    with pytest.raises(ValueError, match=r"/store: 'store' of a backup lies inside 'bridge' .* give each a folder of"):
        places.places(root, {"FORESENSE_BRIDGE_FOLDER": "plant", "FORESENSE_STORE": "embedded:plant/store"})


def test_a_place_that_is_a_link_is_swapped_where_it_leads(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "store").mkdir(parents=True)
    (disk / "store" / "part").write_text("samples")
    root = tmp_path / "project"
    root.mkdir()
    (root / "store").symlink_to(disk / "store")
    folder = taken(root)
    (disk / "store" / "part").write_text("newer")
    brought_back(folder, root)
    assert (root / "store").is_symlink()
    assert (disk / "store" / "part").read_text() == "samples"
    assert (disk / "store.before-now" / "part").read_text() == "newer"


def test_a_backup_is_not_written_into_what_it_copies(foresense, tmp_path: Path, capsys) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "part").write_text("samples")
    assert foresense(["backup", "--to", str(tmp_path / "store" / "backups")], tmp_path) == 1
    assert (
        f"{tmp_path}/store/backups: lies inside 'store' ({tmp_path}/store), which goes into" in capsys.readouterr().err
    )


def test_nothing_is_restored_under_a_writer(foresense, tmp_path: Path, capsys) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.write(Batch.of_asset("lathe", np.array([0]), ("a",), np.ones((1, 1))))
    store.close()
    queue = tmp_path / "bridge" / "spool.sqlite"
    with at_work(QUEUE_WRITER, queue):
        folder = taken(tmp_path)
        assert foresense(["restore", str(folder), "--replace"], tmp_path) == 1
        assert f"{queue}: in use; stop what writes there (bridge, simulate), then restore" in capsys.readouterr().err
    with at_work(STORE_WRITER, tmp_path / "store"):
        assert foresense(["restore", str(folder), "--replace"], tmp_path) == 1
        assert f"{tmp_path}/store/writer.lock: in use; stop what writes there" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.before-*"))
    assert foresense(["restore", str(folder), "--replace"], tmp_path) == 0
