"""What a person reads of a pipeline: an old result is never shown as if it were about the newest inputs."""

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from foresense.signals import Environment, Layout, write_report
from foresense.signals.reports import REPORTS
from foresense.steps.process import only_one
from foresense.steps.report import as_text, overview, summary

FIELDS: dict[str, dict[str, Any]] = {
    "ingest": {"source": "s", "assets": {}, "findings": []},
    "window": {"groups": {}},
    "export": {"variants": {}, "groups": {}, "refused": {}},
}
PROFILE: dict[str, Any] = {
    "schema_version": 1,
    "pipeline": "mine",
    "variant": "onnx-float32",
    "device": "host",
    "plan": {"n_windows": 100},
    "network": {"name": "transformer", "n_parameters": 75_016, "flops": 1_617_616},
    "stages_ms": {"topology": {"p50": 6.0, "p95": 8.0, "p99": 9.0}, "network": {"p50": 2.0, "p95": 2.5, "p99": 3.0}},
    "slowest_stage": {"name": "topology", "p50_ms": 6.0, "share": 0.75},
    "latency_ms": {"mean": 8.0, "p50": 8.1, "p95": 10.0, "p99": 12.0},
    "window_ms": 10_000.0,
    "real_time_factor": 1000.0,
    "is_real_time": True,
    "throughput": [{"batch": 1, "windows_per_s": 120.0}],
    "memory_mib": {"peak_rss": 230.0, "runtime_rss": 48.0, "growth": 0.5},
}
MORE: dict[str, dict[str, Any]] = {"features": {"n_windows": 12, "features": {}, "landmarks": {}}}
LANDMARKS = {
    "backend": "ripser, 100 landmarks",
    "n_points": 196,
    "bound_g": {"p50": 0.1, "p95": 0.4},
    "longest_loop_g": {"p50": 0.1, "p95": 0.5},
    "statement": "In 9 of 12 windows the bound is as long.",
}

PARAMS = """
stages: {ingest: {mine: {raw: x}}, window: [mine], features: [mine], export: [mine]}
pipelines:
  mine:
    description: one
    ingest: {source: simulate, channels: [{name: a, unit: A}]}
    window: {}
    train: {candidates: {only: {}}}
    benchmark: {gates: {quality_drop: {at_most: 1.0}}}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Layout(root=tmp_path, project=tmp_path)


def finish(layout: Layout, step: str, hour: int) -> None:
    header = {
        "pipeline": "mine",
        "step": step,
        "profile": "full",
        "created_utc": f"2026-11-21T{hour:02d}:00:00+00:00",
        "git_commit": "0123456789",
        "git_dirty": False,
        "code_digest": "d",
        "data_sha256": "data",
        "seed": 0,
        "duration_s": 1.0,
        "peak_rss_mib": 1.0,
        "environment": Environment(cpu="one", threads=2, load_1min=0.0, versions={}),
    }
    write_report(layout.of("mine").reports, REPORTS[step](**header, **(FIELDS | MORE)[step]))


def shown(layout: Layout) -> str:
    page = StringIO()
    for table in summary(overview(layout, "mine")):
        Console(width=200, file=page).print(table)
    return page.getvalue()


def test_steps_in_their_order_are_done_and_the_others_have_not_run(layout: Layout) -> None:
    for hour, step in enumerate(FIELDS):
        finish(layout, step, hour)
    assert overview(layout, "mine").outdated == {}
    assert "before the last" not in shown(layout)
    assert "not run" in shown(layout)
    assert "not used" in shown(layout)


def test_what_has_no_verdict_is_known_with_its_reason(layout: Layout) -> None:
    finish(layout, "window", 1)
    (layout.of("mine").reports / "export.json").write_text("{")
    with only_one(layout.cache, "ingest", "mine"):
        found = overview(layout, "mine")
    assert found.unjudged["ingest"] == f"running, process {os.getpid()}"
    assert found.unjudged["features"] == "not run"
    assert "export.json: not valid JSON" in found.unjudged["export"]
    assert set(found.unjudged) == {"ingest", "features", "export", "quality_drop"}  # no step `benchmark` will judge it
    assert set(found.broken) == {"export", "quality_drop"}


def test_a_pipeline_tried_in_a_scratch_folder_owes_all_steps_and_no_gate_on_quality(layout: Layout) -> None:
    scratch = Layout(root=layout.root / "runs" / "smoke-mine", project=layout.project)
    finish(scratch, "ingest", 0)
    assert set(overview(scratch, "mine").unjudged) == {"window", "features", "train", "export", "benchmark"}


def test_a_report_from_before_the_last_run_of_an_earlier_step_says_so(layout: Layout) -> None:
    for hour, step in enumerate(FIELDS):
        finish(layout, step, hour)
    finish(layout, "window", 9)
    assert overview(layout, "mine").outdated == {"export": "window"}
    assert "done before the last window" in shown(layout)
    (remark,) = overview(layout, "mine").remarks
    assert "`foresense run mine` runs the later steps again, but only if its output has changed" in remark


def test_the_bound_of_landmarks_is_shown_where_there_is_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(layout, "features", 1)
    assert "topology" not in shown(layout)
    monkeypatch.setitem(MORE["features"], "landmarks", LANDMARKS)
    finish(layout, "features", 1)
    assert "In 9 of 12 windows the bound is as long." in shown(layout)


def test_a_profile_is_shown_and_one_that_cannot_be_read_is_a_problem(layout: Layout) -> None:
    finish(layout, "ingest", 1)
    assert json.loads(as_text(overview(layout, "mine")))["profile"] is None
    path = layout.of("mine").reports / "profile.json"
    path.write_text(json.dumps(PROFILE))
    assert "slowest stage: topology, 75% of a label" in shown(layout)
    assert json.loads(as_text(overview(layout, "mine")))["profile"] == PROFILE
    path.write_text("{")
    assert "not valid JSON" in overview(layout, "mine").broken["profile"]
