import logging
from pathlib import Path

import pytest


def test_prints_stay_where_they_are_and_a_traceback_is_the_log(fleet, capfd) -> None:
    found = fleet.run("here", {"a": "raises", "b": "good"})
    assert capfd.readouterr().out == "about to fail\n"
    assert found["a"].reason == "ValueError: all values are NaN"
    assert "Traceback" in Path(found["a"].log).read_text()
    assert found["b"].log is None
    assert not (fleet.records / "b.log").exists()


def test_the_log_of_an_earlier_failure_goes_with_success(fleet) -> None:
    fleet.run("here", {"a": "raises"})
    assert (fleet.records / "a.log").exists()
    fleet.run("here", {"a": "good"})
    assert not (fleet.records / "a.log").exists()


def test_progress_is_a_line_an_outcome(fleet, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="foresense.engine"):
        fleet.run("here", {"press-1": "good", "press-2": "raises", "press-3": "too_short"})
        fleet.run("here", {"press-1": "good"})
        list(fleet.start("here", iter(fleet.jobs({"press-4": "good"}))))
    lines = [record.message for record in caplog.records if record.name == "foresense.engine.run"]
    assert lines == [
        "1 of 3: press-1 success in 0.0 s",
        "2 of 3: press-2 failed in 0.0 s: ValueError: all values are NaN",
        "3 of 3: press-3 skipped in 0.0 s: 1102 of 1920 hours",
        "1 of 1: press-1 success before, not run again",
        "1: press-4 success in 0.0 s",
    ]


def test_what_ends_this_process_is_no_outcome(fleet) -> None:
    with pytest.raises(SystemExit, match="no licence"):
        fleet.run("here", {"a": "leaves"})
    assert not (fleet.records / "a.json").exists()
    assert fleet.run("here", {"a": "good"})["a"].n_tries == 1
