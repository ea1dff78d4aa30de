"""The embedded store against a dictionary, under crashes, and beside readers."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.stores.batch import Batch, StoreError, StoreUnavailableError
from foresense.stores.embedded import FAN, EmbeddedStore

CHANNELS = ("temp_body", "current")
ASSETS = ("lathe", "mill", "o\"dd 'name")
HOUR = 3_600_000_000_000
value = st.one_of(st.just(float("nan")), st.floats(allow_nan=False, allow_infinity=False))
row = st.tuples(st.integers(0, 2), st.integers(-20, 20), value, value)


def batch_of(rows: list[tuple[int, int, float, float]], scale: int = 1) -> Batch:
    return Batch(
        assets=ASSETS,
        asset_index=np.array([row[0] for row in rows], np.int32),
        times_ns=np.array([row[1] * scale for row in rows], np.int64),
        channels=CHANNELS,
        values=np.array([row[2:] for row in rows], np.float64).reshape(-1, 2),
    )


def hours(n: int, asset: str = "lathe") -> Batch:
    values = np.stack([np.arange(n, dtype=float), np.full(n, np.nan)], axis=1)
    return Batch.of_asset(asset, np.arange(n, dtype=np.int64) * HOUR, CHANNELS, values)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(st.lists(row, max_size=12), max_size=6), cut=st.tuples(st.integers(-20, 20), st.integers(-20, 20))
)
def test_a_store_is_a_dictionary_by_asset_time_and_channel(tmp_path_factory, batches, cut) -> None:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    known: dict[tuple[int, int, int], float] = {}
    for rows in batches:
        assert store.write(batch_of(rows)) == []
        for asset, time_ns, *values in rows:
            known |= {(asset, time_ns, n): found for n, found in enumerate(values) if not np.isnan(found)}
    store.delete(min(cut), max(cut), ASSETS[1])
    known = {key: found for key, found in known.items() if not (key[0] == 1 and min(cut) <= key[1] < max(cut))}
    store.close()
    for number, asset in enumerate(ASSETS):
        read = store.read(asset, -15, 16, channels=(*CHANNELS, "never_seen"))
        assert np.isnan(read.values[:, 2]).all()
        assert (np.diff(read.times_ns) > 0).all()
        found = {
            (number, int(read.times_ns[at]), channel): read.values[at, channel]
            for at, channel in np.argwhere(~np.isnan(read.values[:, :2]))
        }
        assert found == {key: one for key, one in known.items() if key[0] == number and -15 <= key[1] < 16}
    times = {number: [key[1] for key in known if key[0] == number] for number in range(3)}
    assert store.assets() == {ASSETS[n]: (min(found), max(found)) for n, found in sorted(times.items()) if found}


def test_names_cannot_break_out_of_a_query(tmp_path: Path) -> None:
    names = ('a"; DROP VIEW part; --', "mill' OR '1'='1", 'x" AS y, "x', "time_ns) --", "$asset")
    store = EmbeddedStore(tmp_path)
    for at, name in enumerate(names):
        store.write(Batch.of_asset(name, np.array([at]), (name,), np.array([[float(at)]])))
    for at, name in enumerate(names):
        found = store.read(name, -1, 99, channels=(name,))
        assert (found.times_ns.tolist(), found.values.tolist()) == ([at], [[at]])
        assert store.n_values(name, -1, 99, names) == 1
    store.erase(names[0], np.array([0]), names)
    assert [store.n_values(name, -1, 99, names) for name in names] == [0, 1, 1, 1, 1]


def test_many_writes_become_few_files_and_say_the_same(tmp_path: Path) -> None:
    store, n_writes = EmbeddedStore(tmp_path / "store"), FAN * FAN + 3
    for number in range(n_writes):
        store.write(Batch.of_asset("mill", np.array([number % 700]), ("v",), np.array([[float(number)]])))
    assert len(store.parts()) == 1 + 3
    read = store.read("mill", 0, 700, channels=("v",))
    last = {number % 700: float(number) for number in range(n_writes)}
    assert dict(zip(read.times_ns.tolist(), read.values[:, 0].tolist(), strict=True)) == last


def test_means_are_numpys_and_gaps_stay_gaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times_ns = np.sort(rng.choice(1000, 300, replace=False)).astype(np.int64)
    times_ns = times_ns[(times_ns < 300) | (times_ns >= 500)]
    values = rng.normal(1e6, 1.0, (len(times_ns), 2))
    values[rng.random(values.shape) < 0.2] = np.nan
    store = EmbeddedStore(tmp_path)
    store.write(Batch.of_asset("mill", times_ns, CHANNELS, values))
    read = store.read("mill", 0, 1000, channels=CHANNELS, every_ns=50, origin_ns=-7)
    bins = (times_ns + 7) // 50
    for at, begin in enumerate(read.times_ns):
        inside = values[bins == (begin + 7) // 50]
        np.testing.assert_allclose(read.values[at], np.nanmean(inside, axis=0), rtol=1e-15)  # compensated sums
    assert set((read.times_ns + 7) // 50) == {b for b in bins if not np.isnan(values[bins == b]).all()}
    assert not ((read.times_ns >= 300) & (read.times_ns + 50 <= 500)).any()


def test_a_value_that_was_not_measured_does_not_hide_an_older_one(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    store.write(batch_of([(0, 1, 5.0, 6.0)]))
    store.write(batch_of([(0, 1, float("nan"), 7.0)]))
    np.testing.assert_array_equal(store.read("lathe", 0, 9, channels=CHANNELS).values, [[5.0, 7.0]])


def test_sources_of_a_merge_that_a_crash_left_behind_count_once_and_go_with_the_next_writer(tmp_path: Path) -> None:
    folder, left = tmp_path / "store", tmp_path / "left"
    store = EmbeddedStore(folder)
    for number in range(FAN - 1):
        store.write(hours(2, f"asset-{number}"))
    shutil.copytree(folder, left)
    store.write(hours(2, "last"))
    assert len(store.parts()) == 1
    store.close()
    for path in left.glob("*.parquet"):
        shutil.copy(path, folder)
    (folder / ".000000000099-000000000099.parquet.unfinished").write_bytes(b"half")
    assert len(store.assets()) == FAN
    store.write(hours(3))
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{1:012d}-{FAN:012d}.parquet",
        f"{FAN + 1:012d}-{FAN + 1:012d}.parquet",
        "writer.lock",
    ]


def _write_for_ever(folder: Path, log: Path) -> None:
    store = EmbeddedStore(folder)
    for number in range(1_000_000):
        store.write(Batch.of_asset("mill", np.array([number]), ("v",), np.array([[float(number)]])))
        with log.open("a") as file:
            file.write(f"{number}\n")


@pytest.mark.slow
def test_what_was_written_before_a_kill_is_there_and_the_next_writer_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for attempt in range(5):
        folder, log = tmp_path / f"store-{attempt}", tmp_path / f"log-{attempt}"
        writer = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(folder, log))
        writer.start()
        end = time.monotonic() + 60
        while not log.exists():
            assert writer.is_alive(), f"the writer has ended with {writer.exitcode}"
            assert time.monotonic() < end, "the writer writes nothing"
            time.sleep(0.01)
        time.sleep(rng.uniform(0.2, 1.0))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        acknowledged = [int(line) for line in log.read_text().split("\n")[:-1]]
        store = EmbeddedStore(folder)
        store.write(Batch.of_asset("mill", np.array([-1]), ("v",), np.array([[-1.0]])))
        read = store.read("mill", -1, 10**9, channels=("v",))
        assert read.times_ns[0] == -1
        assert len(read) - 1 - len(acknowledged) in (0, 1)  # the one being written may be there, never more
        np.testing.assert_array_equal(read.times_ns, read.values[:, 0])
        store.close()


def test_readers_beside_a_writer_that_merges_always_see_everything(tmp_path: Path) -> None:
    store, problems, done = EmbeddedStore(tmp_path), [], threading.Event()
    store.write(hours(5))

    def look() -> None:
        seen = 5
        while not done.is_set():
            read = EmbeddedStore(tmp_path).read("lathe", 0, 10**18, channels=("temp_body",))
            if len(read) < seen or not np.array_equal(read.times_ns, np.arange(len(read)) * HOUR):
                problems.append(f"{len(read)} after {seen}")
            seen = len(read)

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(6, 6 + 3 * FAN):
        store.write(hours(n).rows(slice(n - 1, n)))
    done.set()
    reader.join()
    assert problems == []


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    first, second = EmbeddedStore(tmp_path), EmbeddedStore(tmp_path)
    first.write(hours(1))
    with pytest.raises(StoreUnavailableError, match="another process writes there; one writer at a time"):
        second.write(hours(2))
    first.close()
    second.write(hours(2))
    assert len(second.read("lathe", 0, 10**18, channels=CHANNELS)) == 2


def test_an_empty_store_has_no_assets_and_an_unknown_asset_no_rows(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "none")
    assert store.assets() == {}
    assert len(store.read("mill", 0, 1, channels=CHANNELS)) == 0
    assert store.write(batch_of([(0, 1, float("nan"), float("nan"))])) == []
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    (tmp_path / f"{1:012d}-{1:012d}.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        EmbeddedStore(tmp_path).assets()
    with pytest.raises(StoreError, match="a channel cannot be called 'time_ns'"):
        EmbeddedStore(tmp_path / "new").write(Batch.of_asset("a", np.array([1]), ("time_ns",), np.array([[1.0]])))


def test_a_path_that_cannot_be_a_store_is_unavailable_until_it_is_mended(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        store = EmbeddedStore(folder)
        for _ in range(2):
            with pytest.raises(
                StoreUnavailableError, match=r"cannot be written to: .*; expected a folder that this user"
            ):
                store.write(hours(1))
            with pytest.raises(StoreUnavailableError, match="cannot be written to"):
                store.delete(0, 1)
    (tmp_path / "file").unlink()
    store.write(hours(1))
    assert store.assets() == {"lathe": (0, 0)}


def test_a_writer_that_could_not_clear_up_is_none_yet(tmp_path: Path, monkeypatch) -> None:
    first = EmbeddedStore(tmp_path)
    first.write(hours(1))
    first.close()
    (tmp_path / ".left.unfinished").write_bytes(b"")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    store = EmbeddedStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(StoreUnavailableError, match="Permission denied"):
            store.write(hours(2))
    store.write(hours(2))
    assert [part.first for part in store.parts()] == [1, 2]


def noise(number: int) -> Batch:
    values = np.random.default_rng(number).normal(size=(500, 1))
    return Batch.of_asset("mill", np.arange(500) + 500 * number, ("v",), values)


def flip(path: Path) -> None:
    """One bit of the last value of channel `v`."""
    column = pq.read_metadata(path).row_group(0).column(3)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_not_merged_nor_written_anew(tmp_path: Path, caplog) -> None:
    store = EmbeddedStore(tmp_path)
    for number in range(FAN - 1):
        store.write(noise(number))
    flip(store.parts()[3].path)
    assert store.write(noise(FAN)) == []
    assert len(store.parts()) == FAN
    assert "parts are not merged: " in caplog.text
    assert "CRC checksum verification failed" in caplog.text
    damaged = store.parts()[3].path
    content = damaged.read_bytes()
    text = rf"{damaged.name} cannot be read: .*CRC checksum verification failed.*; restore this part from a backup"
    with pytest.raises(StoreError, match=text):
        store.delete(500 * 3, 500 * 3 + 10)
    with pytest.raises(StoreError, match=text):
        store.erase("mill", np.array([500 * 3]), ("v",))
    assert damaged.read_bytes() == content


@pytest.mark.parametrize("damage", ["cut", "thrift", "empty"])
def test_a_damaged_part_is_named(tmp_path: Path, damage: str) -> None:
    store = EmbeddedStore(tmp_path)
    for number in range(3):
        store.write(noise(number))
    path = store.parts()[1].path
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[-8:-4], "little")
    content[-8 - length] = 0xFF  # the first byte of the footer
    path.write_bytes({"cut": content[: len(content) // 2], "thrift": content, "empty": b""}[damage])
    for ask in (
        store.assets,
        store.channels,
        lambda: store.read("mill", 0, 10**9, channels=("v",)),
        lambda: store.n_values("mill", 0, 10**9, ("v",)),
        lambda: store.delete(0, 10**9),
    ):
        with pytest.raises(StoreError) as found:
            ask()
        assert f"{tmp_path}: {path.name} cannot be read: " in str(found.value)
        assert "(DuckDB: " in str(found.value)
        assert "; restore this part from a backup, or move it away" in str(found.value)
        assert "SELECT" not in str(found.value)


def test_a_reader_beside_a_writer_that_erases_sees_all_that_is_left(tmp_path: Path) -> None:
    """A part that is written anew keeps its name; the reader must look again all the same."""
    store, problems, done = EmbeddedStore(tmp_path), [], threading.Event()
    for number in range(3):
        store.write(noise(number))
    expected = np.concatenate([noise(number).values[:, 0] for number in range(3)])

    def look() -> None:
        n_seen = len(expected)
        while not done.is_set():
            try:
                read = EmbeddedStore(tmp_path).read("mill", 0, 10**9, channels=("v",))
            except Exception as error:
                problems.append(str(error))
                return
            if len(read) > n_seen or not np.array_equal(read.values[:, 0], expected[read.times_ns]):
                problems.append(f"{len(read)} after {n_seen}")
            n_seen = len(read)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for at in range(100):
        store.erase("mill", np.array([at, 500 + at, 1000 + at]), ("v",))
    done.set()
    for reader in readers:
        reader.join()
    assert problems == []


def test_the_same_question_has_the_same_answer_to_the_last_bit(tmp_path: Path) -> None:
    """Threads that add up in any order would change the last bit, and with it every digest that follows."""
    n = 300_000  # above 122,880, DuckDB's share of one thread
    values = np.random.default_rng(0).normal(50, 5, (n, 2))
    store = EmbeddedStore(tmp_path)
    store.write(Batch.of_asset("a", np.arange(n) * 10**9, ("x", "y"), values))
    hour = 3600 * 10**9
    answers = [store.read("a", 0, n * 10**9, channels=("x", "y"), every_ns=hour).values for _ in range(6)]
    assert len({answer.tobytes() for answer in answers}) == 1
    store.close()


def test_parts_stay_in_order_when_samples_are_taken_out(tmp_path: Path) -> None:
    """A merge goes through the parts side by side, so each must be sorted by asset and time."""
    n = 250_000  # more than DuckDB gives to one thread
    rng = np.random.default_rng(0)
    times_ns = rng.permutation(n) * 10**9
    batch = Batch(("b", "a"), rng.integers(0, 2, n).astype(np.int32), times_ns, ("x", "y"), rng.normal(size=(n, 2)))
    store = EmbeddedStore(tmp_path)
    store.write(batch)
    store.delete(1000 * 10**9, 2000 * 10**9, "a")
    store.erase("b", np.arange(0, n, 3, dtype=np.int64) * 10**9, ("y",))
    store.close()
    (part,) = store.parts()
    found = pq.read_table(part.path, columns=["asset", "time_ns"])
    assert found.equals(found.sort_by([("asset", "ascending"), ("time_ns", "ascending")]))
