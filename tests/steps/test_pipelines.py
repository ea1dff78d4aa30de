"""The listing of `foresense pipelines`: what stands in params.yaml, and what became of it."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from foresense.signals import Environment, Gate, Layout, write_report
from foresense.signals.reports import BenchmarkReport
from foresense.steps.pipelines import listing
from foresense.steps.process import only_one

ROOT = Path(__file__).parents[2]


def rows_of(layout: Layout) -> dict[str, list[str]]:
    names, *others = ([str(cell) for cell in column.cells] for column in listing(layout).columns)
    return {name: list(cells) for name, *cells in zip(names, *others, strict=True)}


@pytest.fixture
def here(tmp_path: Path) -> Layout:
    """The pipelines of this checkout, none of which has run."""
    (tmp_path / "params.yaml").symlink_to(ROOT / "params.yaml")
    return Layout(tmp_path, tmp_path)


def judged(layout: Layout, *gates: Gate) -> None:
    header = {
        "pipeline": "demo",
        "profile": "demo",
        "created_utc": "2026-01-01T00:00:00+00:00",
        "git_commit": "abc",
        "git_dirty": False,
        "code_digest": "0",
        "data_sha256": "0",
        "seed": 0,
        "duration_s": 1.0,
        "peak_rss_mib": 1.0,
        "environment": Environment(cpu="x", threads=1, load_1min=0.0, versions={}),
    }
    measured = {"device": "host", "plan": {}, "variants": {}, "groups": {}, "ships": "onnx-float32"}
    report = BenchmarkReport(step="benchmark", gates=list(gates), **header, **measured)
    write_report(layout.of("demo").reports, report)


def test_every_pipeline_of_every_kind_stands_there_with_what_its_section_says(here: Layout) -> None:
    sections = YAML(typ="safe").load(ROOT / "params.yaml")["pipelines"]
    rows = rows_of(here)
    assert list(rows) == list(sections)
    for name, (_, windows, candidates, result, about) in rows.items():
        section, window = sections[name], sections[name]["window"]
        training = section.get("train") or section["fleet"]
        assert candidates == ", ".join(training["candidates"])
        assert (result, about) == ("not run", section["description"])
        match section.get("kind", "forecast"):
            case "forecast":
                for given, said in zip(("context", "horizon"), windows.split(" to "), strict=True):
                    assert int(said) == window.get(given, int(said))
            case "mixed":
                assert windows == f"{window.get('length') or 'all'} to {window['target']}"
            case "activity":
                assert windows == f"{window['length_s']:g} s"
            case "actigraphy":
                assert windows == f"a week to {window['positive']}"
            case "anomaly":
                assert windows == ("images" if name == "thermal" else f"{window['clips']['length']} samples")


def test_the_last_result_says_what_ran_what_failed_and_what_nobody_judged(here: Layout) -> None:
    limits = YAML(typ="safe").load(ROOT / "params.yaml")["pipelines"]["demo"]["benchmark"]["gates"]
    good = [Gate.judge(name, limit["at_most"] / 2, "", at_most=limit["at_most"]) for name, limit in limits.items()]
    assert len(good) > 1
    judged(here, *good)
    assert rows_of(here)["demo"][3] == "1 of 6 steps done"  # the training has a gate of its own
    judged(here, *good[1:], Gate.judge(good[0].name, 2.0, "", at_most=1.0))
    assert rows_of(here)["demo"][3] == f"FAIL: {good[0].name}"
    judged(here, *good[1:])
    assert rows_of(here)["demo"][3] == f"NOT JUDGED: {good[0].name}"
    with only_one(here.cache, "train", "demo"):
        assert rows_of(here)["demo"][3] == "train runs now"
