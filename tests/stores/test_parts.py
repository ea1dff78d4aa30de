"""Merging without DuckDB: against a dictionary, against DuckDB on what was not merged, and within little memory."""

import io
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.stores import parts
from foresense.stores.batch import Batch
from foresense.stores.embedded import FAN, EmbeddedStore

LIMIT_MIB = 150.0  # of the bridge; the process of the test has what makes the samples instead of the MQTT side
ASSETS = ("lathe", "mill", "Ωmega", "o\"dd 'name", "")
CHANNELS = ("v", "w", "x")
value = st.one_of(st.just(float("nan")), st.just(-0.0), st.floats(allow_nan=False, allow_infinity=False))
row = st.tuples(st.integers(0, len(ASSETS) - 1), st.integers(-6, 6), value, value)
write = st.tuples(st.lists(row, min_size=1, max_size=20), st.permutations(CHANNELS))

Written = list[tuple[list[tuple[int, int, float, float]], list[str]]]


def part_of(rows: list[tuple[int, int, float, float]], channels: list[str], number: int) -> pa.Table:
    batch = Batch(
        ASSETS,
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        tuple(channels[:2]),
        np.array([row[2:] for row in rows], np.float64),
    )
    return parts.table_of(batch, number)


def written(tables: list[pa.Table], folder: Path) -> list[Path]:
    paths = []
    for number, table in enumerate(tables):
        paths.append(folder / f"{number:03d}.parquet")
        with paths[-1].open("wb") as file:
            parts.write_part([table], table.schema, file)
    return paths


def bits(value: float | None) -> bytes | None:
    return None if value is None else np.float64(value).tobytes()


def rows_of(table: pa.Table) -> list[tuple[object, ...]]:
    names = ["asset", "time_ns", "write", *sorted(set(table.column_names) - set(parts.KEYS))]
    return [(*(row[name] for name in names[:3]), *(bits(row[name]) for name in names[3:])) for row in table.to_pylist()]


@pytest.mark.parametrize("n_group", [1, 3, 1000])
@settings(max_examples=40, deadline=None)
@given(writes=st.lists(write, min_size=1, max_size=6))
def test_a_merge_is_a_dictionary_and_what_duckdb_says(tmp_path_factory, n_group: int, writes: Written) -> None:
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_group_rows", lambda n_columns: n_group)
        paths = written([part_of(rows, channels, number) for number, (rows, channels) in enumerate(writes)], folder)
        schema = parts.merged_schema(paths)
        tables = list(parts.merge(paths, schema))
    assert all(len(table) == n_group for table in tables[:-1])
    merged = pa.concat_tables(tables)

    known: dict[tuple[str, int], dict[str, float]] = {}
    last_write: dict[tuple[str, int], int] = {}
    for number, (rows, channels) in enumerate(writes):
        for asset, time_ns, *values in rows:
            key = (ASSETS[asset], time_ns)
            last_write[key] = number
            found = zip(channels, values, strict=False)
            known.setdefault(key, {}).update({name: value for name, value in found if not np.isnan(value)})
    channels = sorted(set(schema.names) - set(parts.KEYS))
    expected = [(*key, last_write[key], *(bits(known[key].get(name)) for name in channels)) for key in sorted(known)]
    assert rows_of(merged) == expected

    last = ", ".join(f"arg_max({name}, write) AS {name}" for name in channels)
    files = [str(path) for path in paths]
    by_duckdb = duckdb.sql(
        f"SELECT asset, time_ns, max(write) AS write, {last} FROM read_parquet({files}, union_by_name = true) "
        "GROUP BY asset, time_ns ORDER BY asset, time_ns"
    ).to_arrow_table()
    assert rows_of(by_duckdb) == expected


def test_parts_with_long_row_groups_merge_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths, times = [], []
    for number in range(3):
        times.append(np.sort(rng.choice(300_000, 50_000, replace=False)))
        batch = Batch.of_asset("mill", times[-1], ("v",), np.full((50_000, 1), float(number)))
        paths.append(tmp_path / f"{number}.parquet")
        pq.write_table(parts.table_of(batch, number), paths[-1])  # one row group
    merged = pa.concat_tables(parts.merge(paths, parts.merged_schema(paths)))
    expected = {int(at): float(number) for number, found in enumerate(times) for at in found}
    found = dict(zip(merged["time_ns"].to_pylist(), merged["v"].to_pylist(), strict=True))
    assert (found, len(merged)) == (expected, len(expected))


def test_row_groups_are_small_and_know_the_range_of_assets_and_times() -> None:
    batch = Batch.of_asset("mill", np.arange(50_000), ("v",), np.zeros((50_000, 1)))
    table, file = parts.table_of(batch, 7), io.BytesIO()
    parts.write_part([table], table.schema, file)
    metadata = pq.read_metadata(io.BytesIO(file.getvalue()))
    for group in (metadata.row_group(number) for number in range(metadata.num_row_groups)):
        assert group.num_rows * 8 * 4 <= 224 << 10
        assert (group.column(0).statistics.min, group.column(1).is_stats_set) == ("mill", True)


def test_a_merge_that_fails_keeps_the_write_and_leaves_nothing_half_done(tmp_path, monkeypatch, caplog) -> None:
    store = EmbeddedStore(tmp_path)
    merge = parts.merge

    def full(*_: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foresense.stores.embedded.merge", full)
    for number in range(FAN):
        assert store.write(Batch.of_asset("mill", np.array([number]), ("v",), np.array([[1.0]]))) == []
    assert "parts are not merged: [Errno 28] No space left" in caplog.text
    assert (len(store.parts()), list(tmp_path.glob(".*"))) == (FAN, [])
    monkeypatch.setattr("foresense.stores.embedded.merge", merge)
    store.write(Batch.of_asset("mill", np.array([FAN]), ("v",), np.array([[1.0]])))
    assert len(store.parts()) == 2
    assert len(store.read("mill", 0, 10**9, channels=("v",))) == FAN + 1


def test_a_damaged_part_keeps_no_write_away(tmp_path, caplog) -> None:
    (tmp_path / f"{1:012d}-{1:012d}.parquet").write_bytes(b"no parquet")
    store = EmbeddedStore(tmp_path)
    for number in range(2 * FAN):
        assert store.write(Batch.of_asset("mill", np.array([number]), ("v",), np.array([[1.0]]))) == []
    assert caplog.text.count("parts are not merged: ") == 1
    assert len(store.parts()) == 1 + 2 * FAN - 2 * (FAN - 1)


def test_parts_that_lost_rows_merge_too(tmp_path) -> None:
    store = EmbeddedStore(tmp_path)
    for number in range(FAN - 1):
        store.write(Batch.of_asset("mill", np.array([number, -number - 1]), ("v",), np.array([[1.0], [2.0]])))
    store.delete(-100, 2)  # all of the first two writes, half of the others
    store.write(Batch.of_asset("lathe", np.array([5]), ("w",), np.array([[3.0]])))
    assert len(store.parts()) == 1
    np.testing.assert_array_equal(store.read("mill", -100, 100, channels=("v",)).times_ns, np.arange(2, FAN - 1))
    assert store.assets() == {"lathe": (5, 5), "mill": (2, FAN - 2)}


def test_no_part_grows_beyond_the_longest(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("foresense.stores.embedded.MOST_ROWS", 100)
    store = EmbeddedStore(tmp_path)
    for number in range(FAN):
        times = np.arange(number * 10, number * 10 + 10)
        store.write(Batch.of_asset("mill", times, ("v",), np.ones((10, 1))))
    assert len(store.parts()) == FAN
    assert len(store.read("mill", 0, 10**9, channels=("v",))) == 10 * FAN


_WRITER = """
import sys
from pathlib import Path
from foresense.bridge.memory import keep_memory_small
keep_memory_small()
import numpy as np
from foresense.stores.batch import Batch
from foresense.stores.embedded import EmbeddedStore
store, rng = EmbeddedStore(Path(sys.argv[1])), np.random.default_rng(0)
n_batches, n_times, n_assets = map(int, sys.argv[2:])
index = np.repeat(np.arange(n_assets, dtype=np.int32), n_times)
for number in range(n_batches):
    times = np.tile(np.arange(number * n_times, (number + 1) * n_times) * 10**9, n_assets)
    values = rng.normal(50, 10, (len(times), 4))
    store.write(Batch(tuple(f"machine-{n}" for n in range(n_assets)), index, times, ("a", "b", "c", "d"), values))
assert "duckdb" not in sys.modules and "pandas" not in sys.modules
print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("n_batches", "n_times"), [(FAN * FAN, 10), (FAN, 5_000)], ids=["many", "large"])
def test_a_writer_that_merges_stays_below_the_memory_of_the_bridge(tmp_path, n_batches: int, n_times: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WRITER, str(tmp_path), str(n_batches), str(n_times), "20"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) < LIMIT_MIB
    assert len(EmbeddedStore(tmp_path).parts()) == 1
