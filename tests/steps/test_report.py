"""What a person reads of a pipeline: an old result is never shown as if it were about the newest inputs."""

import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from foresense.signals import Environment, Layout, write_report
from foresense.signals.reports import REPORTS
from foresense.steps.process import only_one
from foresense.steps.report import overview, summary

FIELDS: dict[str, dict[str, Any]] = {
    "ingest": {"source": "s", "assets": {}, "findings": []},
    "window": {"groups": {}},
    "export": {"variants": {}, "groups": {}, "refused": {}},
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
    write_report(layout.of("mine").reports, REPORTS[step](**header, **FIELDS[step]))


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
