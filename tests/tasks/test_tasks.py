import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.states import Failed

from foresense.signals import BenchmarkReport, Environment, Gate, WindowReport, write_report
from tasks import reproduce as module
from tasks.publish import gate_rows, picture, rows
from tasks.reproduce import GateFailedError, StepFailedError, StoreBusyError, is_current, judge_gates, reproduce
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


@pytest.mark.parametrize(
    ("source", "current", "looked_at"),
    [
        ("simulate", {"export"}, ["export"]),  # one look at the last step is a look at all
        ("simulate", {"ingest", "window"}, ["export", "ingest", "window", "export"]),
        ("store", {"export"}, ["export"]),  # ingest is run without a look, so the first look is that of window
        ("store", {"window"}, ["export", "window", "export"]),
    ],
)
def test_a_run_looks_at_all_steps_at_once_and_at_each_only_where_something_is_to_do(
    project, monkeypatch, source, current, looked_at
) -> None:
    stages = "ingest: {mine: {raw: x}}, window: [mine], export: [mine]"
    (project / "params.yaml").write_text(PARAMS.replace("window: [mine]", stages).replace("simulate", source))
    looks: list[str] = []

    def look(stage: str, _project: Path) -> bool:
        looks.append(stage.removesuffix("@mine"))
        return looks[-1] in current

    answer(monkeypatch, 0, "Running stage 'x'")
    monkeypatch.setattr(module, "is_current", look)
    monkeypatch.setattr(module, "fetch_raw_of", lambda project, pipeline: None)
    for _ in range(2):  # a second run in one process looks again
        looks.clear()
        for step in ("ingest", "window", "features", "export"):
            reproduce(step, "mine", print, project)
        assert looks == looked_at


def test_a_training_afresh_is_forced_although_nothing_changed(project, monkeypatch) -> None:
    stages = "window: [mine], train: {mine: {section: train, code: train}}"
    (project / "params.yaml").write_text(PARAMS.replace("window: [mine]", stages))
    commands = answer(monkeypatch, 0, "Running stage 'train@mine':")
    monkeypatch.setattr(module, "is_current", lambda stage, project: True)
    assert reproduce("train", "mine", print, project) == "up to date"
    assert commands == []
    assert reproduce("train", "mine", print, project, afresh=True) == "ran"
    assert commands[0][-3:] == ["--force", "--single-item", "train@mine"]


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


@pytest.fixture
def live_project(project: Path) -> Path:
    text = PARAMS.replace("window: [mine]", "ingest: {mine: {raw: x}}, window: [mine]").replace("simulate", "store")
    (project / "params.yaml").write_text(text)
    return project


def test_a_store_is_read_each_time_and_what_follows_only_when_it_changed(live_project, monkeypatch) -> None:
    commands = answer(monkeypatch, 0, "Running stage 'ingest@mine':")
    monkeypatch.setattr(module, "is_current", lambda stage, project: True)
    assert reproduce("ingest", "mine", print, live_project) == "ran"
    assert reproduce("window", "mine", print, live_project) == "up to date"
    assert commands == [[sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "ingest@mine"]]


def test_a_store_that_is_away_is_tried_again(live_project, monkeypatch) -> None:
    """The words come from the step itself, so that a change of them there fails here."""
    (live_project / "code.json").write_text("{}")
    monkeypatch.setenv("FORESENSE_INFLUX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FORESENSE_INFLUX_FLAVOUR", "v1")
    monkeypatch.setenv("FORESENSE_STORE", "influx")
    command = [sys.executable, "-m", "foresense", "--project", str(live_project), "ingest", "mine"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    answer(monkeypatch, 255, *said.stderr.splitlines(), "ERROR: failed to reproduce 'ingest@mine'")
    with pytest.raises(StoreBusyError) as away:
        reproduce("ingest", "mine", print, live_project)
    assert only_when_busy(None, None, Failed(data=away.value, message="x"))


def test_a_failed_step_tells_its_last_lines_and_is_not_tried_again(project, monkeypatch) -> None:
    answer(monkeypatch, 255, "foresense: too little data", "ERROR: failed to reproduce 'window@mine'")
    with pytest.raises(StepFailedError, match="exit code 255; its last lines:\nforesense: too little data") as failed:
        reproduce("window", "mine", print, project)
    assert not only_when_busy(None, None, Failed(data=failed.value, message="x"))


def bench(project: Path, **changes: Any) -> None:
    header = {
        "pipeline": "mine", "profile": "full", "created_utc": "2026-11-21T00:00:00+00:00", "git_commit": "c",
        "git_dirty": False, "code_digest": "d", "data_sha256": "data", "seed": 0, "duration_s": 1.0,
        "peak_rss_mib": 1.0, "environment": Environment(cpu="one", threads=2, load_1min=0.0, versions={}),
    }  # fmt: skip
    folder = project / "reports" / "mine"
    write_report(folder, WindowReport(**header, step="window", groups={}))
    judged = {"device": "host", "plan": {}, "variants": {}, "groups": {}, "ships": None} | changes
    write_report(folder, BenchmarkReport(**header, step="benchmark", **judged))


@pytest.fixture
def judged_project(project: Path) -> Path:
    (project / "params.yaml").write_text(
        PARAMS.replace("{window: [mine]}", "{window: [mine], benchmark: [mine]}")
        + "    benchmark: {gates: {size_mib: {at_most: 1.0}}}\n"
    )
    return project


def test_gates_that_all_hold_pass_the_judge(judged_project) -> None:
    bench(judged_project, gates=[Gate.judge("size_mib", 0.5, "MiB", at_most=1.0)])
    assert judge_gates("mine", judged_project).unjudged == {}


def test_a_failed_gate_is_told_with_target_and_value(judged_project) -> None:
    bench(judged_project, gates=[Gate.judge("size_mib", 1.2, "MiB", at_most=1.0)])
    with pytest.raises(GateFailedError, match=r"1 gate\(s\) failed\nsize_mib: 1.2 MiB, asked <= 1 \(benchmark\)$"):
        judge_gates("mine", judged_project)


def test_a_gate_without_a_verdict_is_not_a_pass(judged_project) -> None:
    bench(judged_project)
    with pytest.raises(GateFailedError, match=r"mine: not judged\nsize_mib: asked in params\.yaml, no verdict"):
        judge_gates("mine", judged_project)


def test_a_gate_that_was_judged_against_another_limit_is_not_a_pass(judged_project) -> None:
    bench(judged_project, gates=[Gate.judge("size_mib", 0.5, "MiB", at_most=2.0)])
    with pytest.raises(
        GateFailedError, match=r"size_mib: judged against 2, params\.yaml asks for 1; run the step bench"
    ):
        judge_gates("mine", judged_project)


def test_a_step_without_a_report_is_not_a_pass(judged_project) -> None:
    bench(judged_project, gates=[Gate.judge("size_mib", 0.5, "MiB", at_most=1.0)])
    (judged_project / "reports" / "mine" / "window.json").unlink()
    with pytest.raises(GateFailedError, match="mine: not judged\nwindow: not run"):
        judge_gates("mine", judged_project)


def test_a_report_that_cannot_be_read_is_not_a_pass(judged_project) -> None:
    bench(judged_project)
    (judged_project / "reports" / "mine" / "benchmark.json").write_text('{"schema_version": 0}')
    with pytest.raises(GateFailedError, match=r"benchmark\.json: report shape version 0"):
        judge_gates("mine", judged_project)


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
    assert rows(report) == [{"key": "test.mse", "value": "0.5"}, {"key": "step", "value": "train"}]
    assert gate_rows(report)[0]["verdict"] == "FAIL"
    assert gate_rows(report)[0]["headroom"] == "-100%"


def test_a_picture_travels_inside_the_artifact(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x00\x01")
    assert picture(tmp_path / "a.png") == "![a](data:image/png;base64,AAE=)"
