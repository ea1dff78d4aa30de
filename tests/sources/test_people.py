"""Sources of labelled recordings, each on hand-made files of its published layout."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from foresense.config.activity import ActivityIngestConfig
from foresense.signals.labelled import UNLABELLED
from foresense.sources import Places, SourceError
from foresense.sources.people import load_people


def read(source: str, tmp_path: Path, **asked: object):
    config = ActivityIngestConfig.model_validate({"source": source, "raw": "set", "rate_hz": 100, **asked})
    return load_people(source)(config, Places(tmp_path, tmp_path, tmp_path / "kept"))


def wisdm_files(folder: Path, lines: list[str]) -> None:
    folder.mkdir()
    (folder / "data_1600_accel_watch.txt").write_text("\n".join(lines) + "\n")


def test_wisdm_is_read_in_g_and_a_run_of_one_activity_is_a_stretch(tmp_path: Path) -> None:
    lines = [f"1600,{code},9.80665,0,{n};" for code in "AADD" for n in (0, 4.903325)] + ["1601,B,0,0,-9.80665;"]
    wisdm_files(tmp_path / "set", lines)
    found = read("wisdm", tmp_path, found_unit="m/s2", rate_hz=20).labelled
    first, second = found.people
    assert (first.person, second.person, found.has_time) == ("1600", "1601", False)
    np.testing.assert_allclose(first.samples[1], [1, 0, 0.5], rtol=1e-6)
    assert first.stretches.tolist() == [0, 4]
    assert [found.classes[k] for k in first.labels[[0, 4]]] == ["walking", "sitting"]
    np.testing.assert_allclose(second.samples, [[0, 0, -1]], rtol=1e-6)


def test_lines_of_another_form_are_refused_kept_and_end_a_stretch(tmp_path: Path) -> None:
    wisdm_files(tmp_path / "set", ["1600,A,1,2,9;", "1600,A,1,2;", "1600,Q,1,2,9;", "1600,A,nan,2,9;", "1600,A,1,2,9;"])
    found = read("wisdm", tmp_path, found_unit="m/s2", rate_hz=20)
    assert [(one.row, one.reason) for one in found.refusals] == [
        (row, "expected `person,activity,x,y,z;`") for row in (2, 3, 4)
    ]
    assert found.findings[0].n == 3
    assert found.labelled.people[0].stretches.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "these files are in m/s2; set found_unit: m/s2"),
        ({"found_unit": "m/s2", "classes": ["flying"]}, r"\['flying'\] are no activities here"),
    ],
)
def test_wisdm_says_what_to_set(tmp_path: Path, asked: dict[str, object], message: str) -> None:
    wisdm_files(tmp_path / "set", ["1600,A,1,2,9;"])
    with pytest.raises(SourceError, match=message):
        read("wisdm", tmp_path, **asked)


def capture_files(folder: Path, rows: list[str], name: str = "P001") -> None:
    folder.mkdir(exist_ok=True)
    text = "time,x,y,z,annotation\n" + "\n".join(rows) + "\n"
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "annotation-label-dictionary.csv").write_text(
        "annotation,label:Willetts2018,label:Walmsley2020\nsitting;1.3,sit-stand,sedentary\nsleeping;0.9,sleep,sleep\n"
    )


def capture_row(n: int, annotation: str = "sitting;1.3", x: str = "0.1") -> str:
    return f"2016-11-13 02:18:{n // 100:02d}.{n % 100:02d}0000,{x},0.2,0.97,{annotation}"


def test_capture24_is_read_with_the_labels_of_its_dictionary(tmp_path: Path) -> None:
    rows = [capture_row(n, "sitting;1.3" if n < 5 else "sleeping;0.9" if n < 8 else "") for n in range(10)]
    capture_files(tmp_path / "set", rows)
    found = read("capture24", tmp_path, time_zone="Europe/London").labelled
    (one,) = found.people
    assert (one.person, found.classes, found.has_time) == ("P001", ("sedentary", "sleep"), True)
    assert one.labels.tolist() == [0] * 5 + [1] * 3 + [UNLABELLED] * 2
    assert one.stretches.tolist() == [0]
    assert one.start_ns.tolist() == [1479003480 * 10**9]
    np.testing.assert_allclose(one.samples[0], [0.1, 0.2, 0.97], rtol=1e-6)
    other = read("capture24", tmp_path, labels="Willetts2018").labelled
    assert other.classes == ("sit-stand", "sleep")


def test_a_missing_sample_ends_a_stretch_and_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    rows = [capture_row(n) for n in (0, 1, 2, 4, 5)]
    rows += [capture_row(5), capture_row(6, x="abc"), "not a time,0,0,1,sitting;1.3", capture_row(7), capture_row(8)]
    capture_files(tmp_path / "set", rows)
    found = read("capture24", tmp_path)
    assert found.labelled.people[0].stretches.tolist() == [0, 3, 5]
    assert sorted(one.row for one in found.refusals) == [7, 8, 9]
    assert {one.n for one in found.findings} == {1, 2}


def test_an_hour_that_the_clock_repeats_is_refused(tmp_path: Path) -> None:
    rows = [f"2016-10-30 0{hour}:30:00.{n}00000,0,0,1,sitting;1.3" for hour in (0, 1) for n in range(5)]
    capture_files(tmp_path / "set", rows)
    found = read("capture24", tmp_path, rate_hz=10, time_zone="Europe/London")
    assert len(found.labelled.people[0].samples) == 5
    assert len(found.refusals) == 5


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rate_hz": 50}, "100 samples a second, ingest.rate_hz asks for 50"),
        ({"labels": "Doherty"}, r"no column 'label:Doherty'; set ingest.labels to one of: Willetts2018, Walmsley2020"),
    ],
)
def test_capture24_says_what_to_set(tmp_path: Path, asked: dict[str, object], message: str) -> None:
    capture_files(tmp_path / "set", [capture_row(n) for n in range(5)])
    with pytest.raises(SourceError, match=message):
        read("capture24", tmp_path, **asked)


def subject_files(folder: Path, **people: tuple[np.ndarray, list[str], list[int]]) -> None:
    folder.mkdir(exist_ok=True)
    rows = ["participant,status,outfile", *(f"{name},ok,{name}.npz" for name in people), "P999,failed,"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    for name, (windows, labels, times) in people.items():
        np.savez(
            folder / f"{name}.npz",
            windows=windows.astype(np.float32),
            labels_str=np.array(labels),
            first_ts_epoch_ns=np.array(times, np.int64),
        )


def test_subject_files_are_read_in_order_of_time_and_neighbours_are_one_stretch(tmp_path: Path) -> None:
    start, step = 1_700_000_000 * 10**9, 10**9
    windows = np.arange(4)[:, None, None] * np.ones((4, 100, 3))
    times = [start + 2 * step, start, start + step, start + 9 * step]
    subject_files(tmp_path / "set", P1=(windows, ["walk", "sit", "sit", "run"], times))
    found = read("subject_files", tmp_path)
    (one,) = found.labelled.people
    assert found.labelled.classes == ("run", "sit", "walk")
    assert one.samples[::100, 0].tolist() == [1, 2, 0, 3]
    assert one.labels[::100].tolist() == [1, 1, 2, 0]
    assert one.stretches.tolist() == [0, 300]
    assert one.start_ns.tolist() == [start, start + 9 * step]
    assert [(one.asset, one.kind) for one in found.findings] == [("P999", "left_out")]
    (tmp_path / "set" / "classes.json").write_text(json.dumps(["sit", "walk", "run"]))
    assert read("subject_files", tmp_path).labelled.classes == ("sit", "walk", "run")


def test_a_window_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    windows = np.zeros((3, 100, 3))
    windows[1, 5] = np.nan
    subject_files(tmp_path / "set", P1=(windows, ["a", "a", "a"], [0, 10**9, 2 * 10**9]))
    found = read("subject_files", tmp_path)
    assert [(one.row, one.reason) for one in found.refusals] == [(1, "not finite")]
    assert found.labelled.people[0].stretches.tolist() == [0, 100]


def test_subject_files_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv: not there; expected columns participant, status"):
        read("subject_files", tmp_path)
    subject_files(folder, P1=(np.zeros((2, 100, 2)), ["a", "a"], [0, 1]))
    with pytest.raises(
        SourceError, match=r"expected windows \(n, length, 3\) and n labels and times, found \(2, 100, 2\)"
    ):
        read("subject_files", tmp_path)
    (folder / "manifest.csv").write_text("participant,status,outfile\nP1,ok,P1.npz\nP1,ok,P1.npz\n")
    with pytest.raises(SourceError, match=r"participants \['P1'\] stand there twice"):
        read("subject_files", tmp_path)
    (folder / "manifest.csv").write_text("participant,status,outfile\nP2,ok,P2.npz\n")
    with pytest.raises(FileNotFoundError, match=r"P2\.npz: listed in manifest.csv with status 'ok', and not there"):
        read("subject_files", tmp_path)


def test_simulated_days_are_a_function_of_their_settings_and_look_like_days(tmp_path: Path) -> None:
    asked = {"rate_hz": 5, "n_people": 4, "n_hours": 24}
    found, again = read("simulated_days", tmp_path, **asked), read("simulated_days", tmp_path, **asked)
    other = read("simulated_days", tmp_path, **asked, seed=1)
    assert found.sha256 == again.sha256 != other.sha256
    for one, same, another in zip(found.labelled.people, again.labelled.people, other.labelled.people, strict=True):
        np.testing.assert_array_equal(one.samples, same.samples)
        assert not np.array_equal(one.labels, another.labels)
        assert np.median(np.linalg.norm(one.samples, axis=1)) == pytest.approx(1, abs=0.05)
        hours = np.bincount(one.labels, minlength=4) / 5 / 3600
        assert 5.9 <= hours[0] <= 9.1  # one night
        assert np.count_nonzero(np.diff((one.labels == 0).astype(int)) == 1) == 1
        assert (hours[1:] > 0.5).all()


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"no source 'wisdom' of people; did you mean 'wisdm'\?"):
        load_people("wisdom")
