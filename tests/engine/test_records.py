import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.engine import Outcome
from foresense.engine.records import Records, RecordsBusyError, file_stem

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400)
ODD = [
    "press 17", "hall 1/press", "../../etc/passwd", "Förderband", "Fo\u0308rderband", "press-1", "Press-1", "PRESS-1",
    ".hidden", "a" * 300, "a" * 299 + "b", "-", "~", "press-1~0123456789abcdef", "nul\u0000l", "line\nbreak", "日本",
]  # fmt: skip


def outcome(asset: str, *, status: str = "success", log: str | None = None) -> Outcome:
    return Outcome(asset, "d", status, "", log, 1.0, 2.0, 1, "host/1", {})


@settings(deadline=None)
@given(names=st.lists(NAMES | st.sampled_from(ODD), unique=True, max_size=20))
def test_a_file_name_is_short_and_safe_and_belongs_to_one_asset_on_any_file_system(names: list[str]) -> None:
    stems = [file_stem(name) for name in names]
    assert len({stem.lower() for stem in stems}) == len(names)
    for stem in stems:
        assert len(stem.encode()) <= 120
        assert stem.isascii()
        assert stem.isprintable()
        assert not stem.startswith(".")
        assert not set(stem) & set('/\\:*?"<>| ')


def test_plain_names_stay_as_they_are() -> None:
    assert file_stem("lathe-1-spindle") == "lathe-1-spindle"
    assert file_stem("Hall 1/Press").startswith("Hall-1-Press~")


def test_odd_names_have_records_and_logs_of_their_own(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    for name in ODD:
        written = records.new_log()
        written.write_text(name)
        records.keep_log(written, [name])
        records.write(outcome(name, log=str(records.log_path(name))))
    for name in ODD:
        found = records.read(name)
        assert found is not None
        assert found.asset == name
        assert Path(str(found.log)).read_text() == name
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "records"}


def test_records_can_move_with_their_logs(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    records.keep_log(records.new_log(), ["a"])
    records.write(outcome("a", log=str(records.log_path("a"))))
    assert str(tmp_path) not in records.path("a").read_text()
    moved = Records((tmp_path / "records").rename(tmp_path / "elsewhere"))
    assert moved.read("a").log == str(tmp_path / "elsewhere" / "a.log")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-20], "not valid JSON"),
        (lambda text: "", "not valid JSON"),
        (lambda text: "[]", "found list"),
        (lambda text: text.replace('"seconds": 1.0', '"seconds": null'), "field 'seconds'"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 9'), "schema_version 9"),
        (lambda text: text.replace('"asset": "a"', '"asset": "b"'), "of the asset 'b'"),
    ],
)
def test_a_damaged_record_counts_as_not_there_and_is_said(damage, said, tmp_path: Path, caplog) -> None:
    records = Records(tmp_path)
    records.write(outcome("a"))
    assert records.read("a") is not None
    damaged = damage(records.path("a").read_text())
    records.path("a").write_text(damaged)
    with caplog.at_level(logging.WARNING):
        assert records.read("a") is None
    assert said in caplog.text
    assert str(records.path("a")) in caplog.text


def test_a_record_that_is_not_utf8_counts_as_not_there(tmp_path: Path, caplog) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{")
    assert Records(tmp_path).read("a") is None
    assert "counts as not there" in caplog.text


def test_one_run_at_a_time_writes_the_records_of_a_folder(tmp_path: Path) -> None:
    with (
        Records(tmp_path).held(),
        pytest.raises(RecordsBusyError, match=rf"another run writes these records, process {os.getpid()}"),
        Records(tmp_path).held(),
    ):
        pass
    with Records(tmp_path).held():
        pass


def test_logs_of_a_run_that_was_killed_go_with_the_next_start(tmp_path: Path) -> None:
    left = Records(tmp_path).new_log()
    with Records(tmp_path).held():
        assert not left.exists()


def test_what_was_finished_is_resumed_and_the_rest_of_its_job_runs(fleet) -> None:
    fleet.run("here", {"a": "good", "b": "too_short", "c": "raises"}, size=3)
    calls = fleet.calls()
    found = fleet.run("here", {"a": "good", "b": "too_short", "c": "good", "d": "good"}, size=4)
    assert {asset: one.resumed for asset, one in found.items()} == {"a": True, "b": True, "c": False, "d": False}
    assert found["b"].status == "skipped"
    assert found["b"].reason == "1102 of 1920 hours"
    assert fleet.calls() - calls == {"c": 1, "d": 1}


def test_another_digest_runs_again(fleet) -> None:
    fleet.run("here", {"a": "good"})
    [found] = fleet.start("here", fleet.jobs({"a": "good"}, digest="other"))
    assert not found.resumed
    assert found.n_tries == 1
    assert fleet.calls() == {"a": 2}


def test_a_failed_one_is_tried_again_and_its_tries_are_counted(fleet) -> None:
    for n_tries in (1, 2, 3):
        assert fleet.run("here", {"a": "raises"})["a"].n_tries == n_tries
    assert fleet.run("here", {"a": "good"})["a"].n_tries == 4


def test_records_of_assets_that_are_not_asked_for_stay(fleet) -> None:
    fleet.run("here", {"a": "good", "b": "raises"})
    before = {path.name: path.read_bytes() for path in fleet.records.glob("a.*")}
    fleet.run("here", {"b": "good"})
    assert {path.name: path.read_bytes() for path in fleet.records.glob("a.*")} == before != {}


def test_a_record_that_was_cut_off_runs_again(fleet) -> None:
    fleet.run("here", {"a": "good"})
    path = fleet.records / "a.json"
    path.write_text(path.read_text()[:40])
    assert not fleet.run("here", {"a": "good"})["a"].resumed
    assert json.loads(path.read_text())["status"] == "success"
