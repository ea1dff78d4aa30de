"""What is kept of anomalies, for how long, where, and how it is listed."""

import json
import os
import sys
import urllib.request
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from foresense.__main__ import app, main
from foresense.steps import forecast_source
from foresense.steps.anomalies import (
    RETENTION_DAYS,
    Anomaly,
    read_anomalies,
    record,
    select,
    store_anomalies,
)
from foresense.steps.forecast import store_of, write_to_store
from foresense.steps.forecast_store import companion, opened
from foresense.stores import Batch, StoreError, open_store

DAY = 86_400
ONE = Anomaly("temp_body", "measured-interval", 90, 71.5, 66.0, 64.0, 68.0, 5.5, 0.6, "medium", "lathe", 100, "3")


def test_what_is_recorded_reads_back(tmp_path) -> None:
    ahead = replace(ONE, rule="forecast-range", actual=None, version="latest-12ab")
    assert record(tmp_path, [ONE, ahead], made_at_s=100, judged=["lathe"]) == [ahead, ONE]
    assert read_anomalies(tmp_path) == [ahead, ONE]


def test_a_repeat_replaces_what_was_found_at_that_time_of_the_judged_assets(tmp_path) -> None:
    press, earlier = replace(ONE, asset="press"), replace(ONE, made_at_s=50)
    record(tmp_path, [earlier], made_at_s=50, judged=["lathe"])
    record(tmp_path, [ONE, press], made_at_s=100, judged=["lathe", "press"])
    record(tmp_path, [], made_at_s=100, judged=["lathe"])
    assert read_anomalies(tmp_path) == [earlier, press]


def test_rows_older_than_ninety_days_of_the_newest_go(tmp_path) -> None:
    assert RETENTION_DAYS == 90
    for day in (0, 1, 2, 91):
        record(tmp_path, [replace(ONE, made_at_s=day * DAY)], made_at_s=day * DAY, judged=["lathe"])
    assert [row.made_at_s // DAY for row in read_anomalies(tmp_path)] == [1, 2, 91]
    record(tmp_path, [], made_at_s=92 * DAY, judged=["lathe"])
    assert [row.made_at_s // DAY for row in read_anomalies(tmp_path)] == [2, 91]


def test_select_by_time_and_severity_gives_the_newest_and_worst_first() -> None:
    rows = [
        replace(ONE, made_at_s=at, severity=severity, share=share)
        for at, severity, share in ((1, "high", 0.9), (2, "low", 0.3), (2, "high", 0.85), (2, "high", 1.0))
    ]
    assert select(rows) == [rows[3], rows[2], rows[1], rows[0]]
    assert select(rows, since_s=2, severity="medium") == [rows[3], rows[2]]
    with pytest.raises(ValueError, match="no severity 'worst'; known: low, medium, high"):
        select(rows, severity="worst")


@pytest.mark.parametrize(("content", "message"), [(b"no parquet", "cannot be read"), (None, "columns")])
def test_a_damaged_file_says_so(tmp_path, content, message) -> None:
    path = tmp_path / "anomalies.parquet"
    path.write_bytes(content) if content else pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ValueError, match=message):
        read_anomalies(tmp_path)


def test_forecasts_have_places_of_their_own() -> None:
    assert companion("embedded:store/", "Forecasts", "plant") == "embedded:store-forecasts/plant"
    assert companion("embedded:a/b", "Anomalies", "plant") == "embedded:a/b-anomalies/plant"
    assert companion("influx:New_Sensor", "Forecasts", "plant") == "influx:Forecasts"
    with pytest.raises(ValueError, match="'influx:Anomalies' is where anomalies go"):
        companion("influx:Anomalies", "Anomalies", "plant")


def test_a_store_is_written_where_asked_or_where_ingest_reads_one(fleet, monkeypatch) -> None:
    assert store_of(fleet.config, "") is None
    assert store_of(fleet.config, "influx") == "influx"
    reading = fleet.config.ingest.model_copy(update={"source": "store", "store": None})
    live = fleet.config.model_copy(update={"ingest": reading})
    assert store_of(live, "") == "embedded:store"
    monkeypatch.setenv("FORESENSE_STORE", "embedded:elsewhere")
    assert store_of(live, "") == "embedded:elsewhere"


def faulty(fleet, small) -> list:
    """Two nights of a machine with a fault and of a sound one; the second finds it."""
    samples = small.cycle(24 * 12)
    ill = samples.copy()
    ill[-20:, 0] += 6.0
    fleet.write(small.recording("ill", ill), small.recording("sound", samples))
    return fleet.nights([24 * 11 - 1, 24 * 12 - 1])


def everything(store: str, kind: str, root) -> dict[str, np.ndarray]:
    """All that such a store holds of `ill` and `sound`, by asset."""
    whole = open_store(companion(store, kind, "plant"), os.environ, root)
    try:
        found = whole.view("plant")
        return {
            asset: np.nan_to_num(np.column_stack([
                (batch := found.read(asset, first, last + 1, channels=found.channels())).times_ns, batch.values
            ]))
            for asset, (first, last) in found.assets().items()
        }  # fmt: skip
    finally:
        whole.close()


def check_store(store: str, fleet, small) -> None:
    """Forecasts and anomalies are there, the measurements are as before, and a repeat changes nothing."""
    with opened_measurements(store, fleet) as measurements:
        measurements.prepare()
        times_ns = np.arange(5, dtype=np.int64) * 10**9
        measurements.write(Batch.of_asset("ill", times_ns, ("temp_body",), np.arange(5.0)[:, None]))
        before = (measurements.assets(), measurements.channels())
        first, second = faulty(fleet, small)
        for run in (first, second):
            write_to_store(run, store, fleet.layout)
        forecasts, anomalies = (everything(store, kind, fleet.layout.root) for kind in ("Forecasts", "Anomalies"))
        write_to_store(second, store, fleet.layout)
        for kind, known in (("Forecasts", forecasts), ("Anomalies", anomalies)):
            for asset, rows in everything(store, kind, fleet.layout.root).items():
                np.testing.assert_array_equal(rows, known[asset])
        assert (measurements.assets(), measurements.channels()) == before
    assert {asset: len(rows) for asset, rows in forecasts.items()} == {"ill": 48, "sound": 48}
    assert {asset: len(rows) for asset, rows in anomalies.items()} == {"ill": 1}
    with opened(store, "Forecasts", "plant", os.environ, fleet.layout.root, None) as found:
        asked = ("temp_body.predicted", "temp_body.upper", "step", "version")
        batch = found.read("ill", int(second.forecasts[0].times_s[0]) * 10**9, 2**62, channels=asked)
        np.testing.assert_array_equal(batch.values[:, 0], second.forecasts[0].predicted[:, 0])
        np.testing.assert_array_equal(batch.values[:, 1], second.forecasts[0].upper[:, 0])
        np.testing.assert_array_equal(batch.values[:, 2:], [[step, 1] for step in range(1, 25)])
    with opened(store, "Anomalies", "plant", os.environ, fleet.layout.root, RETENTION_DAYS) as found:
        prefix = "temp_body.measured-interval"
        asked = tuple(f"{prefix}.{name}" for name in ("actual", "deviation", "share", "severity", "time_s"))
        worst = second.anomalies[0]
        batch = found.read("ill", 0, 2**62, channels=asked)
        assert batch.times_ns.tolist() == [second.made_at_s * 10**9]
        level = ["low", "medium", "high"].index(worst.severity) + 1
        np.testing.assert_array_equal(batch.values, [[worst.actual, worst.deviation, worst.share, level, worst.time_s]])


def opened_measurements(store: str, fleet):
    return closing(open_store(store, os.environ, fleet.layout.root))


def test_an_embedded_store_keeps_forecasts_beside_the_measurements(fleet, small) -> None:
    check_store("embedded:store", fleet, small)


@pytest.fixture
def recent(small, monkeypatch) -> None:
    """The fleet's nights are the last ones: an InfluxDB refuses what is older than its retention."""
    monkeypatch.setattr(small, "START", pd.Timestamp.now("UTC").floor("D") - pd.Timedelta(days=13))


@pytest.mark.usefixtures("recent")
def test_influxdb_keeps_forecasts_in_buckets_of_their_own_and_forgets_anomalies(fleet, small, influx) -> None:
    check_store("influx", fleet, small)
    policies = []
    for name in ("Anomalies", "Forecasts"):
        with urllib.request.urlopen(f"{influx}/query?q=SHOW+RETENTION+POLICIES+ON+{name}") as answer:
            series = json.load(answer)["results"][0]["series"][0]
        policies.append(dict(zip(series["columns"], series["values"][0], strict=True)))
    assert [policy["duration"] for policy in policies] == ["2160h0m0s", "0s"]  # 90 days; for ever


def test_influxdb_is_spared_what_it_would_forget_at_once(fleet, small, influx, caplog) -> None:
    for run in faulty(fleet, small):  # nights of January 2025
        write_to_store(run, "influx", fleet.layout)
    assert everything("influx", "Anomalies", fleet.layout.root) == {}
    assert set(everything("influx", "Forecasts", fleet.layout.root)) == {"ill", "sound"}
    assert "1 anomalies are not written: found more than 90 days ago" in caplog.text


def test_a_bucket_that_keeps_anomalies_for_another_time_is_refused(fleet, small, influx) -> None:
    with opened("influx", "Anomalies", "plant", os.environ, fleet.layout.root, 30):
        pass
    with (
        pytest.raises(StoreError, match="'Anomalies' exists and keeps samples for 30 days, asked for 90 days"),
        opened("influx", "Anomalies", "plant", os.environ, fleet.layout.root, RETENTION_DAYS),
    ):
        pass


def test_an_embedded_store_forgets_anomalies_after_ninety_days(tmp_path) -> None:
    for day in (1, 40, 100, 131):
        with opened("embedded:store", "Anomalies", "plant", {}, tmp_path, RETENTION_DAYS) as store:
            store_anomalies(store, [replace(ONE, made_at_s=day * DAY), replace(ONE, asset="b", made_at_s=day * DAY)])
    with opened("embedded:store", "Anomalies", "plant", {}, tmp_path, RETENTION_DAYS) as store:
        found = store.assets()
        assert {asset: (first // 10**9 // DAY, last // 10**9 // DAY) for asset, (first, last) in found.items()} == {
            "lathe": (100, 131), "b": (100, 131),
        }  # fmt: skip


def test_the_commands(fleet, small, monkeypatch) -> None:
    monkeypatch.setattr(forecast_source, "champions", lambda *_: fleet.version)
    faulty(fleet, small)
    done = CliRunner().invoke(app, ["forecast", "plant", "--store", "embedded:store"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "2 success, 0 skipped, 0 failed; 1 at risk" in done.output
    assert "forecasts and anomalies are beside embedded:store" in done.output
    listed = CliRunner().invoke(app, ["anomalies", "plant", "--severity", "medium"], catch_exceptions=False)
    assert "plant: 1 anomalies" in listed.output or "temp_body" in listed.output
    none = CliRunner().invoke(app, ["anomalies", "plant", "--since", "2099-01-01"], catch_exceptions=False)
    assert "plant: 0 anomalies" in none.output


def test_only_when_not_one_was_forecast_does_the_command_fail(fleet, small, monkeypatch) -> None:
    monkeypatch.setattr(forecast_source, "champions", lambda *_: fleet.version)
    fleet.write(small.recording("short", small.cycle(20)))
    done = CliRunner().invoke(app, ["forecast", "plant"], catch_exceptions=False)
    assert done.exit_code == 1
    assert "20 of 48 rows" in done.output
    fleet.write(small.recording("short", small.cycle(20)), small.recording("long", small.cycle(200)))
    assert CliRunner().invoke(app, ["forecast", "plant", "--max-age-h", "1000"]).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["forecast", "plant", "--now", "soon"], "--now: 'soon' is no time; expected 2026-11-21"),
        (["anomalies", "plant", "--since", "ever"], "--since: 'ever' is no time"),
        (["anomalies", "plent"], "plant"),
        (["anomalies", "plant"], "plant/anomalies.parquet: not there; run `foresense forecast plant` first"),
    ],
)
def test_what_is_asked_wrongly_is_one_message(fleet, monkeypatch, capsys, words, message) -> None:
    monkeypatch.setattr(forecast_source, "champions", lambda *_: fleet.version)
    monkeypatch.setattr(sys, "argv", ["foresense", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert message in capsys.readouterr().err
