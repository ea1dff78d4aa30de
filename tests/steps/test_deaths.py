"""`kill -9` of a step at any of its writes: nothing half is left, and the next run ends as an undisturbed one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foresense.signals import Layout
from foresense.steps.leftovers import clear_leftovers

DIES = Path(__file__).with_name("dies.py")


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.long)])
def test_a_step_that_dies_at_a_write_leaves_nothing_half_and_ends_the_next_time(every: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DIES), str(tmp_path), str(every)], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["step"], row["over"]) for row in rows} == {
        (step, over) for step in ("ingest", "window", "features") for over in (False, True)
    }
    for row in rows:
        assert row["killed"], row
        assert not row["half"], row
        assert (row["again"], row["equal"], row["left_over"]) == (0, True, []), row


def test_only_what_a_step_began_is_cleared_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = Layout(tmp_path, tmp_path).of("oil")
    stay = [paths.windows, paths.windows / ".oil.abcd1234", paths.windows.parent / ".oil-paper.abcd1234"]
    stay += [paths.windows.parent / ".oil.notes", paths.recordings.parent / ".oil.abcd1234"]
    go = [paths.windows.parent / ".oil.abcd_123", paths.windows.parent / ".oil.00000000"]
    for folder in (*stay, *go, paths.reports):
        folder.mkdir(parents=True, exist_ok=True)
    report = paths.reports / ".window.json.abcd1234"
    for file in (report, paths.reports / ".train.json.abcd1234", paths.reports / "window.json", go[0] / "samples.npy"):
        file.write_text("{}")
    assert clear_leftovers(paths, "window") == [report, go[1], go[0]]
    assert not any(path.exists() for path in (*go, report))
    assert all(path.exists() for path in (*stay, paths.reports / ".train.json.abcd1234", paths.reports / "window.json"))
    assert f"{go[0]}: left by a run that was killed; removed" in caplog.text
    assert clear_leftovers(paths, "benchmark") == []
