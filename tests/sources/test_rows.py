"""Rows of one's own files, through the source of mixed recordings: grids, words, clocks, and every message."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from foresense.config.mixed import MixedIngestConfig
from foresense.signals.mixed_columns import FIRST_VALUE, MISSING
from foresense.sources import Places, SourceError
from foresense.sources.mixed import FoundMixed, load_mixed

HEADER = "Zeit,Öl (°C),Modus,Zustand,Anlage"
ASKED: dict[str, Any] = {
    "source": "csv",
    "raw": "set",
    "time_column": "Zeit",
    "time_zone": "Europe/Berlin",
    "interval_s": 300,
    "asset_column": "Anlage",
    "channels": [{"name": "oil", "unit": "Cel", "column": "Öl (°C)", "high": 400}],
    "categories": [{"name": "mode", "column": "Modus"}],
    "labels": [{"name": "state", "column": "Zustand", "classes": ["kalt", "heiß"]}],
}


def write(folder: Path, *rows: str, header: str = HEADER, name: str = "öfen.csv") -> None:
    (folder / "set").mkdir(exist_ok=True)
    (folder / "set" / name).write_text("\n".join([header, *rows]) + "\n")


def read(folder: Path, **asked: Any) -> FoundMixed:
    config = TypeAdapter(MixedIngestConfig).validate_python(ASKED | asked)
    return load_mixed(config.source)(config, Places(folder, folder, folder))


def row(clock: str, oil: object = 200, mode: str = "Halten", state: str = "kalt", asset: str = "A") -> str:
    return f"2025-10-26 {clock},{oil},{mode},{state},{asset}"


def kinds(found: FoundMixed) -> dict[tuple[str, str], int]:
    return {(one.asset, one.kind): one.n for one in found.findings}


def test_numbers_words_and_labels_of_two_assets_lie_on_their_grids(tmp_path: Path) -> None:
    rows = [row("12:00", 1), row("12:05", 2, "Heizen"), row("12:00", 7, asset="B"), row("12:10", 3)]
    write(tmp_path, *rows, row("12:25", "", "", "heiß"))
    found = read(tmp_path)
    a, b = found.recordings.recordings
    assert (a.name, a.start_ns) == ("A", pd.Timestamp("2025-10-26T11:00Z").value)  # an hour ahead of UTC by then
    np.testing.assert_array_equal(a.numeric, np.float32([[1, 0], [2, 0], [3, 0]] + [[np.nan] * 2] * 2 + [[np.nan, 1]]))
    assert found.recordings.categorical[0].values == ("Halten", "Heizen")
    assert a.categories[:, 0].tolist() == [FIRST_VALUE, FIRST_VALUE + 1, FIRST_VALUE, *[MISSING] * 3]
    assert b.numeric.tolist() == [[7, 0]]
    assert [(one.name, one.unit) for one in found.recordings.numeric] == [("oil", "Cel"), ("state", "1")]
    assert (found.recordings.interval_s, found.recordings.time_zone) == (300, "Europe/Berlin")
    assert found.findings[-1].message == (
        "of 7 steps have no value, by channel: oil 3, state 2, mode 3; 2 have none at all; left missing"
    )


def test_the_hour_that_the_clock_goes_through_twice_is_two_hours(tmp_path: Path) -> None:
    clocks = [f"0{hour}:{minute:02d}" for hour in (1, 2, 2, 3) for minute in range(0, 60, 5)]
    write(tmp_path, *(row(clock, number) for number, clock in enumerate(clocks)))
    found = read(tmp_path)
    (one,) = found.recordings.recordings
    assert one.numeric[:, 0].tolist() == list(range(48))
    assert kinds(found) == {("A", "clock_change"): 24}
    with pytest.raises(
        SourceError, match=r"A: 12 pair\(s\) of rows with one timestamp .* \(channel 'oil' is 12 and 24"
    ):
        read(tmp_path, time_zone="UTC")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.none() | st.integers(-99, 99), min_size=2, max_size=40),
    step=st.integers(1, 7),
    rule=st.sampled_from(["mean", "last", "sum", "max", "min"]),
)
def test_rows_of_a_step_become_one_as_pandas_resamples_them(
    tmp_path: Path, values: list[int | None], step: int, rule: str
) -> None:
    """A row a minute; pandas' resample is somebody else's."""
    times = pd.date_range("2025-10-26 12:00", periods=len(values), freq="min")
    series = pd.Series([np.nan if value is None else value for value in values], index=times, dtype=float)
    write(
        tmp_path, *(f"{at},{'' if value is None else value},m,kalt,A" for at, value in zip(times, values, strict=True))
    )
    if series.isna().all():
        return
    channel = {"name": "oil", "unit": "Cel", "column": "Öl (°C)", "rule": rule}
    found = read(tmp_path, interval_s=60 * step, channels=[channel], time_zone="UTC")
    grid = series.resample(f"{step}min", origin="start")
    expected = grid.sum(min_count=1) if rule == "sum" else getattr(grid, rule)()
    np.testing.assert_allclose(found.recordings.recordings[0].numeric[:, 0], expected.to_numpy(np.float32), rtol=1e-6)


def test_what_cannot_be_used_is_refused_with_its_place(tmp_path: Path) -> None:
    rows = [row("12:00", "defekt"), row("12:05", 9999), row("12:10", "1e60"), row("12:15", state="warm")]
    write(tmp_path, *rows, row("12:20", asset=""), "soon,1,Halten,kalt,A", row("12:25"), row("12:25"))
    found = read(tmp_path)
    assert [(one.row, one.column, one.value, one.reason) for one in found.refusals] == [
        (2, "Öl (°C)", "defekt", "not a number"),
        (4, "Öl (°C)", "1e60", "infinite"),
        (3, "Öl (°C)", "9999", "outside -inf .. 400 Cel"),
        (5, "Zustand", "warm", "expected one of kalt, heiß"),
        (6, "Anlage", "<NA>", "no asset"),
        (7, "Zeit", "soon", "not an ISO 8601 time"),
    ]
    assert found.refusals[0].asset == "A"
    assert kinds(found) == {("", "refused"): 1, ("A", "duplicate"): 1, ("", "missing"): 7}
    assert sum(one.n for one in found.findings if one.kind == "refused") == 6


def test_units_names_and_words_are_those_that_the_section_says(tmp_path: Path) -> None:
    write(tmp_path, row("12:00", 212), row("12:05", 32, "-"), row("12:10", 32, "aus"))
    channel = {"name": "oil", "unit": "Cel", "found_unit": "[degF]", "column": "Öl (°C)"}
    category = {"name": "mode", "column": "Modus", "values": {"Halten": "holding"}, "unknown": "-"}
    found = read(tmp_path, channels=[channel], categories=[category])
    (one,) = found.recordings.recordings
    np.testing.assert_allclose(one.numeric[:, 0], [100, 0, 0], atol=1e-5)  # of float32
    assert found.recordings.categorical[0].values == ("holding",)
    assert one.categories[:, 0].tolist() == [FIRST_VALUE, MISSING, MISSING]
    assert [(one.value, one.reason) for one in found.refusals] == [("aus", "expected one of Halten")]


def test_a_file_without_an_asset_column_is_one_asset_and_parquet_reads_alike(tmp_path: Path) -> None:
    write(tmp_path, row("12:00", 1), row("12:05", 2), name="links.csv")
    write(tmp_path, row("12:00", 3), name="rechts.csv")
    found = read(tmp_path, asset_column=None)
    assert [one.name for one in found.recordings.recordings] == ["links", "rechts"]
    assert [(one.kind, one.where) for one in found.findings] == [
        ("unused_columns", "links.csv: Anlage"),
        ("unused_columns", "rechts.csv: Anlage"),
    ]
    frame = pd.read_csv(tmp_path / "set" / "links.csv", parse_dates=["Zeit"])
    frame.to_parquet(tmp_path / "set" / "links.parquet")
    other = read(tmp_path, source="parquet").recordings
    np.testing.assert_array_equal(other.recordings[0].numeric, found.recordings.recordings[0].numeric)
    assert (other.recordings[0].name, other.recordings[0].start_ns) == ("A", found.recordings.recordings[0].start_ns)
    assert [one.name for one in read(tmp_path, asset_column=None, first_recordings=1).recordings.recordings] == [
        "links"
    ]


def test_a_batch_has_one_outcome_and_as_many_steps_as_asked(tmp_path: Path) -> None:
    rows = [row(f"12:{minute:02d}", state=state, asset=asset) for asset, state, n in (("a", "gut", 3), ("b", "rot", 5))
            for minute in range(0, 5 * n, 5)]  # fmt: skip
    write(tmp_path, *rows, row("12:00", state="", asset="c"))
    asked: dict[str, Any] = {
        "labels": [],
        "n_steps": 4,
        "outcomes": [{"name": "good", "column": "Zustand", "classes": ["rot", "gut"]}],
    }
    found = read(tmp_path, **asked)
    assert [one.n_steps for one in found.recordings.recordings] == [4, 4, 4]
    assert [one.outcomes.tolist() for one in found.recordings.recordings][:2] == [[1], [0]]
    assert np.isnan(found.recordings.recordings[2].outcomes[0])
    assert [(one.kind, one.n, one.where) for one in found.findings] == [
        ("cut", 1, "b"),
        ("missing", 1, "c"),
        ("missing", 8, ""),
    ]
    number = read(tmp_path, labels=[], outcomes=[{"name": "yield", "column": "Öl (°C)", "unit": "kg"}])
    assert [one.outcomes.tolist() for one in number.recordings.recordings] == [[200], [200], [200]]
    write(tmp_path, row("12:00", state="gut"), row("12:05", state="rot"))
    with pytest.raises(SourceError, match=r"A: outcome 'good' is gut at öfen.csv:2 and rot at öfen.csv:3; .* a label"):
        read(tmp_path, **asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"time_column": "zeit", "channels": [{"name": "oil", "unit": "Cel", "column": "Öl"}]},
            r"öfen.csv: no column 'Öl' \(channel 'oil'\); no column 'zeit' \(ingest.time_column\); did you mean 'Zeit'",
        ),
        (
            {"labels": [{"name": "state", "column": "Zustand", "classes": ["cold", "hot"]}]},
            r"column 'Zustand' \(label 'state'\) has no usable cell \(öfen.csv:2 is 'kalt': expected one of cold, hot",
        ),
        ({"raw": "offen"}, r"offen: no file matches '\*.csv'; run `foresense fetch .* else put the files there"),
        ({"time_zone": "Berlin"}, "ingest.time_zone: 'Berlin' is no time zone; give an IANA name like 'Europe/Paris'"),
        ({"time_column": "Modus"}, r"no time in column 'Modus' can be read \(first: 'Halten'\), expected ISO 8601"),
        ({"interval_s": 60}, "A: ingest.interval_s is 60, but timestamps are 300 s apart .*; set interval_s to 300"),
        (
            {"channels": [{"name": "oil", "unit": "Cel", "found_unit": "degF", "column": "Öl (°C)"}]},
            r"channel 'oil': no conversion from 'degF' to 'Cel': 'degF' is not one of K, Cel, \[degF\]",
        ),
        ({"files": "../*.csv"}, r"ingest.files: '../\*.csv' must stay below data/raw/set/"),
    ],
)  # fmt: skip
def test_a_section_that_does_not_fit_the_file_says_what_to_do(
    tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    write(tmp_path, row("12:00"), row("12:05"))
    with pytest.raises((SourceError, FileNotFoundError), match=message):
        read(tmp_path, **asked)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f'{HEADER}\n2025-10-26 12:00,"200,5",Halten,kalt,A',
            r"column 'Öl \(°C\)' .* no usable cell \(öfen.csv:2 is '200,5': not a number, whose decimals come after",
        ),
        (
            f"{HEADER.replace(',', ';')}\n2025-10-26 12:00;200,5;Halten;kalt;A",
            r"rows have more cells than the header's 1; separate cells by commas in place of ';', and write decimals",
        ),
        (f"{HEADER.replace(',', ';')}\n2025-10-26 12:00;200;Halten;kalt;A", "Cells must be separated by commas"),
        (f"{HEADER}\n2025-10-26 12:00,1,2,3,4,5", "rows have more cells than the header's 5; name every column in the"),
        (f"{HEADER}\n,,,,", "set: not one usable row in 1 file.*, which are empty"),
        (f"{HEADER}\n2025-10-26 12:00,1,Halten,kalt,", "not one usable row in 1 file.*; the first refusal: no asset"),
        ("", "not a CSV file with a header line"),
        (HEADER.encode("latin-1"), "not UTF-8 text .*; save the file as UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str | bytes, message: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "öfen.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=message):
        read(tmp_path)
    (tmp_path / "set" / "a.parquet").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"a\.parquet: not a Parquet file that can be read"):
        read(tmp_path, source="parquet")


def test_a_section_that_names_nothing_or_a_name_twice_is_refused() -> None:
    adapter = TypeAdapter(MixedIngestConfig)
    for asked, message in (
        ({"channels": [], "categories": []}, "neither channels nor categories; name at least one column"),
        ({"categories": [{"name": "oil"}]}, r"channels \['oil'\] stand there twice; rename one"),
        ({"labels": [{"name": "state", "classes": ["one"]}]}, "at least 2 items"),
    ):
        with pytest.raises(ValueError, match=message):
            adapter.validate_python(ASKED | asked)


CELLS = st.sampled_from(
    ["", " ", "NA", "200", "1e400", "-1e39", "inf", "0x1f", "1_0", "True", "2025-10-26 12:00", "2025-10-26T02:30",
     "1677-01-01", "9999-12-31", "2025-10-26 12:00+02:00", "1761480000", "kalt", "A", '"', "'", "\x00", "é", "1,5"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS | st.text(max_size=4), min_size=3, max_size=6), max_size=8))
def test_whatever_is_in_the_cells_is_read_or_refused(tmp_path: Path, table: list[list[str]]) -> None:
    (tmp_path / "set").mkdir(exist_ok=True)
    text = "\n".join([HEADER, *(",".join(cells) for cells in table)])
    (tmp_path / "set" / "öfen.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read(tmp_path)
    except SourceError:  # of what else there may be, pytest tells
        return
    for one in found.recordings.recordings:
        assert not np.isinf(one.numeric).any()
        assert (one.numeric[:, 0][~np.isnan(one.numeric[:, 0])] <= 400).all()
