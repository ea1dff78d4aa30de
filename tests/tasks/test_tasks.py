import sys
from pathlib import Path

import pytest
from prefect.states import Failed

from tasks import reproduce as module
from tasks.publish import gate_rows, picture, rows
from tasks.reproduce import StepFailedError, StoreBusyError, is_current, reproduce
from tasks.stages import only_when_busy

PARAMS = """
stages: {window: [mine]}
pipelines:
  mine:
    description: x
    ingest: {source: simulate, channels: [{name: a, unit: A}]}
    window: {}
    train: {candidates: {a: {}}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def answer(monkeypatch: pytest.MonkeyPatch, code: int, *lines: str) -> list[list[str]]:
    commands: list[list[str]] = []

    def stream(command, folder, echo) -> int:
        commands.append(command)
        for line in lines:
            echo(line)
        return code

    monkeypatch.setattr(module, "stream", stream)
    return commands


def test_a_stage_is_reproduced_with_its_upstream(project, monkeypatch) -> None:
    commands = answer(monkeypatch, 0, "Running stage 'window@mine':", "> work")
    heard: list[str] = []
    assert reproduce("window", "mine", heard.append, project) == "ran"
    assert commands == [[sys.executable, "-m", "dvc", "repro", "window@mine"]]
    assert heard == ["Running stage 'window@mine':", "> work"]


def test_a_stage_that_dvc_skips_is_up_to_date(project, monkeypatch) -> None:
    answer(monkeypatch, 0, "Stage 'window@mine' didn't change, skipping", "Data and pipelines are up to date.")
    assert reproduce("window", "mine", print, project) == "up to date"


def test_a_current_stage_starts_no_process(project, monkeypatch) -> None:
    commands = answer(monkeypatch, 0)
    monkeypatch.setattr(module, "is_current", lambda stage, project: stage == "window@mine")
    heard: list[str] = []
    assert reproduce("window", "mine", heard.append, project) == "up to date"
    assert heard == ["window@mine and all that it needs are up to date"]
    assert commands == []


def test_where_dvc_has_no_answer_the_stage_is_not_current(project) -> None:
    assert not is_current("window@mine", project)  # not even a repository of DVC


def test_a_step_that_the_pipeline_does_not_use_starts_nothing(project, monkeypatch) -> None:
    commands = answer(monkeypatch, 0)
    assert reproduce("features", "mine", print, project) == "not used"
    assert commands == []


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: 'reports/mine/loss.csv' is busy, it is being blocked by: (PID 1): x",
        "ERROR: Unable to acquire lock. Most likely another DVC process is running",
        "foresense: window@mine is running already, in process 12; wait for it",
    ],
)
def test_a_held_lock_is_busy_and_the_only_thing_that_is_tried_again(project, monkeypatch, line: str) -> None:
    answer(monkeypatch, 255, line)
    with pytest.raises(StoreBusyError, match="window@mine") as busy:
        reproduce("window", "mine", print, project)
    assert only_when_busy(None, None, Failed(data=busy.value, message="x"))


def test_a_failed_step_tells_its_last_lines_and_is_not_tried_again(project, monkeypatch) -> None:
    answer(monkeypatch, 255, "foresense: too little data", "ERROR: failed to reproduce 'window@mine'")
    with pytest.raises(StepFailedError, match="exit code 255; its last lines:\nforesense: too little data") as failed:
        reproduce("window", "mine", print, project)
    assert not only_when_busy(None, None, Failed(data=failed.value, message="x"))


def test_a_report_becomes_rows_and_its_gates_a_table(tmp_path: Path) -> None:
    gate = {
        "name": "size",
        "comparison": "<=",
        "target": 1,
        "value": 2.0,
        "unit": "MiB",
        "headroom": -1.0,
        "passed": False,
    }
    report = {"step": "train", "test": {"mse": 0.5}, "gates": [gate]}
    assert rows(report) == [{"key": "step", "value": "train"}, {"key": "test.mse", "value": "0.5"}]
    assert gate_rows(report)[0]["verdict"] == "FAIL"
    assert gate_rows(report)[0]["headroom"] == "-100%"


def test_a_picture_travels_inside_the_artifact(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x00\x01")
    assert picture(tmp_path / "a.png") == "![a](data:image/png;base64,AAE=)"
