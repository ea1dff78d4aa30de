"""Tables of events: hand-made tables of both layouts, no look ahead, and 500 real stays."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from foresense.config.mixed import EventTablesIngestConfig, Physionet2012IngestConfig
from foresense.signals.mixed import MixedRecording
from foresense.sources import Places, SourceError
from foresense.sources.event_grid import hourly, hours_since
from foresense.sources.mixed import FoundMixed, load_mixed

NAN = np.nan
CHANNELS = [
    {"name": "HR", "unit": "1/min", "low": 1, "high": 350},
    {"name": "Urine", "unit": "mL", "rule": "sum"},
    {"name": "FiO2", "unit": "1", "rule": "max"},
    {"name": "Na", "unit": "mmol/L", "rule": "last"},
    {"name": "MechVent", "unit": "1", "rule": "fraction"},
]


def own(tmp_path: Path, *rows: str, header: str = "id,time,parameter,value", **asked: object) -> FoundMixed:
    """A user's own table: one file, hours since the begin."""
    folder = tmp_path / "own"
    folder.mkdir(exist_ok=True)
    (folder / "events.csv").write_text("\n".join([header, *rows]) + "\n")
    config = {"source": "event_tables", "raw": "own", "n_hours": 4, "channels": CHANNELS} | asked
    found = EventTablesIngestConfig.model_validate(config)
    return load_mixed("event_tables")(found, Places(tmp_path, tmp_path, tmp_path))


def stays(tmp_path: Path, outcomes: str | None = None, **files: list[str]) -> FoundMixed:
    """The layout of the challenge: one file for each stay."""
    folder = tmp_path / "physionet2012_icu" / "set-a"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (folder / f"{name[1:]}.txt").write_text("\n".join(["Time,Parameter,Value", *rows]) + "\n")
    lines = [f"{name[1:]},6,1,5,-1,{number % 2}" for number, name in enumerate(files)]
    header = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
    text = "\n".join([header, *lines]) + "\n" if outcomes is None else outcomes
    (folder.parent / "Outcomes-a.txt").write_text(text)
    config = Physionet2012IngestConfig(source="physionet2012")
    return load_mixed("physionet2012")(config, Places(tmp_path, tmp_path, tmp_path))


def column(found: FoundMixed, name: str, recording: int = 0) -> np.ndarray:
    index = [one.name for one in found.recordings.numeric].index(name)
    return found.recordings.recordings[recording].numeric[:, index]


def same(one: MixedRecording, other: MixedRecording, n_steps: int) -> None:
    for name in ("numeric", "categories"):
        np.testing.assert_array_equal(getattr(one, name)[:n_steps], getattr(other, name)[:n_steps])
    np.testing.assert_array_equal(one.static_numeric, other.static_numeric)
    np.testing.assert_array_equal(one.static_categories, other.static_categories)


def test_each_rule_of_an_hour_by_hand(tmp_path: Path) -> None:
    rows = ["b,0,HR,60", "b,0.99,HR,90", "b,1,HR,100", "b,3.5,HR,70"]
    rows += ["b,2.5,Urine,100", "b,2.5,Urine,50", "b,2.1,FiO2,0.5", "b,2.0,FiO2,0.9"]
    rows += ["b,1.9,Na,140", "b,1.1,Na,130", "b,1.9,Na,141", "b,0.1,MechVent,1", "b,0.2,MechVent,0", "a,0,HR,55"]
    found = own(tmp_path, *rows)
    assert [one.name for one in found.recordings.recordings] == ["a", "b"]
    np.testing.assert_array_equal(column(found, "HR", 1), np.float32([75, 100, NAN, 70]))
    np.testing.assert_array_equal(column(found, "Urine", 1), np.float32([NAN, NAN, 150, NAN]))
    np.testing.assert_array_equal(column(found, "FiO2", 1), np.float32([NAN, NAN, 0.9, NAN]))
    np.testing.assert_array_equal(column(found, "Na", 1), np.float32([NAN, 141, NAN, NAN]))
    np.testing.assert_array_equal(column(found, "MechVent", 1), np.float32([0.5, NAN, NAN, NAN]))
    np.testing.assert_array_equal(column(found, "HR", 0), np.float32([55, NAN, NAN, NAN]))
    np.testing.assert_allclose(column(found, "HR hours since", 1), [0.01, 1, 2, 0.5], rtol=1e-5)
    np.testing.assert_allclose(column(found, "Na hours since", 1), [NAN, 0.1, 1.1, 2.1], rtol=1e-5)
    assert [(one.unit, one.name) for one in found.recordings.numeric][5] == ("h", "HR hours since")
    assert np.isnan(column(found, "Na hours since", 0)).all()
    assert {one.kind: one.n for one in found.findings} == {"duplicate": 2}


def test_the_grid_is_that_of_pandas() -> None:
    rng = np.random.default_rng(0)
    owners, hours, values = rng.integers(0, 9, 500), rng.uniform(0, 24, 500), rng.normal(0, 9, 500)
    frame = pd.DataFrame({"owner": owners, "hour": hours.astype(int), "at": hours, "value": values}).sort_values("at")
    index = pd.MultiIndex.from_product([range(9), range(24)])
    for rule in ("mean", "sum", "max", "min", "last"):
        theirs = frame.groupby(["owner", "hour"])["value"].agg(rule).reindex(index).to_numpy().reshape(9, 24)
        ours = hourly(owners, hours, values, n_recordings=9, n_hours=24, rule=rule)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12, err_msg=rule)
    newest = frame.groupby(["owner", "hour"])["at"].max().reindex(index).unstack().ffill(axis=1).to_numpy()
    np.testing.assert_allclose(hours_since(owners, hours, n_recordings=9, n_hours=24), np.arange(1, 25) - newest)


EVENT = st.tuples(
    st.sampled_from("ab"),
    st.integers(0, 480).map(lambda minutes: minutes / 60),
    st.sampled_from(["HR", "Urine", "FiO2", "Na", "MechVent", "mode", "Weight"]),
    st.integers(0, 400),
)


@settings(deadline=None, max_examples=60)
@given(before=st.lists(EVENT, max_size=25), late=st.lists(EVENT, max_size=25), cell=st.integers(0, 6))
def test_no_event_after_an_hour_changes_anything_up_to_it(tmp_path_factory, before, late, cell: int) -> None:
    """All events of later hours are replaced by others, in any place of the table: nothing up to `cell` moves."""
    folder = tmp_path_factory.getbasetemp()
    first = ["a,0,Weight,80", "b,0,Weight,81"]
    kept = [f"{i},{time!r},{parameter},{value}" for i, time, parameter, value in before if time < cell + 1]
    was = [f"{i},{time!r},{parameter},{value}" for i, time, parameter, value in before if time >= cell + 1]
    now = [f"{i},{time + cell + 1!r},{parameter},{value}" for i, time, parameter, value in late]
    asked = {
        "n_hours": 8,
        "categories": [{"name": "mode", "values": {str(value): f"mode {value % 3}" for value in range(300)}}],
        "static_numeric": [{"name": "Weight", "unit": "kg"}],
        "static_categorical": [{"name": "kind", "parameter": "mode", "values": {"1": "one", "2": "two"}}],
    }
    one = own(folder, *first, *kept, *was, **asked).recordings
    other = own(folder, *now, *first, *kept, **asked).recordings
    for mine, theirs in zip(one.recordings, other.recordings, strict=True):
        same(mine, theirs, cell + 1)


def test_the_end_of_an_hour_belongs_to_the_next_and_the_end_of_the_grid_is_outside(tmp_path: Path) -> None:
    found = own(tmp_path, "a,1,HR,80", "a,4,HR,90", "a,99,HR,91", "a,3.9999,HR,70")
    np.testing.assert_array_equal(column(found, "HR"), np.float32([NAN, 80, NAN, 70]))
    (cut,) = (one for one in found.findings if one.kind == "cut")
    assert (cut.n, cut.message) == (2, "events after 4 h; not used")


def test_values_outside_of_their_limits_are_missing_and_their_reason_is_kept(tmp_path: Path) -> None:
    rows = ["a,0,HR,0", "a,0.5,HR,80", "a,1,HR,351", "a,2,HR,high", "a,3,HR,inf", "a,1,MechVent,0.5", "a,2,Urine,1e39"]
    found = own(tmp_path, *rows)
    np.testing.assert_array_equal(column(found, "HR"), np.float32([80, NAN, NAN, NAN]))
    np.testing.assert_allclose(column(found, "HR hours since"), [0.5, 1.5, 2.5, 3.5])
    assert np.isnan(column(found, "MechVent")).all()
    assert np.isnan(column(found, "Urine")).all()
    assert {(one.row, one.column, one.value, one.reason) for one in found.refusals} == {
        (2, "HR", "0", "outside 1 .. 350 1/min"),
        (4, "HR", "351", "outside 1 .. 350 1/min"),
        (5, "HR", "high", "not a number"),
        (6, "HR", "inf", "infinite"),
        (7, "MechVent", "0.5", "expected 0 or 1"),
        (8, "Urine", "1e39", "infinite"),
    }
    counts = {one.message: one.n for one in found.findings}
    assert counts["column 'HR': outside 1 .. 350 1/min; not taken, see refused.csv"] == 2


def test_rows_that_are_no_events_are_refused_with_their_line(tmp_path: Path) -> None:
    rows = ["a,0,HR,80", "", "a,soon,HR,80", "a,-1,HR,80", ",0,HR,80", "a,0,,80", "a,0,HR,", "a,0,HR", "a,0,HR,1,2"]
    rows += ['a,0,"HR,1', "id,time,parameter,value", "a,1,SpO2,98", "a,nan,HR,80", '"a","2","HR","82"']
    found = own(tmp_path, *rows)
    assert {(one.file, one.row, one.reason) for one in found.refusals} == {
        ("events.csv", row, reason)
        for row, reason in [
            (4, "not a time since the begin as hours"),
            (5, "not a time since the begin as hours"),
            (6, "no recording"),
            (7, "no parameter"),
            (8, "no value"),
            (9, "expected 4 cells"),
            (10, "expected 4 cells"),
            (11, "expected 4 cells"),
            (14, "not a time since the begin as hours"),
        ]
    }
    np.testing.assert_array_equal(column(found, "HR"), np.float32([80, NAN, 82, NAN]))
    said = {one.message: (one.n, one.where) for one in found.findings}
    assert said["header lines inside of a file; left out"] == (1, "events.csv:12")
    assert said["parameters that no channel names; left out"] == (1, "SpO2 (1)")
    assert said["parameters of the settings without an event; missing everywhere"][0] == 4


def test_categories_change_in_time_and_are_coded_by_what_was_found(tmp_path: Path) -> None:
    rows = ["a,0.2,mode,run", "a,0.1,mode,idle", "a,2,mode,idle", "a,3,mode,?", "a,0,maker,7"]
    asked = {"channels": [], "categories": [{"name": "mode", "unknown": "?"}]}
    found = own(tmp_path, *rows, ignored=["maker"], **asked)
    assert found.recordings.categorical[0].values == ("idle", "run")
    assert found.recordings.recordings[0].categories[:, 0].tolist() == [3, 0, 2, 0]
    assert found.recordings.recordings[0].numeric.shape == (4, 0)
    assert (found.findings, found.refusals) == ((), ())
    maker = {"static_categorical": [{"name": "maker", "values": {"1": "Acme"}}]}
    other = own(tmp_path, *rows, **asked, **maker)
    assert [(one.column, one.reason) for one in other.refusals] == [("maker (static)", "expected one of 1")]
    assert other.recordings.recordings[0].static_categories.tolist() == [0]


def test_the_formats_of_time(tmp_path: Path) -> None:
    for time_format, time in (("hh:mm", "01:30"), ("minutes", "90"), ("seconds", "5400"), ("hours", "1.5")):
        found = own(tmp_path, f"a,{time},HR,80", time_format=time_format)
        np.testing.assert_allclose(column(found, "HR hours since"), [NAN, 0.5, 1.5, 2.5])
    found = own(tmp_path, "a,00:60,HR,80", "a,1:5,HR,80", "a,00:00,HR,80", time_format="hh:mm")
    assert [one.reason for one in found.refusals] == ["not a time since the begin as hh:mm"] * 2


GENERAL = ["00:00,RecordID,132540", "00:00,Age,76", "00:00,Gender,1", "00:00,Height,175.3", "00:00,ICUType,2"]


def test_a_stay_of_the_challenge_by_hand(tmp_path: Path) -> None:
    rows = [
        *GENERAL,
        "00:00,Weight,-1",
        "00:42,pH,7.45",
        "01:11,HR,88",
        "01:11,Weight,80.6",
        "47:59,HR,70",
        "48:00,HR,1",
    ]
    unknown = ["00:00,RecordID,132541", "00:00,Age,44", "00:00,Gender,-1", "00:00,Height,-1", "00:00,ICUType,3"]
    found = stays(
        tmp_path, _132540=[*rows, "Time,Parameter,Value", "02:00,HR,92"], _132541=[*unknown, "00:00,Weight,57"]
    )
    whole = found.recordings
    first, second = whole.recordings
    assert (first.name, first.numeric.shape, len(whole.numeric)) == ("132540", (48, 74), 74)
    np.testing.assert_array_equal(first.static_numeric, np.float32([76, 175.3, NAN]))
    np.testing.assert_array_equal(second.static_numeric, np.float32([44, NAN, 57]))
    named = [
        [
            channel.values[code - 2] if code else None
            for channel, code in zip(whole.static_categorical, codes, strict=True)
        ]
        for codes in (first.static_categories, second.static_categories)
    ]
    assert named == [["male", "cardiac surgery recovery"], [None, "medical"]]
    assert (first.outcomes.tolist(), second.outcomes.tolist()) == ([0], [1])
    np.testing.assert_array_equal(column(found, "HR")[[0, 1, 2, 47]], np.float32([NAN, 88, 92, 70]))
    assert column(found, "Weight")[1] == np.float32(80.6)  # measured later: never the weight at admission
    np.testing.assert_array_equal(column(found, "Weight", 1)[:2], np.float32([57, NAN]))
    assert column(found, "pH hours since")[0] == pytest.approx(18 / 60)
    assert found.refusals == ()


def test_what_is_wrong_with_stays_is_said(tmp_path: Path) -> None:
    weight = [*GENERAL, "00:00,Weight,80"]
    twice = stays(tmp_path, _132540=[*weight, "00:00,Weight,90", "00:00,Height,13"])
    assert twice.recordings.recordings[0].static_numeric[2] == 80
    assert {one.message for one in twice.findings} >= {
        "more events of 'Weight' at time 0; the first one counts",
        "more events of 'Height' at time 0; the first one counts",
    }
    with pytest.raises(
        SourceError, match=r"132599.txt:2: RecordID is '132540', but this is recording '132599'; rename"
    ):
        stays(tmp_path, _132599=weight)
    (tmp_path / "physionet2012_icu" / "set-a" / "132599.txt").unlink()
    small = stays(tmp_path, _132540=[line.replace("175.3", "13") for line in weight])
    assert [(one.column, one.reason) for one in small.refusals] == [("Height (static)", "outside 100 .. 240 cm")]


@pytest.mark.parametrize(
    ("outcomes", "kind", "message"),
    [
        (
            "RecordID,death\n132540,0\n",
            SourceError,
            "expected the columns RecordID, In-hospital_death, found RecordID, dea",
        ),
        (
            "RecordID,In-hospital_death\n132540,0\n132540,1\n",
            SourceError,
            r"1 recording\(s\) stand there twice \(132540",
        ),
    ],
)
def test_a_table_of_outcomes_that_does_not_fit_is_refused(
    tmp_path: Path, outcomes: str, kind: type, message: str
) -> None:
    with pytest.raises(kind, match=message):
        stays(tmp_path, outcomes=outcomes, _132540=GENERAL)


def test_an_outcome_that_nobody_knows_is_missing_and_said(tmp_path: Path) -> None:
    found = stays(tmp_path, outcomes="RecordID,In-hospital_death\n7,1\n", _132540=GENERAL)
    assert np.isnan(found.recordings.recordings[0].outcomes).all()
    assert any(one.where == "Outcomes-a.txt: 132540" and one.n == 1 for one in found.findings)
    found = stays(tmp_path, outcomes="RecordID,In-hospital_death\n132540,dead\n", _132540=GENERAL)
    assert np.isnan(found.recordings.recordings[0].outcomes).all()
    (refused,) = found.refusals
    assert (refused.file, refused.row, refused.value, refused.reason) == (
        "Outcomes-a.txt",
        2,
        "dead",
        "not a finite number",
    )


def test_files_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    config = EventTablesIngestConfig.model_validate({"source": "event_tables", "raw": "own", "channels": CHANNELS})
    with pytest.raises(FileNotFoundError, match=r"no file matches '\*.csv'"):
        load_mixed("event_tables")(config, Places(tmp_path, tmp_path, tmp_path))
    with pytest.raises(
        SourceError, match=r"events\.csv: expected the columns time, parameter, value, id, found id, when"
    ):
        own(tmp_path, "a,0,HR,80", header="id,when,parameter,value")
    with pytest.raises(SourceError, match="expected a name for each column, once; found id,time,parameter,value,value"):
        own(tmp_path, "a,0,HR,80,1", header="id,time,parameter,value,value")
    with pytest.raises(SourceError, match=r"not one usable row in 1 file\(s\); 1 rows were refused"):
        own(tmp_path, "a,soon,HR,80")
    with pytest.raises(FileNotFoundError, match=r"deaths.csv: not there; put the table of outcomes there"):
        own(tmp_path, "a,0,HR,80", outcomes_file="deaths.csv", outcomes=[{"name": "death"}])
    (tmp_path / "own" / "more.csv").write_text("time,id,parameter,value\n0,b,HR,70\n")
    with pytest.raises(
        SourceError, match=r"more\.csv: expected the header of events.csv .*, found time,id,parameter,value"
    ):
        own(tmp_path, "a,0,HR,80")
    (tmp_path / "own" / "more.csv").unlink()
    for name in ("x", "y"):
        (tmp_path / "own" / name).mkdir()
        (tmp_path / "own" / name / "1.csv").write_text("time,parameter,value\n0,HR,70\n")
    with pytest.raises(SourceError, match="files of one name in several folders; expected one file for each recording"):
        own(tmp_path, "a,0,HR,80", files="*/1.csv", id_column=None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"channels": []}, "neither channels nor categories"),
        ({"channels": [CHANNELS[0]] * 2}, "stand there twice"),
        ({"channels": [{"name": "HR", "unit": "1", "low": 2, "high": 1}]}, r"HR: low \(2\) is above high \(1\)"),
        ({"outcomes_file": "deaths.csv"}, "outcomes and outcomes_file go together"),
        ({"channels": [{"name": "HR", "unit": "1", "rule": "median"}]}, "Input should be 'mean', 'last'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EventTablesIngestConfig.model_validate({"source": "event_tables", "raw": "own", "channels": CHANNELS} | asked)


@pytest.fixture(scope="module")
def found(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> FoundMixed:
    kept = tmp_path_factory.mktemp("kept")
    config = Physionet2012IngestConfig(source="physionet2012")
    return load_mixed("physionet2012")(config, Places(real_data, kept, kept))


def test_500_stays_have_the_published_counts(found: FoundMixed) -> None:
    whole = found.recordings
    assert len(whole.recordings) == 500
    assert (whole.recordings[0].name, whole.recordings[-1].name) == ("132539", "133834")
    assert sum(one.outcomes[0] for one in whole.recordings) == 68
    kinds = [int(one.static_categories[1]) for one in whole.recordings]
    values = whole.static_categorical[1].values
    counts = {name: kinds.count(code) for code, name in enumerate(values, 2)}
    assert counts == {"coronary care": 80, "cardiac surgery recovery": 100, "medical": 201, "surgical": 119}
    assert len(whole.numeric) == 2 * 37
    said = {one.message: one.n for one in found.findings if one.kind != "refused"}
    assert said["events after 48 h; not used"] == 87  # lines that begin with 48:00
    assert said["recordings without a static 'Weight'; left missing"] == 46
    # SHA-256 of the set's own SHA256SUMS, which lists the same 501 files
    assert found.sha256 == "872ab621c66f94add1442a7266a0f58d93385f7b61f1c7c353180bdae2eec9ee"


def test_real_stays_agree_with_pandas(found: FoundMixed, real_data: Path) -> None:
    """Pulse and urine of twenty stays, grouped by pandas from the file alone."""
    whole = found.recordings
    names = [one.name for one in whole.numeric]
    for one in whole.recordings[::25]:
        table = pd.read_csv(real_data / "physionet2012_icu" / "set-a" / f"{one.name}.txt")
        hours = table["Time"].str.split(":").str[0].astype(int)
        for name, rule, low, high in (("HR", "mean", 1, 350), ("Urine", "sum", 0, 2445), ("GCS", "last", 3, 15)):
            mine = table[(table["Parameter"] == name) & table["Value"].between(low, high) & (hours < 48)]
            theirs = mine.groupby(hours)["Value"].agg(rule).reindex(range(48)).to_numpy()
            np.testing.assert_allclose(one.numeric[:, names.index(name)], theirs, rtol=1e-6)
    assert {one.column for one in found.refusals} >= {"HR", "Temp", "pH", "Height (static)"}
    assert all(after.name > before.name for before, after in pairwise(whole.recordings))


def test_a_cell_too_many_is_not_made_up_for_by_one_too_few_elsewhere(tmp_path: Path) -> None:
    found = own(tmp_path, "a,0,HR,80", "a,1,HR", "a,2,HR,90,1", "a,3,HR,82")
    assert [(one.row, one.reason) for one in found.refusals] == [(3, "expected 4 cells"), (4, "expected 4 cells")]
    np.testing.assert_array_equal(column(found, "HR"), np.float32([80, NAN, NAN, 82]))


def test_rows_of_the_outcomes_that_nobody_asks_for_may_stand_there_twice(tmp_path: Path) -> None:
    found = stays(tmp_path, outcomes="RecordID,In-hospital_death\n7,1\n7,0\n132540,1\n", _132540=GENERAL)
    assert found.recordings.recordings[0].outcomes.tolist() == [1.0]


@pytest.mark.parametrize("outcomes", ["", "RecordID,In-hospital_death\n132540,0,1\n"])
def test_a_table_of_outcomes_that_is_no_table_is_named(tmp_path: Path, outcomes: str) -> None:
    with pytest.raises(SourceError, match=r"Outcomes-a\.txt: not a CSV file whose rows have the cells of its header"):
        stays(tmp_path, outcomes=outcomes, _132540=GENERAL)
