"""Beijing air quality: hand-made files of the published layout, and the four real stations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foresense.config.mixed import AirQualityIngestConfig
from foresense.signals.mixed import open_mixed, write_mixed
from foresense.signals.mixed_columns import FIRST_VALUE
from foresense.signals.mixed_schema import Stretch, fit_schema
from foresense.sources import Places, SourceError
from foresense.sources.air_quality import CHANNELS, DIRECTIONS
from foresense.sources.mixed import FoundMixed, load_mixed

HEADER = (
    '"No","year","month","day","hour","PM2.5","PM10","SO2","NO2","CO","O3","TEMP","PRES","DEWP","RAIN","wd","WSPM",'
    '"station"'
)


def row(hour: object = 0, pm: object = 4, wd: object = '"NNW"', station: str = '"Dongsi"', **other: object) -> str:
    """One line of the file, on the first of March 2013."""
    cells = {"day": 1, "month": 3, "CO": 300, "TEMP": -0.7, "RAIN": 0} | other
    return (
        f"1,2013,{cells['month']},{cells['day']},{hour},{pm},4,4,7,{cells['CO']},77,{cells['TEMP']},1023,-18.8,"
        f"{cells['RAIN']},{wd},4.4,{station}"
    )


def read(tmp_path: Path, *rows: str, header: str = HEADER, **asked: object) -> FoundMixed:
    folder = tmp_path / "beijing_air_quality"
    folder.mkdir(exist_ok=True)
    (folder / "PRSA_Data_Dongsi.csv").write_text("\n".join([header, *rows]) + "\n")
    config = AirQualityIngestConfig.model_validate({"source": "air_quality", **asked})
    return load_mixed("air_quality")(config, Places(tmp_path, tmp_path, tmp_path))


def kinds(found: FoundMixed) -> dict[tuple[str, str], int]:
    return {(one.asset, one.kind): one.n for one in found.findings}


def test_numbers_categories_and_the_clock_of_a_station(tmp_path: Path) -> None:
    found = read(tmp_path, row(0, 4), row(1, "NA", "NA"), row(2, 8.5, '"E"', TEMP="NA"))
    (one,) = found.recordings.recordings
    assert (one.name, one.n_steps) == ("Dongsi", 3)
    np.testing.assert_array_equal(one.numeric[:, 0], np.float32([4, np.nan, 8.5]))
    np.testing.assert_array_equal(one.numeric[0], np.float32([4, 4, 4, 7, 300, 77, -0.7, 1023, -18.8, 0, 4.4]))
    assert one.categories[:, 0].tolist() == [
        FIRST_VALUE + DIRECTIONS.index("NNW"),
        0,
        FIRST_VALUE + DIRECTIONS.index("E"),
    ]
    assert one.start_ns == pd.Timestamp("2013-02-28T16:00Z").value  # 00:00 in Shanghai, UTC+8
    assert [(one.name, one.unit) for one in found.recordings.numeric][::6] == [("PM2.5", "ug/m3"), ("TEMP", "Cel")]
    assert found.recordings.categorical[0].values == tuple(sorted(DIRECTIONS))
    assert (found.recordings.has_time, found.recordings.time_zone) == (True, "Asia/Shanghai")
    assert kinds(found) == {("Dongsi", "missing"): 3}
    assert "PM2.5 1, TEMP 1, wd 1" in found.findings[0].message
    assert found.refusals == ()


def test_another_clock_is_asked_for_by_name(tmp_path: Path) -> None:
    assert read(tmp_path, row(), time_zone="UTC").recordings.recordings[0].start_ns == 1362096000 * 10**9
    with pytest.raises(SourceError, match="'Peking' is no time zone"):
        read(tmp_path, row(), time_zone="Peking")


def test_hours_without_a_row_are_missing_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, row(0), row(3), row(1, day=2))
    (one,) = found.recordings.recordings
    assert one.n_steps == 26
    has_row = np.isin(np.arange(26), (0, 3, 25))
    np.testing.assert_array_equal(np.isnan(one.numeric), np.repeat(~has_row[:, None], 11, axis=1))
    assert (one.categories[~has_row] == 0).all()
    (gap,) = (one for one in found.findings if one.kind == "gap")
    assert (gap.n, gap.message) == (2, "23 hours without a row, left missing")
    assert gap.where == "2013-02-28T16:00:00+00:00 (2 h after it), 2013-02-28T19:00:00+00:00 (21 h after it)"


def test_bad_rows_and_cells_are_refused_with_their_place_and_reason(tmp_path: Path) -> None:
    rows = [row(0), row(1, "abc"), row(2, "inf"), row(3, -5), row(4, wd='"cv"'), row(24), row(5, day=31, month=2)]
    rows += [row(6, station=""), row("NA"), row(1.5), "", row(7, TEMP=-40, RAIN=-1)]
    found = read(tmp_path, *rows)
    assert [(one.row, one.column, one.value, one.reason) for one in found.refusals] == [
        (3, "PM2.5", "abc", "not a number"),
        (4, "PM2.5", "inf", "infinite"),
        (5, "PM2.5", "-5", "below zero"),
        (13, "RAIN", "-1", "below zero"),
        (6, "wd", "cv", "none of the sixteen directions of a compass"),
        (7, "hour", "24", "no such hour: expected year, month 1..12, day, hour 0..23"),
        (8, "hour", "5", "no such hour: expected year, month 1..12, day, hour 0..23"),
        (10, "hour", "?", "no such hour: expected year, month 1..12, day, hour 0..23"),
        (11, "hour", "1.5", "no such hour: expected year, month 1..12, day, hour 0..23"),
        (9, "station", "", "no station"),
    ]
    assert found.refusals[0].time == "2013-3-1-1"
    (one,) = found.recordings.recordings
    np.testing.assert_array_equal(one.numeric[:5, 0], np.float32([4, np.nan, np.nan, np.nan, 4]))
    assert one.categories[4, 0] == 0
    assert one.numeric[7, 6] == -40
    assert sum(one.n for one in found.findings if one.kind == "refused") == 10


def test_rows_are_sorted_and_equal_ones_counted_once(tmp_path: Path) -> None:
    found = read(tmp_path, row(2, 6), row(0, 4), row(2, 6), row(1, 5, "NA"))
    assert found.recordings.recordings[0].numeric[:, 0].tolist() == [4, 5, 6]
    assert kinds(found) == {("Dongsi", "unsorted"): 2, ("Dongsi", "duplicate"): 1, ("Dongsi", "missing"): 1}


def test_two_different_rows_of_one_hour_stop_the_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Dongsi: 1 pair\(s\) of rows with one timestamp .*PM2.5 is 4 and 5"):
        read(tmp_path, row(0, 4), row(0, 5))
    with pytest.raises(SourceError, match=r"one timestamp and different values: .*wd is"):
        read(tmp_path, row(0), row(0, wd='"S"'))


def test_stations_are_recordings_in_the_order_of_their_names(tmp_path: Path) -> None:
    rows = [row(0, 1, station="Dongsi"), row(0, 2, station="Changping"), row(1, 3, station="Dongsi"), row(5, 9)]
    found = read(tmp_path, *rows)
    assert [(one.name, one.n_steps) for one in found.recordings.recordings] == [("Changping", 1), ("Dongsi", 6)]
    assert [one.name for one in read(tmp_path, *rows, stations=["Dongsi"]).recordings.recordings] == ["Dongsi"]
    cut = read(tmp_path, *rows, first_hours=2)
    assert [one.n_steps for one in cut.recordings.recordings] == [1, 2]
    assert kinds(cut)["Dongsi", "cut"] == 4
    with pytest.raises(
        SourceError, match=r"ingest.stations: \['Peking'\] not found in 1 file.* \(found: Changping, Dong"
    ):
        read(tmp_path, *rows, stations=["Peking"])


def test_what_cannot_be_read_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches 'PRSA_Data_\*.csv'; run `foresense fetch"):
        load_mixed("air_quality")(AirQualityIngestConfig(source="air_quality"), Places(tmp_path, tmp_path, tmp_path))
    with pytest.raises(
        SourceError, match=r"PRSA_Data_Dongsi.csv: expected the columns year, .*; missing: wd; name them"
    ):
        read(tmp_path, row(), header=HEADER.replace('"wd"', '"wind"'))
    with pytest.raises(SourceError, match="rows have more cells than the header"):
        read(tmp_path, row() + ",1", row() + ",1")
    with pytest.raises(SourceError, match=r"not found in 1 file.*not one usable row"):
        read(tmp_path, row(station=""))
    with pytest.raises(
        SourceError, match=r"Dongsi: 2 rows span 1753153 hours, from PRSA_Data_Dongsi.csv:2 to .*:3; expected"
    ):
        read(tmp_path, row(), row().replace(",2013,", ",2213,"))  # 200 years, 48 leap days, one hour
    with pytest.raises(SourceError, match="must stay below data/raw/beijing_air_quality/"):
        read(tmp_path, row(), files="../*.csv")
    found = read(tmp_path, row() + ",1", header=HEADER + ",humidity")
    assert [(one.kind, one.where) for one in found.findings] == [("unused_columns", "PRSA_Data_Dongsi.csv: humidity")]


def test_the_four_stations_have_the_published_counts(real_data: Path, tmp_path: Path) -> None:
    config = AirQualityIngestConfig(source="air_quality")
    found = load_mixed("air_quality")(config, Places(real_data, tmp_path, tmp_path))
    whole = found.recordings
    assert [one.name for one in whole.recordings] == ["Aotizhongxin", "Changping", "Dongsi", "Wanshouxigong"]
    assert [one.n_steps for one in whole.recordings] == [35064] * 4
    missing = pd.DataFrame([np.isnan(one.numeric).sum(axis=0) for one in whole.recordings], columns=list(CHANNELS))
    published = {"PM2.5": (696, 925), "CO": (1297, 3197), "NO2": (667, 1601), "O3": (604, 1719)}  # README of the set
    assert {name: (missing[name].min(), missing[name].max()) for name in published} == published
    weather = missing[["TEMP", "PRES", "DEWP", "RAIN", "WSPM"]].to_numpy()
    assert (weather.min(), weather.max()) == (13, 53)
    n_wd = [int((one.categories == 0).sum()) for one in whole.recordings]
    assert (min(n_wd), max(n_wd)) == (78, 140)
    assert found.refusals == ()
    assert {one.kind for one in found.findings} == {"missing"}
    # SHA-256 of the set's own SHA256SUMS, which lists the same four files
    assert found.sha256 == "855b521f834a760ce03f7a8ce2f46db3772678045b2805e9f63a804a92cde374"
    times = pd.date_range(pd.Timestamp(whole.recordings[0].start_ns, tz="UTC"), periods=35064, freq="h")
    local = times.tz_convert(whole.time_zone)
    assert local[-1].isoformat() == "2017-02-28T23:00:00+08:00"
    warmest = pd.Series(whole.recordings[0].numeric[:, 6]).groupby(local.hour).mean().idxmax()
    assert 13 <= warmest <= 17  # so the files' clock is local
    write_mixed(tmp_path / "air", whole, facts=found.facts)
    opened = open_mixed(tmp_path / "air")
    np.testing.assert_array_equal(opened.recordings[2].numeric, whole.recordings[2].numeric)
    schema = fit_schema(opened, [Stretch(number, 0, 17520) for number in range(4)])
    assert schema.categorical[0].values == DIRECTIONS
    column = np.concatenate([one.numeric[:17520, 0] for one in whole.recordings]).astype(np.float64)
    assert schema.means[0] == pytest.approx(np.nanmean(column), rel=1e-12)
    assert schema.deviations[0] == pytest.approx(np.nanstd(column), rel=1e-12)
