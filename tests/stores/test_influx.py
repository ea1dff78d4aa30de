"""InfluxStore against real servers: round trip, means, refusals, outages, deletion."""

import json
import time
import uuid

import numpy as np
import pytest
import urllib3
from pydantic import SecretStr

from foresense.stores.batch import Batch, StoreError, StoreUnavailableError
from foresense.stores.influx import InfluxSettings, InfluxStore
from foresense.stores.influxql import FIRST_NS, LAST_NS

_HOUR_NS = 3600 * 10**9
_START_NS = 1_700_000_000 * 10**9
_CHANNELS = ("temp_body", "temp_shaft", "current", "vibration_magnitude")


def _hours(n_rows, asset="lathe-1", seed=0, step_ns=61 * 10**9):
    """A sample every 61 s with gaps: single values, and half a day where it is long."""
    rng = np.random.default_rng(seed)
    values = rng.normal(60, 5, (n_rows, len(_CHANNELS)))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[n_rows // 3 : n_rows // 3 + 12 * 59 * (n_rows > 2000)] = np.nan
    return Batch.of_asset(asset, _START_NS + step_ns * np.arange(n_rows), _CHANNELS, values)


def _raw(store, lines, path="/write"):
    """Write lines as another program would."""
    query = f"?db={store.settings.bucket}&precision=ns"
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request(
            "POST", store.settings.url + path + query, body=lines.replace("M,", f"{store.settings.measurement},")
        )
    assert answer.status == 204, answer.data


def _alike(store, **changes):
    return InfluxStore(store.settings.model_copy(update=changes))


def _n_rows_with_a_value(batch):
    return int((~np.isnan(batch.values)).any(axis=1).sum())


@pytest.mark.parametrize(("batch_rows", "chunk_rows"), [(10_000, 10_000), (999, 7), (1, 1)])
def test_samples_come_back_equal_however_they_are_cut(store, batch_rows, chunk_rows):
    sent = _hours(3000 if batch_rows > 1 else 40)
    with _alike(store, batch_rows=batch_rows, chunk_rows=chunk_rows) as cut:
        assert cut.write(sent) == []
        found = cut.read("lathe-1", FIRST_NS, LAST_NS, channels=_CHANNELS)
    there = ~np.isnan(sent.values).all(axis=1)
    np.testing.assert_array_equal(found.times_ns, sent.times_ns[there])
    assert found.values.tobytes() == sent.values[there].tobytes()
    assert (found.assets, found.channels) == (("lathe-1",), _CHANNELS)


def test_a_range_has_its_start_and_not_its_end_and_channels_come_as_asked(store):
    store.write(Batch.of_asset("lathe", np.arange(10), ("a", "b"), np.arange(20.0).reshape(10, 2)))
    found = store.read("lathe", 3, 6, channels=("b", "nobody's", "a", "time", "b"))
    assert found.times_ns.tolist() == [3, 4, 5]
    np.testing.assert_array_equal(found.values[1], [9, np.nan, 8, np.nan, 9])
    assert len(store.read("lathe", 6, 6, channels=("a",))) == len(store.read("mill", 0, 99, channels=("a",))) == 0
    assert store.read("lathe", 0, 99, channels=("nobody's",)).values.shape == (0, 1)
    assert store.read("lathe", 0, 99, channels=()).values.shape == (0, 0)


def test_of_two_values_the_one_written_last_holds_and_twice_is_once(store):
    first = Batch.of_asset("lathe", np.array([1, 2, 2]), ("a", "b"), np.array([[1, 1], [2, 2], [3, np.nan]]))
    for _ in range(2):
        store.write(first)
    store.write(Batch.of_asset("lathe", np.array([1]), ("b",), np.array([[9.0]])))
    found = store.read("lathe", 0, 9, channels=("a", "b"))
    assert found.values.tolist() == [[1, 9], [3, 2]]


@pytest.mark.parametrize("origin_ns", [0, 7 * 60 * 10**9])
def test_means_are_those_of_numpy_and_gaps_stay_gaps(store, origin_ns):
    sent = _hours(3000)
    store.write(sent)
    start, end = _START_NS + 5 * 10**9, int(sent.times_ns[-1])
    found = store.read("lathe-1", start, end, channels=_CHANNELS, every_ns=_HOUR_NS, origin_ns=origin_ns)
    inside = (sent.times_ns >= start) & (sent.times_ns < end) & ~np.isnan(sent.values).all(axis=1)
    interval = (sent.times_ns - origin_ns) // _HOUR_NS * _HOUR_NS + origin_ns
    expected = np.unique(interval[inside])
    np.testing.assert_array_equal(found.times_ns, expected)
    means = [np.nanmean(sent.values[inside & (interval == begin)], axis=0) for begin in expected]
    np.testing.assert_allclose(found.values, means, rtol=1e-13)
    assert (np.diff(found.times_ns) > _HOUR_NS).any()


def test_a_channel_without_a_sample_in_an_interval_is_nan(store):
    store.write(Batch.of_asset("lathe", np.array([-15, 2, 12]), ("a", "b"), np.array([[4, 5], [1, np.nan], [2, 3]])))
    found = store.read("lathe", -20, 20, channels=("b", "a"), every_ns=10)
    assert found.times_ns.tolist() == [-20, 0, 10]
    np.testing.assert_array_equal(found.values, [[5, 4], [np.nan, 1], [3, 2]])


def test_several_series_of_one_asset_are_neither_lost_nor_doubled(store):
    tags = store.settings.asset_tag
    store.write(Batch.of_asset("lathe", np.array([1, 2]), ("a", "b"), np.array([[1.0, 4], [2, np.nan]])))
    with _alike(store, sensor_type="old") as other:
        other.write(
            Batch.of_asset("lathe", np.array([1, 2, 3]), ("a", "b"), np.array([[3.0, np.nan], [np.nan, 6], [7, 8]]))
        )
    for chunk_rows in (1, 10_000):
        with _alike(store, chunk_rows=chunk_rows) as cut:
            found = cut.read("lathe", 0, 9, channels=("a", "b"))
            assert found.times_ns.tolist() == [1, 2, 3]
            assert found.values.tolist() == [[2, 4], [2, 6], [7, 8]], tags
    mean = store.read("lathe", 0, 9, channels=("a", "b"), every_ns=10)
    np.testing.assert_allclose(mean.values, [[(1 + 3 + 2 + 7) / 4, 6]])


def test_names_can_neither_break_out_of_a_line_nor_of_a_query(store):
    names = (
        "mill' OR '1'='1",
        'a","b" FROM x; DROP DATABASE "y" --',
        "a\\b\\'c",
        "Fräse 7 😀",
        "#no comment",
        "a=b,c d",
        "x" * 300,
    )
    for at, name in enumerate(names):
        store.write(Batch.of_asset(name, np.array([at]), (name,), np.array([[float(at)]])))
    for at, name in enumerate(names):
        found = store.read(name, -1, 99, channels=(name,))
        assert (found.times_ns.tolist(), found.values.tolist()) == ([at], [[at]])
    assert store.assets() == {name: (at, at) for at, name in enumerate(names)}


def test_assets_are_found_with_their_first_and_last_time(store):
    assert store.assets() == {}
    for seed, asset in enumerate(("lathe-1", "robot-arm-02")):
        store.write(_hours(300 + seed, asset, seed=3))
    last = _START_NS + 61 * 10**9 * np.array([299, 300])
    assert store.assets() == {"lathe-1": (_START_NS, last[0]), "robot-arm-02": (_START_NS, last[1])}


def test_bad_rows_are_refused_alone_with_the_servers_words_and_the_line(store):
    n = 200
    values = np.arange(2.0 * n).reshape(n, 2)
    values[[17, 150], 1] = np.inf
    times = np.arange(n)
    times[199] = LAST_NS + 1
    refused = store.write(Batch.of_asset("lathe", times, ("a", "b"), values))
    assert [found.row for found in refused] == [17, 150, 199]
    assert "a=34,b=inf 17" in refused[0].reason.partition("; line: ")[2]
    if store.settings.flavour != "v3":
        assert "unable to parse" in refused[0].reason
        assert "time outside range" in refused[2].reason
    found = store.read("lathe", 0, n, channels=("a", "b"))
    kept = np.delete(np.arange(n), [17, 150, 199])
    np.testing.assert_array_equal(found.times_ns, kept)
    np.testing.assert_array_equal(found.values, values[kept])


def test_a_channel_cannot_pretend_that_the_server_dropped_more(store):
    batch = Batch.of_asset("lathe", np.array([1, 2]), ("a", "dropped"), np.array([[np.inf, 2], [1, 2]]))
    assert [found.row for found in store.write(batch)] == [0]
    assert store.read("lathe", 0, 9, channels=("dropped",)).times_ns.tolist() == [2]


def test_a_long_line_is_shown_in_part(store):
    (refused,) = store.write(Batch.of_asset("lathe" * 200, np.array([1]), ("a",), np.array([[np.inf]])))
    assert refused.reason.endswith("...")
    assert len(refused.reason) < 1100


@pytest.fixture
def direct(influxd):
    """influxd 1.6.7 itself, for what only another program can make."""
    with InfluxStore(InfluxSettings(url=influxd.url, measurement=f"m_{uuid.uuid4().hex}")) as store:
        yield store


@pytest.mark.parametrize("n_taken", [0, 3])
def test_rows_whose_field_has_another_type_are_refused_and_the_others_kept(direct, n_taken):
    _raw(direct, "M,workspace_id=lathe q=1i 0")
    values = np.ones((8, 2))
    values[:n_taken, 1] = np.nan
    refused = direct.write(Batch.of_asset("lathe", np.arange(1, 9), ("a", "q"), values))
    assert [found.row for found in refused] == list(range(n_taken, 8))
    assert 'field type conflict: input field "q" on measurement' in refused[-1].reason
    assert refused[-1].reason.endswith("a=1,q=1 8")
    assert direct.read("lathe", 1, 99, channels=("a",)).times_ns.tolist() == list(range(1, 1 + n_taken))


def test_whole_numbers_beyond_2_53_read_as_the_nearest_float_and_text_is_an_error(direct):
    _raw(direct, 'M,workspace_id=lathe q=9007199254740993i,on=true,s="4" 1')
    assert direct.read("lathe", 0, 9, channels=("q", "on")).values.tolist() == [[9007199254740992, 1]]
    with pytest.raises(StoreError, match="field 's' holds text, not numbers; leave it out of the channels"):
        direct.read("lathe", 0, 9, channels=("q", "s"))
    with pytest.raises(StoreError, match=f"{direct.settings.url}: the server answers: .*mean.*; asked: SELECT mean"):
        direct.read("lathe", 0, 9, channels=("s",), every_ns=10)


def test_an_error_below_http_200_is_raised(direct):
    with pytest.raises(StoreError, match=r"the server answers: undefined function nofunc\(\); asked: SELECT nofunc"):
        list(direct._ask("SELECT nofunc(a) FROM m"))
    with pytest.raises(StoreError, match="answers 400: error parsing query: found SELEC"):
        list(direct._ask("SELEC 1"))


def test_a_database_that_is_not_there_is_not_the_datas_fault(direct):
    with _alike(direct, bucket="nobody's") as lost:
        batch = Batch.of_asset("lathe", np.array([1]), ("a",), np.ones((1, 1)))
        advice = r"""answers 404: .*database not found: .*; a bridge makes the bucket "nobody's" at its first"""
        with pytest.raises(StoreUnavailableError, match=advice):
            lost.write(batch)
        with pytest.raises(StoreUnavailableError, match=advice):
            lost.read("lathe", 0, 9, channels=("a",))
        with pytest.raises(StoreUnavailableError, match=advice):
            lost.delete(0, 9)


def test_deletion_takes_the_start_and_leaves_the_end(store):
    if store.settings.writer == "client" or store.flavour == "v3":
        pytest.skip("neither influxd 1.6.7 nor 3 Core has /api/v2/delete")
    for asset in ("lathe", "mi'll"):
        store.write(Batch.of_asset(asset, np.arange(10), ("a",), np.ones((10, 1))))
    store.delete(3, 3)
    store.delete(3, 6, "mi'll")
    store.delete(0, 2)
    assert store.read("lathe", 0, 99, channels=("a",)).times_ns.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert store.read("mi'll", 0, 99, channels=("a",)).times_ns.tolist() == [2, 6, 7, 8, 9]
    store.delete(FIRST_NS, LAST_NS + 1, "mi'll")
    assert store.assets() == {"lathe": (2, 9)}


def test_a_database_is_made_with_its_retention_and_never_changed(direct):
    bucket = f"for ever {uuid.uuid4().hex}"
    with _alike(direct, bucket=bucket) as store:
        store.prepare()
        store.prepare()
        with pytest.raises(StoreError, match="exists and keeps samples for ever, asked for 30 days; change it by hand"):
            store.prepare(retention_days=30)
    with _alike(direct, bucket=bucket + "2") as store:
        store.prepare(retention_days=1.5)
        store.prepare(retention_days=1.5)
        store.prepare()
        with pytest.raises(StoreError, match=r"keeps samples for 1\.5 days, asked for 30 days"):
            store.prepare(retention_days=30)
        now = time.time_ns()
        batch = Batch.of_asset("lathe", np.array([now - 48 * _HOUR_NS, now]), ("a",), np.ones((2, 1)))
        (refused,) = store.write(batch)
        assert refused.row == 0
        assert "points beyond retention policy" in refused.reason


def test_a_body_too_large_for_the_server_is_halved(real_server, tmp_path):
    server = real_server("influxd", tmp_path, {"HTTP_MAX_BODY_SIZE": "3000"})
    with server, InfluxStore(InfluxSettings(url=server.url)) as store:
        store.prepare()
        batch = _hours(200)
        assert store.write(batch) == []
        assert len(store.read("lathe-1", 0, LAST_NS, channels=_CHANNELS)) == _n_rows_with_a_value(batch)
        (refused,) = store.write(Batch.of_asset("lathe-1", np.array([1]), ("b" * 3000, "a"), np.ones((1, 2))))
        assert refused.reason.startswith("Request Entity Too Large; line: ")


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_went_away_is_unavailable_and_has_everything_when_it_is_back(real_server, tmp_path, how):
    batch = _hours(50)
    with real_server("influxd", tmp_path) as server, InfluxStore(InfluxSettings(url=server.url, timeout_s=5)) as store:
        store.prepare()
        assert store.write(batch.rows(slice(25))) == []
        getattr(server, how)()
        with pytest.raises(
            StoreUnavailableError, match=f"{server.url} cannot be reached .*; start the server, or set FORES"
        ):
            store.write(batch)
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            store.read("lathe-1", 0, LAST_NS, channels=_CHANNELS)
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            store.health()
        by_client = _alike(store, flavour="v2", org="-", token=SecretStr("any"), writer="client")
        with by_client, pytest.raises(StoreUnavailableError, match="cannot be reached"):
            by_client.write(batch)
        server.start()
        assert len(store.read("lathe-1", 0, LAST_NS, channels=_CHANNELS)) == 25
        assert store.write(batch) == []
        assert len(store.read("lathe-1", 0, LAST_NS, channels=_CHANNELS)) == _n_rows_with_a_value(batch)


def test_a_wrong_password_is_not_the_datas_fault(real_server, tmp_path):
    with real_server("influxd", tmp_path, {"HTTP_AUTH_ENABLED": "true"}) as server:
        with urllib3.PoolManager() as pool:
            user = {"q": "CREATE USER plant WITH PASSWORD 'it''s' WITH ALL PRIVILEGES".replace("''", "\\'")}
            assert pool.request("POST", f"{server.url}/query", fields=user).status == 200
        settings = InfluxSettings(url=server.url, token="plant:wrong-secret")
        batch = Batch.of_asset("lathe", np.array([1]), ("a",), np.ones((1, 1)))
        with InfluxStore(settings) as store:
            advice = "answers 401: authorization failed; set FORESENSE_INFLUX_TOKEN to one that may use 'New_Sensor'"
            for ask in (lambda: store.write(batch), store.assets, store.prepare):
                with pytest.raises(StoreUnavailableError, match=advice) as caught:
                    ask()
                assert "wrong-secret" not in repr((caught.value, caught.value.__cause__, settings))
        with _alike(store, token=SecretStr("plant:it's")) as store:
            store.prepare()
            assert store.write(batch) == []
            assert store.assets() == {"lathe": (1, 1)}


def test_the_server_is_recognised(influxd, victoria):
    with InfluxStore(InfluxSettings(url=influxd.url)) as store:
        health = store.health()
        assert (store.flavour, health.flavour, health.is_ready) == ("v1", "v1", True)
        assert health.version.startswith("1.")
    with InfluxStore(InfluxSettings(url=victoria.url)) as store:
        assert (store.flavour, store.health().flavour) == ("vm", "vm")


def test_victoria_metrics_has_what_either_writer_sent(victoria):
    mark = uuid.uuid4().hex
    times = 10**6 * np.arange(_START_NS // 10**6, _START_NS // 10**6 + 300)  # it keeps milliseconds
    for writer in ("session", "client"):
        sent = Batch.of_asset(f"{writer} {mark}", times, ("a",), np.random.default_rng(0).normal(size=(300, 1)))
        with InfluxStore(InfluxSettings(url=victoria.url, writer=writer, measurement="m", batch_rows=77)) as store:
            assert store.write(sent) == []
        found = _exported(victoria.url, sent.assets[0])
        assert [time_ms * 10**6 for time_ms in found["timestamps"]] == times.tolist()
        np.testing.assert_allclose(found["values"], sent.values[:, 0], rtol=1e-11)  # seen: it keeps 12 digits
        assert found["metric"] == {
            "__name__": "m_a",
            "workspace_id": sent.assets[0],
            "sensor_type": "machine",
        }


def _exported(url, asset):
    """What VictoriaMetrics has of one asset, once it has been told to show everything that it took."""
    with urllib3.PoolManager() as pool:
        assert pool.request("GET", f"{url}/internal/force_flush").status == 200
        match = {"match[]": f'{{workspace_id="{asset}"}}', "start": "0"}
        (line,) = pool.request("GET", f"{url}/api/v1/export", fields=match).data.splitlines()
        return json.loads(line)


def test_victoria_metrics_says_what_it_cannot_do(victoria):
    with InfluxStore(InfluxSettings(url=victoria.url)) as store:
        with pytest.raises(StoreError, match="answers no InfluxQL; it can only be written to"):
            store.read("lathe", 0, 9, channels=("a",))
        with pytest.raises(StoreError, match="VictoriaMetrics cannot delete a range of time"):
            store.delete(0, 9)
        store.prepare()
        with pytest.raises(StoreError, match="time to keep samples is set by the server's option -retentionPeriod"):
            store.prepare(retention_days=3)


def test_influxdb_client_goes_by_the_endpoint_of_2_and_hears_its_refusals(influxd, shims):
    with shims.Shim(influxd.url) as shim:
        settings = InfluxSettings(
            url=shim.url, flavour="v2", org="-", token="any:thing", writer="client", bucket="nowhere"
        )
        with InfluxStore(settings) as store:
            batch = Batch.of_asset("lathe", np.array([1]), ("a",), np.ones((1, 1)))
            with pytest.raises(
                StoreUnavailableError, match='answers 404: database not found: "nowhere"; a bridge makes the bucket'
            ):
                store.write(batch)
            with pytest.raises(StoreError, match="cannot delete: 404: 404 page not found"):
                store.delete(0, 9)
            with pytest.raises(StoreError, match="cannot create the bucket: 404"):
                store.prepare()
            assert (store.health().flavour, store.health().is_ready) == ("v2", True)
        assert set(shim.paths) >= {"/api/v2/write", "/api/v2/delete"}
