"""The queue on disk: nothing half, nothing twice, nothing lost, and a damaged file is kept."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from foresense.bridge.spool import Spool, SpoolError

HERE = Path(__file__)


def messages(n: int, size: int = 10) -> list[tuple[str, int, bytes]]:
    return [("t", number, b"%d" % number + b"x" * size) for number in range(n)]


def filled(path: Path, n: int) -> Spool:
    spool = Spool(path)
    spool.append(messages(n))
    return spool


def test_what_went_in_comes_out_in_order_and_only_until_it_is_dropped(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", 10)
    assert [found.received_ns for found in spool.oldest(4, 10**6)] == [0, 1, 2, 3]
    assert spool.oldest(10, 25)[-1].received_ns == 1
    assert len(spool.oldest(10, 1)) == 1
    third = spool.oldest(3, 10**6)[-1]
    assert spool.oldest(10, 10**6, after=third.id)[0].received_ns == 3
    spool.drop(third.id)
    assert (spool.depth, spool.received_ns()) == (7, 3)
    assert spool.n_bytes == sum(len(found.payload) for found in spool.oldest(10, 10**6))
    spool.close()


def test_ids_rise_also_when_the_queue_was_empty_and_opened_again(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", 3)
    last, identity = spool.oldest(3, 10**6)[-1].id, spool.identity
    spool.drop(last)
    assert (spool.depth, spool.n_bytes, spool.received_ns()) == (0, 0, None)
    spool.close()
    again = filled(tmp_path / "s", 1)
    assert again.oldest(1, 1)[0].id > last
    assert again.identity == identity != 0
    again.close()


@limits(max_examples=20, deadline=None)
@given(steps=st.lists(st.one_of(st.integers(1, 8), st.integers(-8, -1), st.just(0)), max_size=12))
def test_it_is_a_queue(steps, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("spool") / "s"
    spool, model, n = Spool(path), [], 0
    for step in steps:
        if step > 0:
            new = [("t", n + i, b"p" * (n % 7)) for i in range(step)]
            spool.append(new)
            model += new
            n += step
        elif step < 0 and model:
            found = spool.oldest(-step, 10**6)
            spool.drop(found[-1].id)
            model = model[len(found) :]
        elif step == 0:
            spool.close()
            spool = Spool(path)
        assert [tuple(found[1:]) for found in spool.oldest(100, 10**6)] == model
        assert (spool.depth, spool.n_bytes) == (len(model), sum(len(payload) for *_, payload in model))
    spool.close()


def test_one_thread_appends_while_another_drops_and_the_counts_stay_true(tmp_path: Path) -> None:
    """A count that drifts would tell the forwarder of batches that are not there, for ever."""
    spool, group, n_groups = Spool(tmp_path / "s"), messages(2000), 60
    interval_s = sys.getswitchinterval()

    def take() -> None:
        n_left = n_groups * len(group)
        while n_left:
            if found := spool.oldest(500, 10**9):
                spool.drop(found[-1].id)
                n_left -= len(found)

    taker = threading.Thread(target=take)
    sys.setswitchinterval(1e-6)
    try:
        taker.start()
        for _ in range(n_groups):
            spool.append(group)
        taker.join(60)
    finally:
        sys.setswitchinterval(interval_s)
    assert not taker.is_alive()
    assert (spool.depth, spool.n_bytes) == (0, 0)
    spool.close()


def test_every_commit_is_on_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    settings = {
        name: spool._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}
    spool.close()


def test_a_full_disk_keeps_nothing_of_a_group_and_says_what_to_do(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", max_mib=0.25)
    kept = 0

    def fill() -> None:
        nonlocal kept
        for _ in range(100):
            spool.append(messages(20, 1000))
            kept += 20

    with pytest.raises(SpoolError, match="database or disk is full; make room on the disk") as found:
        fill()
    assert str(tmp_path) in str(found.value)
    assert spool.depth == kept == len(spool.oldest(10**6, 10**9))
    spool.drop(spool.oldest(20, 10**9)[-1].id)
    spool.append(messages(5, 1000))
    assert spool.depth == kept - 15
    spool.close()


@pytest.mark.parametrize("damage", ["text", "torn"])
def test_a_damaged_file_is_set_aside_and_named(damage: str, tmp_path: Path, caplog) -> None:
    path = tmp_path / "s"
    filled(path, 500).close()
    before = path.read_bytes()
    broken = b"this is no database" * 100 if damage == "text" else before[:4096] + b"\x07" * 20000
    path.write_bytes(broken)
    spool = Spool(path)
    assert spool.depth == 0
    spool.append(messages(1))
    spool.close()
    (aside,) = tmp_path.glob("s.damaged-*")
    assert aside.read_bytes() == broken
    assert str(aside) in caplog.text
    assert "is damaged" in caplog.text


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", 1)
    with pytest.raises(SpoolError, match=r"another process uses it; is a bridge running already\?"):
        Spool(tmp_path / "s")
    spool.close()
    Spool(tmp_path / "s").close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file: cannot be made: .*; give another --folder"):
        Spool(tmp_path / "file" / "s")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpoolError, match="cannot be opened: unable to open database file; look at the disk and the"):
        Spool(tmp_path / "folder")


def test_damage_while_running_is_said(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    with pytest.raises(SpoolError, match="start again, and a damaged file is set aside"), spool._told("read"):
        raise sqlite3.DatabaseError("database disk image is malformed")
    spool.close()


def test_kill_9_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from foresense.bridge.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1])); n = 0\n"
        "while True:\n"
        "    spool.append([('t', n + i, b'x' * 100) for i in range(7)]); n += 7; print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(30):
        said = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    said = max([said, *(int(line) for line in process.stdout.read().split())])
    process.stdout.close()
    process.wait()
    spool = Spool(tmp_path / "s")
    found = [found.received_ns for found in spool.oldest(10**6, 10**9)]
    assert found == list(range(len(found)))
    assert len(found) >= said
    assert len(found) % 7 == 0
    spool.close()
    assert os.path.exists(tmp_path / "s")
