"""Old samples to today's: the embedded store and influxd 1.6.7, every option, and what may go wrong in the middle."""

import json
import uuid
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_old_rows import EVER, STEP, T0, expected_new, full, nan, new, of, old, only, rows, same

from foresense.stores import migrate, slices
from foresense.stores.backup import read_backup, write_backup
from foresense.stores.batch import Batch, StoreError
from foresense.stores.embedded import EmbeddedStore
from foresense.stores.influx import InfluxSettings, InfluxStore
from foresense.stores.old_format import FIELDS, MARKERS, NEW_MARKERS, magnitude, to_new


@pytest.fixture(params=["embedded", "influxd-1.6.7"])
def make(request, tmp_path):
    """Make stores that are empty, of one kind."""
    made = []

    def make_one():
        name = f"m_{uuid.uuid4().hex}"
        if request.param == "embedded":
            made.append(EmbeddedStore(tmp_path / name))
        else:
            url = request.getfixturevalue("influxd").url
            made.append(InfluxStore(InfluxSettings(url=url, measurement=name)))
        return made[-1]

    yield make_one
    for store in made:
        store.close()


@pytest.fixture
def store(make):
    return make()


@given(
    st.lists(
        st.lists(st.one_of(st.just(nan), st.floats(-1e100, 1e100)), min_size=6, max_size=6), min_size=1, max_size=30
    )
)
def test_transformed_values_are_the_old_ones_and_numpys_norm_and_none_is_invented(lines) -> None:
    values = np.array(lines)
    found = to_new(values)
    np.testing.assert_array_equal(found[:, :3], values[:, 3:])
    np.testing.assert_allclose(found[:, 3], np.linalg.norm(values[:, :3], axis=1), rtol=1e-14)
    np.testing.assert_array_equal(np.isnan(found[:, 3]), np.isnan(values[:, :3]).any(axis=1))


def test_squares_beyond_a_float_are_missing_and_not_infinite() -> None:
    np.testing.assert_array_equal(magnitude(np.array([[1e200, 0, 0], [3, 4, 0]])), [nan, 5])


@given(
    times=st.lists(st.integers(-1000, 1000), max_size=60), ends=st.tuples(st.integers(-1100, 1100), st.integers(0, 300))
)
def test_slices_hold_everything_wanted_once_and_never_too_much(times, ends) -> None:
    start, end = ends[0], ends[0] + ends[1]
    inside = sorted(time for time in times if start <= time < end)

    def count(first, last):
        return sum(first <= time < last for time in inside)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "N_VALUES", 7)
        found = list(slices.slices(count, lambda first, last: count(first, last) > 0, start, end))
    assert sum(count(*one) for one in found) == len(inside)
    assert all(first < last and (count(first, last) <= 7 or last - first == 1) for first, last in found)
    assert all(one[1] <= two[0] for one, two in pairwise(found))


def test_old_samples_are_found_and_counted(store) -> None:
    store.write(new(50, "mill"))
    assert migrate.find(store) == []
    values = np.array(
        [
            [1, 2, 2, 60, 61, 12],
            [1, 2, nan, 60, 61, 12],
            [nan, nan, nan, 60, nan, nan],
            [0, 0, 0, 0, 0, 0],
            [nan, nan, nan, nan, nan, 12],
        ]
    )
    store.write(Batch.of_asset("lathe", T0 + STEP * np.arange(5), FIELDS, values))
    store.write(new(1, first=2))
    store.write(old(7, "robot"))
    lathe, robot = migrate.find(store)
    assert (lathe.asset, lathe.sensor_type) == ("lathe", "machine" if isinstance(store, InfluxStore) else None)
    assert (lathe.n_samples, lathe.first_ns, lathe.last_ns) == (4, T0, T0 + 3 * STEP)
    assert lathe.fields == {"accX": 3, "accY": 3, "accZ": 2, "tempA": 4, "tempB": 3, "current": 4}  # one is today's
    assert (lathe.n_partial, lathe.n_without_axis, lathe.n_zero, lathe.n_mixed) == (2, 1, 1, 1)
    assert (robot.asset, robot.n_samples) == ("robot", 7)


@pytest.mark.parametrize("n_values", [500_000, 90])
def test_transformed_in_place_once_and_again_and_the_old_ones_stay(store, tmp_path, monkeypatch, n_values) -> None:
    monkeypatch.setattr(slices, "N_VALUES", n_values)
    sent, path = old(40), tmp_path / "left.jsonl"
    store.write(sent)
    before = rows(store)
    planned = migrate.transform(store, None, path=path, apply=False)
    assert rows(store) == before
    assert not path.exists()
    done = migrate.transform(store, None, path=path, apply=True)
    expected = expected_new(sent)
    same(rows(store), of(sent) | expected)
    assert done.n_values_written == planned.n_values_written == len(only(expected, NEW_MARKERS))
    n_axes = (~np.isnan(sent.values[:, :3])).sum(axis=1)
    assert done.n_axes_left == planned.n_axes_left == n_axes[n_axes < 3].sum() > 0
    left = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(left) == done.n_rows_left == ((n_axes > 0) & (n_axes < 3)).sum()
    assert all("missing" in one["reasons"][0] and one["time_utc"].startswith("2025-01-01T00:0") for one in left)
    again = migrate.transform(store, None, path=tmp_path / "again.jsonl", apply=True)
    assert (again.n_values_written, again.n_values_there, again.n_conflicts) == (0, done.n_values_written, 0)
    same(rows(store), of(sent) | expected)


def test_transformed_to_another_store_and_the_old_one_is_untouched(make, tmp_path) -> None:
    source, target = make(), make()
    sent = {asset: old(30, asset, seed=seed) for seed, asset in enumerate(("lathe", "mill"))}
    for batch in sent.values():
        source.write(batch)
    for apply in (False, True, True):
        done = migrate.transform(source, target, path=tmp_path / "left.jsonl", apply=apply)
        assert done.n_conflicts == 0
        assert done.n_values_written + done.n_values_there == sum(len(expected_new(one)) for one in sent.values())
        assert (done.n_values_there > 0) == (apply and bool(target.assets()) and done.n_values_written == 0)
        if not apply:
            assert target.assets() == {}
    for asset, batch in sent.items():
        same(rows(target, asset), expected_new(batch))
        assert rows(source, asset) == of(batch)


def test_todays_values_are_never_overwritten_and_each_conflict_is_told(make, tmp_path) -> None:
    source, target, path = make(), make(), tmp_path / "left.jsonl"
    source.write(full(4))
    theirs = Batch.of_asset("lathe", full(4).times_ns[1:2], ("temp_body", "temp_shaft"), np.array([[99.5, nan]]))
    target.write(theirs)
    done = migrate.transform(source, target, path=path, apply=True)
    assert (done.n_conflicts, done.n_values_written, done.n_rows_left) == (1, 15, 1)
    same(rows(target), expected_new(full(4)) | of(theirs))
    (left,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert left["time_ns"] == T0 + STEP
    assert left["old"]["tempA"] == full(4).values[1, 3]
    assert left["reasons"] == [
        f"temp_body: the store has 99.5, the old fields give {full(4).values[1, 3]:.17g}; left as it is"
    ]


@pytest.mark.parametrize("n_values", [500_000, 90])
def test_deleted_after_a_backup_and_nothing_else_is_lost(store, tmp_path, monkeypatch, n_values) -> None:
    """Old rows alone, mixed ones, new ones between and around, another asset, and a field that is in no format."""
    monkeypatch.setattr(slices, "N_VALUES", n_values)
    sent, path = old(30), tmp_path / "backup.parquet"
    store.write(sent)
    stays = [new(5, first=-3), new(6, first=12), new(4, first=40), new(9, "mill")]
    between = Batch.of_asset("lathe", T0 + STEP * np.arange(20) + 5, ("temp_body",), np.full((20, 1), 7.0))
    other = Batch.of_asset("lathe", sent.times_ns[3:4], ("humidity",), np.array([[0.5]]))
    for batch in (*stays, between, other):
        store.write(batch)
    before = rows(store)
    planned = migrate.delete(store, backup_path=path, apply=False)
    assert (planned.n_samples, planned.backup) == (30, None)
    assert not path.exists()
    assert rows(store) == before
    done = migrate.delete(store, backup_path=path, apply=True)
    assert done.n_samples == 30
    assert rows(store) == of(stays[0]) | of(stays[1]) | of(stays[2]) | of(between) | of(other)
    assert rows(store, "mill") == of(stays[3])
    assert migrate.find(store) == []
    kept = {}
    for _, batch in read_backup(path):
        kept |= of(batch)
    assert only(kept, MARKERS) == only(before, MARKERS)
    assert kept.items() <= before.items()
    again = migrate.delete(store, backup_path=tmp_path / "again.parquet", apply=True)
    assert again == (0, 0, None)


def test_transform_then_delete_leaves_todays_values_and_current(store, tmp_path) -> None:
    sent = full(25)
    store.write(sent)
    migrate.transform(store, None, path=tmp_path / "left.jsonl", apply=True)
    migrate.delete(store, backup_path=tmp_path / "backup.parquet", apply=True)
    same(rows(store), expected_new(sent))


def test_a_backup_goes_back_into_a_store_value_by_value(store, tmp_path) -> None:
    sent = old(25)
    store.write(sent)
    migrate.delete(store, backup_path=tmp_path / "backup.parquet", apply=True)
    assert rows(store) == {}
    for sensor_type, batch in read_backup(tmp_path / "backup.parquet"):
        store.view(sensor_type).write(batch)
    assert rows(store) == of(sent)


def test_an_empty_count_is_0_beside_other_values(store) -> None:
    store.write(full(3))
    assert store.n_values("lathe", *EVER, FIELDS) == 18
    assert store.n_values("lathe", T0 + 1, T0 + 2 * STEP, FIELDS[:2]) == 2
    assert store.n_values("lathe", *EVER, ()) == store.n_values("mill", *EVER, FIELDS) == 0
    assert store.n_values("lathe", *EVER, ("nobody's",)) == 0


def test_killed_between_backup_and_deletion_it_starts_again(store, tmp_path, monkeypatch) -> None:
    store.write(full())
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "_erase", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            migrate.delete(store, backup_path=tmp_path / "first.parquet", apply=True)
    assert rows(store) == of(full())
    assert migrate.delete(store, backup_path=tmp_path / "second.parquet", apply=True).n_samples == 20
    assert rows(store) == {}
    for name in ("first", "second"):
        assert sum(len(batch) for _, batch in read_backup(tmp_path / f"{name}.parquet")) == 20


def test_a_backup_that_reads_back_otherwise_stops_before_anything_is_deleted(store, tmp_path, monkeypatch) -> None:
    from foresense.stores import backup

    store.write(full())
    path = tmp_path / "backup.parquet"

    def damaged(file):
        for sensor_type, batch in read_backup(file):
            batch.values[3, 2] += 1e-9
            yield backup.Stretch(sensor_type, batch)

    monkeypatch.setattr(backup, "read_backup", damaged)
    with pytest.raises(
        StoreError, match=r"reads back as 20 samples with SHA-256 \w+, written were 20 with \w+; nothing"
    ):
        migrate.delete(store, backup_path=path, apply=True)
    assert rows(store) == of(full())
    assert not path.exists()


def test_an_existing_backup_is_never_overwritten(store, tmp_path) -> None:
    store.write(full())
    (tmp_path / "backup.parquet").write_text("mine")
    with pytest.raises(FileExistsError, match="a backup is never overwritten; move it away"):
        migrate.delete(store, backup_path=tmp_path / "backup.parquet", apply=True)
    assert rows(store) == of(full())


def test_samples_that_came_after_the_backup_are_not_deleted(store, tmp_path, monkeypatch) -> None:
    store.write(full())
    late = Batch.of_asset("lathe", np.array([T0 + STEP // 2]), ("tempA",), np.array([[61.0]]))

    def and_then(*arguments):
        done = write_backup(*arguments)
        store.write(late)
        return done

    monkeypatch.setattr(migrate, "write_backup", and_then)
    with pytest.raises(
        StoreError,
        match=r"asset 'lathe', 2025-01-01T00:00:00Z to 2025-01-01T00:03:10Z: the store holds other samples than .*"
        r"backup.parquet, so something writes there; .* were not deleted. Stop what writes, and run the command again",
    ):
        migrate.delete(store, backup_path=tmp_path / "backup.parquet", apply=True)
    assert rows(store) == of(full()) | of(late)
