"""Sources of minutes of activity: hand-made files of their layouts, and the real sets."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foresense.config.actigraphy import ActigraphyIngestConfig
from foresense.signals import file_sha256
from foresense.signals.actigraphy import days_by_clock
from foresense.sources import Places, SourceError
from foresense.sources.actigraphy import FoundActigraphy, load_actigraphy
from foresense.sources.actigraphy_sets import find_actigraphy_set

HEADER = "timestamp,date,activity"


def row(minute: int, activity: object = 7, day: str = "2003-03-18") -> str:
    return f"{day} {minute // 60:02d}:{minute % 60:02d}:00,{day},{activity}"


def depresjon(tmp_path: Path, rows: list[str], *, header: str = HEADER, scores: str | None = None, **asked: object):  # type: ignore[no-untyped-def]
    folder = tmp_path / "depresjon" / "control"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "control_1.csv.gz").write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
    (folder.parent / "scores.csv").write_text(scores or "number,days,gender,madrs1\ncontrol_1,20,2,NA\n")
    return read("depresjon", tmp_path, **asked)


def read(source: str, raw: Path, **asked: object) -> FoundActigraphy:
    config = ActigraphyIngestConfig.model_validate({"source": source, **asked})
    return load_actigraphy(source)(config, Places(raw, raw, raw))


def test_a_person_of_depresjon_is_a_recording_with_what_is_known(tmp_path: Path) -> None:
    found = depresjon(tmp_path, [row(900, 1), row(901, 2), row(904, 3)])
    (one,) = found.recordings
    assert (one.asset, one.channels, one.units, one.time_zone) == (
        "control_1",
        ("activity",),
        ("counts",),
        "Europe/Oslo",
    )
    assert one.start == pd.Timestamp("2003-03-18T14:00Z")
    np.testing.assert_array_equal(one.samples[:, 0], [1, 2, np.nan, np.nan, 3])
    assert found.people[0].label == "control"
    assert found.people[0].facts == {"days": "20", "gender": "2"}
    assert found.labels().tolist() == ["control"]
    assert [(gap.kind, gap.n, gap.message) for gap in found.findings] == [
        ("gap", 1, "2 minutes without a row, left missing")
    ]


def test_rows_that_cannot_be_used_are_refused_with_their_reason(tmp_path: Path) -> None:
    rows = [row(0), "no time,2003-03-18,5", row(2, "x"), row(3, -1), row(4, ""), row(5), row(5), row(4, 9)]
    found = depresjon(tmp_path, rows)
    assert [(one.row, one.reason) for one in found.refusals] == [
        (3, "not an ISO 8601 time"),
        (4, "no count of at least 0"),
        (5, "no count of at least 0"),
        (6, "no count of at least 0"),
    ]
    np.testing.assert_array_equal(found.recordings[0].samples[:, 0], [7, np.nan, np.nan, np.nan, 9, 7])
    assert {one.kind for one in found.findings} == {"refused", "unsorted", "duplicate", "gap"}
    missing_hour = depresjon(
        tmp_path, [row(119, day="2003-03-30"), row(130, day="2003-03-30"), row(180, day="2003-03-30")]
    )
    assert missing_hour.refusals[0].reason == "never happened in Europe/Oslo: the clock skipped it"
    assert len(missing_hour.recordings[0].samples) == 2  # 01:59 and 03:00 follow one another


def test_depresjon_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no condition/condition_\*.csv.gz and control/control_\*.csv.gz there"
    ):
        read("depresjon", tmp_path)
    good = [row(0), row(1)]
    for rows, asked, message in (
        (good, {"unit": "mims"}, "depresjon holds counts, params.yaml says 'mims'; set unit: counts"),
        (good, {"scores": "number,days\ncontrol_2,3\n"}, "no row for 'control_1'; every recording needs one"),
        (good, {"scores": "person,days\n"}, "expected a column 'number'"),
        (good, {"scores": "number,days\ncontrol_1,3\ncontrol_1,4\n"}, "'control_1' stands there twice; keep one row"),
        (good, {"header": "time,date,activity"}, r"columns \['timestamp'\] missing"),
        ([row(0), row(0, 8)], {}, "one timestamp and different values"),
        ([row(0), row(1).replace(":00,", ":30,")], {}, "not a whole number of minutes after the first row"),
        ([row(0), row(0, day="2005-03-18")], {}, "2 rows span 731 days, expected at most 366"),
        ([row(0)], {}, "no two usable rows of 1"),
    ):
        with pytest.raises(SourceError, match=message):
            depresjon(tmp_path, rows, **asked)  # type: ignore[arg-type]
    (tmp_path / "depresjon" / "scores.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"scores.csv: not there; it comes with the set"):
        read("depresjon", tmp_path)


def test_the_people_of_depresjon_have_their_published_counts(real_data: Path) -> None:
    found = read("depresjon", real_data)
    lengths = [len(one.samples) for one in found.recordings]
    assert (len(lengths), sum(lengths), min(lengths), max(lengths)) == (55, 1_571_706, 19_299, 65_407)
    assert [(found.labels() == label).sum() for label in ("condition", "control")] == [23, 32]
    assert (found.refusals, found.findings) == ((), ())
    # SHA-256 of the set's own SHA256SUMS, which lists the same 56 files
    assert found.sha256 == "e4572b4c289c1c714ea841f428cb94023f0dcf93df4f16eaf1b8c66ee5f76a1d"
    assert found.people[0].facts["madrs1"] == "19"
    minutes = found.minutes()
    days = days_by_clock(minutes)
    recorded = ~np.isnan(minutes.values)
    jumps = (np.diff(minutes.clock, axis=1) == 61) & recorded[:, 1:]
    changed = [minutes.people[person] for person in np.flatnonzero(jumps.any(axis=1))]
    assert changed == ["control_1", "control_6", "control_7", "control_31", "control_32"]
    for name in changed:
        person = minutes.people.index(name)
        sunday = pd.Timestamp("2003-03-30").value // (86400 * 10**9) - days.first_day[person]
        hours = np.isnan(days.values[person, sunday].reshape(24, 60))
        assert np.flatnonzero(hours.any(axis=1)).tolist() == [2]
        assert hours[2].all()
        assert np.nansum(days.values[person]) == np.nansum(minutes.values[person])  # nothing is lost or doubled


def nhanes(tmp_path: Path, table: pd.DataFrame, **asked: object) -> FoundActigraphy:
    (tmp_path / "nhanes_unidata").mkdir(exist_ok=True)
    table.to_csv(tmp_path / "nhanes_unidata" / "unidata.csv", index=False)
    return read("nhanes_unidata", tmp_path, **asked)


def week(first_day: int = 3) -> pd.DataFrame:
    days = (np.arange(10080) // 1440 + first_day - 1) % 7 + 1
    return pd.DataFrame({"seqn": 21005, "paxday": days, "paxinten": np.arange(10080) % 50})


def test_a_person_of_nhanes_begins_on_the_right_day_of_the_week(tmp_path: Path) -> None:
    found = nhanes(tmp_path, week())
    days = days_by_clock(found.minutes())
    assert days.weekdays[0].tolist() == [1, 2, 3, 4, 5, 6, 0]  # paxday 3 is a Tuesday
    assert (found.has_time, found.people[0].label, found.findings[0].kind) == (False, None, "nominal_dates")


def test_nhanes_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"unidata.csv: not there"):
        read("nhanes_unidata", tmp_path)
    with pytest.raises(SourceError, match="has no dates, found 'Europe/Oslo'; leave it out"):
        nhanes(tmp_path, week(), time_zone="Europe/Oslo")
    with pytest.raises(SourceError, match=r"person 21005 has 10079 minutes, expected 10080: seven days"):
        nhanes(tmp_path, week()[1:])
    with pytest.raises(SourceError, match=r"person 21005 has 10080 minutes, .* paxday rising by 1"):
        nhanes(tmp_path, week()[::-1])
    with pytest.raises(SourceError, match=r"unidata.csv:7: paxinten is -3, expected counts of at least 0"):
        nhanes(tmp_path, week().assign(paxinten=np.where(np.arange(10080) == 5, -3, 1)))
    with pytest.raises(SourceError, match=r"columns \['paxday'\] missing"):
        nhanes(tmp_path, week().drop(columns="paxday"))
    with pytest.raises(SourceError, match=r"unidata.csv:8: paxday is 2.5, expected a whole number"):
        nhanes(tmp_path, week().assign(paxday=np.where(np.arange(10080) == 6, 2.5, 1)))
    with pytest.raises(SourceError, match="no row below the header"):
        nhanes(tmp_path, week()[:0])
    (tmp_path / "nhanes_unidata" / "unidata.csv").write_bytes(b"\xff")
    with pytest.raises(SourceError, match=r"unidata.csv: cannot be read as CSV .*; fetch it again"):
        read("nhanes_unidata", tmp_path)


def test_the_people_of_nhanes_have_their_published_counts(real_data: Path) -> None:
    found = read("nhanes_unidata", real_data)
    assert [one.asset for one in found.recordings] == ["21005", "21006", "21007", "21008", "21009"]
    minutes = found.minutes()
    assert minutes.values.shape == (5, 10080)
    assert (minutes.values.min(), minutes.values.max()) == (0, 13889)
    zeros = (minutes.values == 0).mean(axis=1)
    assert (round(100 * zeros.min()), round(100 * zeros.max())) == (50, 78)


@pytest.mark.parametrize("name", ["depresjon", "nhanes_unidata"])
def test_a_known_set_lists_the_files_that_are_there(name: str, real_data: Path) -> None:
    known = find_actigraphy_set(name)
    assert {"set", "source", "licence", "citation"} == set(known.facts())
    first = known.files[-1]
    assert file_sha256(real_data / name / first.name) == first.sha256
    assert all((real_data / name / file.name).stat().st_size == file.n_bytes for file in known.files)
    with pytest.raises(SourceError, match=r"no set of actigraphy 'depression'; did you mean 'depresjon'\?"):
        find_actigraphy_set("depression")


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"no source 'depression' of actigraphy; did you mean 'depresjon'\?"):
        load_actigraphy("depression")
