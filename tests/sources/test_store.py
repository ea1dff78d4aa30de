"""Reading a store: what the store means, what is asked again, and that keeping changes no number."""

import importlib.util
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.config import IngestConfig, read_pipeline
from foresense.sources import Places, SourceError, load_source
from foresense.sources.kept import kept_path
from foresense.sources.store import read_means
from foresense.stores import Batch
from foresense.stores.embedded import EmbeddedStore
from foresense.stores.influx import InfluxSettings, InfluxStore

HOUR = 3600 * 10**9
DAY = 24 * HOUR
START = 1_735_689_600 * 10**9  # 2025-01-01, a Wednesday
FIELDS = ("temp_body", "current")


def config(**fields):
    channels = ({"name": "temp_body", "unit": "Cel"}, {"name": "amps", "unit": "A", "column": "current"})
    return IngestConfig(**{"source": "store", "channels": channels, **fields})


def samples(asset, times_ns, seed=0):
    values = np.random.default_rng(seed).normal(50, 5, (len(times_ns), 2))
    return Batch.of_asset(asset, np.asarray(times_ns, np.int64), FIELDS, values)


def means(batch, origin_ns=START):
    """Beginnings of the hours that hold samples, and the mean of each, one after the other."""
    hours = np.unique((batch.times_ns - origin_ns) // HOUR)
    found = [np.nanmean(batch.values[(batch.times_ns - origin_ns) // HOUR == hour], axis=0) for hour in hours]
    return hours * HOUR + origin_ns, np.array(found)


class Counting:
    """A store that remembers which ranges it was asked for."""

    def __init__(self, store):
        self._store = store
        self.asked = []

    def read(self, asset, start_ns, end_ns, **options):
        self.asked.append((asset, (start_ns - START) / HOUR, (end_ns - START) / HOUR))
        return self._store.read(asset, start_ns, end_ns, **options)

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.fixture
def store(tmp_path):
    opened = EmbeddedStore(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def influx(tmp_path_factory):
    path = Path(__file__).parents[1] / "stores" / "servers.py"
    spec = importlib.util.spec_from_file_location("store_servers", path)
    servers = sys.modules.setdefault("store_servers", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(servers)
    with (
        servers.influxd(tmp_path_factory.mktemp("influxd")) as server,
        InfluxStore(InfluxSettings(url=server.url, flavour="v1")) as opened,
    ):
        opened.prepare()
        yield opened


def test_means_over_hours_are_taken_by_the_store_and_gaps_stay_gaps(store, tmp_path):
    times = START + np.r_[np.arange(0, 5 * HOUR, 20 * 10**9), np.arange(9 * HOUR, 12 * HOUR, 20 * 10**9)]
    batch = samples("lathe", times)
    batch.values[:10, 1] = np.nan
    store.write(batch)
    (table,) = read_means(store, "a store", config(), tmp_path / "kept", START + DAY).tables
    at, expected = means(batch)
    np.testing.assert_array_equal(table.times_ns, at)
    np.testing.assert_allclose(table.values, expected, rtol=1e-14)  # sums of 180 values, compensated
    assert (table.asset, table.place(1)) == ("lathe", "a store:2")


@pytest.mark.slow
def test_influxdb_gives_the_same_recording_as_the_embedded_store(store, influx, tmp_path):
    batch = samples("mill", START + np.arange(0, 3 * DAY, 61 * 10**9))
    batch.values[40:300, 0] = np.nan
    for each in (store, influx):
        each.write(batch)
    ours, theirs = (
        read_means(each, name, config(asset="mill"), tmp_path / name, START + 9 * DAY).tables[0]
        for name, each in (("ours", store), ("theirs", influx))
    )
    np.testing.assert_array_equal(ours.times_ns, theirs.times_ns)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-14)  # influxd adds up without compensation


def test_the_hour_that_is_not_over_is_left_out(store, tmp_path):
    store.write(samples("lathe", START + np.arange(0, 150, 10) * 60 * 10**9))
    (table,) = read_means(store, "s", config(), tmp_path, START + 2 * HOUR + 25 * 60 * 10**9).tables
    np.testing.assert_array_equal(table.times_ns, START + np.array([0, HOUR]))


def test_a_clock_that_runs_ahead_is_told_and_its_samples_wait(store, tmp_path):
    store.write(samples("lathe", START + np.array([0, 1, 29, 30]) * HOUR))
    now = START + 3 * HOUR
    found = read_means(store, "s", config(), tmp_path, now)
    assert [len(table.times_ns) for table in found.tables] == [2]
    assert [(one.kind, one.n, one.where) for one in found.findings] == [
        ("future", 2, "newest 2025-01-02T06:00:00+00:00")
    ]
    assert len(read_means(store, "s", config(), tmp_path, now + 2 * DAY).tables[0].times_ns) == 4


def test_only_the_newest_week_is_asked_for_the_second_time(store, tmp_path):
    store.write(samples("lathe", START + np.arange(30 * 24) * HOUR))
    counting = Counting(store)
    first = read_means(counting, "s", config(late_h=48), tmp_path, START + 30 * DAY)
    store.write(samples("lathe", START + np.arange(30 * 24, 31 * 24) * HOUR, seed=1))
    counting.asked.clear()
    second = read_means(counting, "s", config(late_h=48), tmp_path, START + 31 * DAY)
    assert counting.asked == [("lathe", 30 * 24 - 48, 31 * 24)]
    assert (len(first.tables[0].times_ns), len(second.tables[0].times_ns)) == (720, 744)
    assert first.sha256 != second.sha256
    afresh = read_means(store, "s", config(), tmp_path / "other", START + 31 * DAY)
    assert second.sha256 == afresh.sha256


def test_a_late_sample_is_seen_however_late_it_is(store, tmp_path):
    store.write(samples("lathe", START + np.r_[0, np.arange(100, 30 * 24)] * HOUR))
    now = START + 30 * DAY
    read_means(store, "s", config(), tmp_path, now)
    for late in ([START + 29 * DAY + 5], [START + 10 * DAY + 5], START + np.arange(1, 100) * HOUR):  # the last: a gap
        store.write(samples("lathe", late, seed=1))
        fresh = read_means(store, "s", config(), tmp_path / "other" / str(len(late)), now + HOUR)
        assert read_means(store, "s", config(), tmp_path, now + HOUR).sha256 == fresh.sha256


@pytest.mark.slow
def test_an_old_value_that_was_overwritten_is_seen_after_whole_days_at_the_latest(influx, tmp_path):
    asked = config(asset="drill")
    influx.write(samples("drill", START + np.arange(30 * 24) * HOUR))
    now = START + 30 * DAY
    before = read_means(influx, "s", asked, tmp_path, now)
    influx.write(samples("drill", [START + 10 * DAY], seed=1))
    assert read_means(influx, "s", asked, tmp_path, now + HOUR).sha256 == before.sha256
    after = read_means(influx, "s", asked, tmp_path, now + 7 * DAY)
    assert after.sha256 == read_means(influx, "s", asked, tmp_path / "other", now + 7 * DAY).sha256 != before.sha256


@pytest.mark.slow
def test_another_bucket_of_the_same_server_is_another_store(influx, tmp_path):
    asked = config(asset="press")
    other = InfluxStore(influx.settings.model_copy(update={"bucket": "another"}))
    other.prepare()
    for seed, each in enumerate((influx, other)):
        each.write(samples("press", START + np.arange(30 * 24) * HOUR, seed=seed))
    kept = [read_means(each, "influx", asked, tmp_path, START + 30 * DAY).sha256 for each in (influx, other)]
    fresh = read_means(other, "influx", asked, tmp_path / "empty", START + 30 * DAY).sha256
    other.close()
    assert kept[0] != kept[1] == fresh


def test_a_back_fill_before_the_first_sample_asks_for_everything_at_once(store, tmp_path):
    store.write(samples("lathe", START + np.arange(20 * 24, 30 * 24) * HOUR))
    read_means(store, "s", config(), tmp_path, START + 30 * DAY)
    store.write(samples("lathe", START + np.arange(20 * 24) * HOUR))
    (table,) = read_means(store, "s", config(), tmp_path, START + 30 * DAY).tables
    assert len(table.times_ns) == 720


def test_what_the_store_has_forgotten_is_forgotten(store, tmp_path):
    store.write(samples("lathe", START + np.arange(30 * 24) * HOUR))
    read_means(store, "s", config(), tmp_path, START + 30 * DAY)
    store.delete(START, START + 10 * DAY)
    (table,) = read_means(store, "s", config(), tmp_path, START + 30 * DAY).tables
    assert table.times_ns[0] == START + 10 * DAY


OTHER_ORDER = ({"name": "current", "unit": "A"}, {"name": "temp_body", "unit": "Cel"})


@pytest.mark.parametrize(
    "changed", [{"interval_s": 7200.0}, {"time_zone": "Asia/Kolkata"}, {"channels": OTHER_ORDER}], ids=str
)
def test_what_was_kept_of_another_question_is_not_used(store, tmp_path, changed):
    store.write(samples("lathe", START + np.arange(30 * 48) * HOUR // 2))
    now = START + 60 * DAY
    read_means(store, "s", config(), tmp_path / "kept", now)
    again = read_means(store, "s", config(**changed), tmp_path / "kept", now)
    assert again.sha256 == read_means(store, "s", config(**changed), tmp_path / "empty", now).sha256


def test_newest_rows_reaches_so_far_back_and_no_farther(store, tmp_path):
    store.write(samples("lathe", START + np.arange(100) * HOUR))
    counting = Counting(store)
    (table,) = read_means(counting, "s", config(newest_rows=30), tmp_path, START + DAY * 9).tables
    assert counting.asked == [("lathe", 70.0, 100.0)]
    assert len(table.times_ns) == 30
    (table,) = read_means(counting, "s", config(newest_rows=60), tmp_path, START + DAY * 9).tables
    assert len(table.times_ns) == 60


def test_half_hours_of_a_time_zone_move_the_grid(store, tmp_path):
    store.write(samples("lathe", START + np.arange(0, 6 * HOUR, 60 * 10**9)))
    (table,) = read_means(store, "s", config(time_zone="Asia/Kolkata"), tmp_path, START + DAY).tables
    assert set(table.times_ns % HOUR) == {HOUR // 2}


def test_a_kept_file_that_is_broken_is_told_and_read_anew(store, tmp_path, caplog):
    store.write(samples("lathe", START + np.arange(50) * HOUR))
    first = read_means(store, "s", config(), tmp_path, START + 9 * DAY)
    kept_path(tmp_path, "lathe").write_bytes(b"PAR1 no more")
    with caplog.at_level(logging.WARNING):
        assert read_means(store, "s", config(), tmp_path, START + 9 * DAY).sha256 == first.sha256
    assert "everything is asked of the store again" in caplog.text


def test_an_empty_store_and_an_unknown_asset_are_told(store, tmp_path):
    with pytest.raises(SourceError, match=r"^s: the store has no sample \(ingest.store, else FORESENSE_STORE\)"):
        read_means(store, "s", config(), tmp_path, START)
    store.write(samples("lathe", [START]))
    with pytest.raises(SourceError, match=r"^s: no asset 'mill' \(ingest.asset\); the store has: lathe$"):
        read_means(store, "s", config(asset="mill"), tmp_path, START + DAY)
    with pytest.raises(SourceError, match=r"^s: no interval of 3600 s \(ingest.interval_s\) is over yet"):
        read_means(store, "s", config(), tmp_path, START + HOUR // 2)


def test_the_source_opens_the_store_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FORESENSE_STORE", "embedded:from-environment")
    for folder in ("from-environment", "from-params"):
        opened = EmbeddedStore(tmp_path / folder)
        opened.write(samples(folder, START + np.arange(3) * HOUR))
        opened.close()
    places = Places(raw=tmp_path / "raw", project=tmp_path, kept=tmp_path / "kept")
    read = load_source("store")
    assert read(config(), places).tables[0].asset == "from-environment"
    assert read(config(store="embedded:from-params"), places).tables[0].asset == "from-params"
    with pytest.raises(ValueError, match="expected embedded:<folder>, influx or influx:<bucket>"):
        config(store="redis")
    monkeypatch.setenv("FORESENSE_STORE", "redis")
    with pytest.raises(ValueError, match="no store 'redis'; known: embedded:<folder>, influx"):
        read(config(), places)


def test_a_range_too_short_for_the_windows_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "pipelines: {live: {description: x, ingest: {source: store, newest_rows: 720, channels: [{name: a, unit: A}]}, "
        "window: {}, train: {candidates: {a: {}}}}}\n"
    )
    with pytest.raises(
        ValueError, match=r"newest_rows \(720\) is less than window.context \+ 3 x window.horizon \(1920\)"
    ):
        read_pipeline(tmp_path / "params.yaml", "live")


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    nights=st.lists(
        st.lists(st.tuples(st.integers(0, 24 * 60 - 1), st.integers(0, 60)), min_size=1, max_size=8),
        min_size=2,
        max_size=4,
    ),
    late_h=st.sampled_from([48.0, 72.0]),
    newest_rows=st.sampled_from([None, 30, 100]),
)
def test_reading_night_by_night_is_reading_once(tmp_path_factory, nights, late_h, newest_rows):
    """Samples come in any order, some late; what is read piece by piece is what one whole reading gives."""
    folder = tmp_path_factory.mktemp("nights")
    asked = config(late_h=late_h, newest_rows=newest_rows)
    opened = EmbeddedStore(folder / "store")
    opened.write(samples("lathe", [START]))
    for night, minutes in enumerate(nights):
        now = START + (night + 4) * DAY
        times = np.array([now - DAY + minute * 60 * 10**9 - late * HOUR // 60 * 24 for minute, late in minutes])
        opened.write(samples("lathe", np.maximum(times, START + 1), seed=night))
        step_by_step = read_means(opened, "s", asked, folder / "kept", now)
        at_once = read_means(opened, "s", asked, folder / f"at-once-{night}", now)
        assert step_by_step.sha256 == at_once.sha256
    opened.close()
