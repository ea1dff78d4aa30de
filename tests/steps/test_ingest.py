import csv

import numpy as np
import pandas as pd
import pytest

from foresense.config import IngestConfig
from foresense.signals import IngestReport, read_json, read_recordings, read_report, tree_sha256
from foresense.sources import SourceError
from foresense.steps.frame import StepRun
from foresense.steps.ingest import ingest

_CHANNELS = ({"name": "temp_body", "unit": "Cel"}, {"name": "current", "unit": "A"})
_HEADER = "date,temp_body,current\n"


@pytest.fixture
def run(layout):
    return StepRun(step="ingest", pipeline="hall", layout=layout)


def _config(**fields):
    return IngestConfig(**{"source": "csv", "raw": "hall", "channels": _CHANNELS, **fields})


def _write(layout, rows, name="mill.csv"):
    path = layout.raw / "hall" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_HEADER + "".join(f"{row}\n" for row in rows))


def _hours(n, skip=()):
    times = pd.date_range("2024-05-01", periods=n, freq="h")
    return [f"{time},{60 + hour % 7},{10 + hour % 5}" for hour, time in enumerate(times) if hour not in skip]


def test_a_file_in_other_units_is_converted_to_those_asked_for(run, layout):
    _write(layout, _hours(24))
    channels = ({"name": "temp_body", "unit": "Cel", "found_unit": "[degF]"}, _CHANNELS[1])
    report = ingest(run, _config(channels=channels))
    (recording,) = read_recordings(run.paths.recordings)
    fahrenheit = 60 + np.arange(24) % 7
    np.testing.assert_allclose(recording.samples[:, 0], (fahrenheit - 32) / 1.8, rtol=1e-13)
    assert recording.units == ("Cel", "A")
    assert report.assets["mill"]["channels"]["temp_body"]["unit"] == "Cel"


def test_a_file_of_ones_own_with_a_gap_a_duplicate_and_a_bad_cell(run, layout):
    rows = _hours(48, skip=range(10, 20))
    rows[3] = rows[3].replace(",63,", ",broken,")
    _write(layout, [*rows[:6], rows[5], *rows[6:]])
    report = ingest(run, _config())
    (recording,) = read_recordings(run.paths.recordings)
    assert recording.asset == "mill"
    assert recording.start == pd.Timestamp("2024-05-01", tz="UTC")
    expected = np.stack([60 + np.arange(48) % 7, 10 + np.arange(48) % 5], axis=1).astype(float)
    expected[10:20] = np.nan
    expected[3, 0] = np.nan
    np.testing.assert_array_equal(recording.samples, expected)
    assert {(f["kind"], f["n"]) for f in report.findings} == {
        ("refused", 1),
        ("duplicate", 1),
        ("gap", 1),
        ("missing", 1),
    }
    assert report.assets["mill"]["gaps"] == [{"start": "2024-05-01T10:00:00+00:00", "n_samples": 10}]
    assert report.assets["mill"]["n_missing"] == 21
    (refused,) = csv.DictReader((run.paths.reports / "refused.csv").read_text().splitlines())
    assert (refused["row"], refused["value"]) == ("5", "broken")
    assert read_report(run.paths.reports, IngestReport) == report


def test_refused_rows_of_an_earlier_run_do_not_stay(run, layout):
    _write(layout, ["2024-05-01,x,1", *_hours(5)[1:]])
    ingest(run, _config())
    assert (run.paths.reports / "refused.csv").is_file()
    _write(layout, _hours(5))
    ingest(run, _config())
    assert not (run.paths.reports / "refused.csv").exists()


def test_the_same_raw_files_give_the_same_bytes(run, layout):
    _write(layout, _hours(30))
    first = ingest(run, _config())
    digest = tree_sha256(run.paths.recordings)
    assert ingest(run, _config()).data_sha256 == first.data_sha256
    assert tree_sha256(run.paths.recordings) == digest
    assert read_json(run.paths.recordings / "manifest.json")["raw_sha256"] == first.data_sha256


def test_the_simulated_plant_gives_the_same_bytes(run):
    channels = (*_CHANNELS, {"name": "vibration_magnitude", "unit": "g"})
    config = _config(source="simulate", raw=None, n_rows=300, n_assets=2, channels=channels, seed=5)
    report = ingest(run, config)
    digest = tree_sha256(run.paths.recordings)
    ingest(run, config)
    assert tree_sha256(run.paths.recordings) == digest
    assert report.seed == 5
    assert set(read_json(run.paths.recordings / "manifest.json")["truth"]) == set(report.assets)


def test_faster_samples_become_their_mean(run, layout):
    times = pd.date_range("2024-05-01T00:10", periods=18, freq="10min")
    _write(layout, [f"{time},{minute},{2 * minute}" for minute, time in enumerate(times)])
    report = ingest(run, _config())
    (recording,) = read_recordings(run.paths.recordings)
    frame = pd.DataFrame(recording.samples, index=recording.times())
    expected = pd.Series(np.arange(18.0), index=times.tz_localize("UTC")).resample("h").mean()
    pd.testing.assert_series_equal(frame[0], expected, check_freq=False, check_names=False)
    assert report.assets["mill"]["most_raw_per_row"] == 6


def test_hours_of_a_zone_that_is_half_an_hour_off_stay_whole(run, layout):
    times = pd.date_range("2024-05-01T00:10", periods=12, freq="20min")
    _write(layout, [f"{time},{time.hour},1.5" for time in times])
    ingest(run, _config(time_zone="Asia/Kolkata"))
    (recording,) = read_recordings(run.paths.recordings)
    assert recording.start == pd.Timestamp("2024-05-01T00:00+05:30")
    assert recording.samples[:, 0].tolist() == [0, 1, 2, 3]


def test_only_the_first_rows_are_kept_when_asked(run, layout):
    _write(layout, _hours(30))
    report = ingest(run, _config(first_rows=20))
    assert report.assets["mill"]["n_rows"] == 20
    assert [(f["kind"], f["n"]) for f in report.findings] == [("cut", 10)]


def test_too_little_data_says_how_much_there_is_and_is_needed(run, layout):
    _write(layout, _hours(30))
    with pytest.raises(
        SourceError, match=r"mill: too little data: 30 samples of 3600 s .*needed are 1920 .*context \+"
    ):
        ingest(run, _config(min_rows=1920))
    assert not run.paths.recordings.exists()


def test_one_short_asset_does_not_stop_the_others(run, layout):
    _write(layout, _hours(30), "long.csv")
    _write(layout, _hours(5), "short.csv")
    report = ingest(run, _config(min_rows=20))
    assert list(report.assets) == ["long"]
    assert [(f["asset"], f["kind"], f["n"]) for f in report.findings] == [("short", "too_little", 5)]


def test_problems_of_all_assets_come_together_and_nothing_is_written(run, layout):
    _write(layout, [*_hours(3), "2024-05-01 02:00:00,99,99"], "a.csv")
    _write(layout, ["2024-05-01,1,x", "2024-05-01 01:00,2,y"], "b.csv")
    with pytest.raises(SourceError) as caught:
        ingest(run, _config())
    first, second = str(caught.value).splitlines()
    assert first.startswith("a: 1 pair(s) of rows with one timestamp and different values: 2024-05-01T02:00:00+00:00")
    assert second.startswith("b: channel(s) ['current'] have no value")
    assert not run.paths.recordings.exists()


def test_a_wrong_interval_says_what_the_times_give(run, layout):
    _write(layout, _hours(30))
    with pytest.raises(SourceError, match=r"interval_s is 60, but timestamps are 3600 s apart"):
        ingest(run, _config(interval_s=60))


def test_files_without_a_row_say_so(run, layout):
    _write(layout, [])
    with pytest.raises(SourceError, match="csv: no row with a usable time"):
        ingest(run, _config())


def test_the_real_recording_at_the_published_length(real_data, layout):
    layout.raw.mkdir(parents=True)
    (layout.raw / "ett").symlink_to(real_data / "ett")
    run = StepRun(step="ingest", pipeline="oil", layout=layout)
    names = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    report = ingest(
        run,
        _config(source="ett", raw="ett", first_rows=14400, channels=tuple({"name": n, "unit": "1"} for n in names)),
    )
    (recording,) = read_recordings(run.paths.recordings)
    expected = np.loadtxt(
        real_data / "ett" / "ETTh1.csv", delimiter=",", skiprows=1, usecols=range(1, 8), max_rows=14400
    )
    np.testing.assert_array_equal(recording.samples, expected)
    assert [finding["kind"] for finding in report.findings] == ["cut"]
    assert "licence" in read_json(run.paths.recordings / "manifest.json")
