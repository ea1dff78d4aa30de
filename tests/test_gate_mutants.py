"""Every gate through the command line: 1.2 times over its limit it fails the report, and it alone."""

import json
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from foresense.__main__ import main
from foresense.bench.gates import GATES
from foresense.bench.measure import measure_artefact
from foresense.config import STEPS, ExportConfig, PipelineConfig
from foresense.config.smoke import shrink
from foresense.export.quiet import quieted
from foresense.signals import Layout, read_json, write_json
from foresense.steps.export import export
from foresense.steps.frame import StepRun
from tests.forged import seal_again


def call(project: Path, *words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORESENSE_PROJECT", str(project))
        patch.setattr(sys, "argv", ["foresense", *words])
        with pytest.raises(SystemExit) as left:
            main()
    return int(left.value.code or 0)


def write_params(project: Path, pipeline: str, steps: tuple[str, ...], sections: dict[str, Any]) -> None:
    stages = {step: [pipeline] for step in steps}
    (project / "params.yaml").write_text(json.dumps({"stages": stages, "pipelines": {pipeline: sections}}))


def write_limits(project: Path, limits: dict[str, float]) -> None:
    sections = {
        "description": "one machine",
        "ingest": {"source": "simulate", "channels": [{"name": "temp_body", "unit": "Cel"}]},
        "window": {"context": 48, "horizon": 12},
        "train": {"candidates": {"only": {"model": "dlinear"}}},
        "benchmark": {
            "n_warmup": 1,
            "n_timed": 5,
            "n_threads": [1],
            "gates": {name: {"at_most": limit} for name, limit in limits.items()},
        },
    }
    write_params(project, "plant", ("export", "benchmark"), sections)


TRACKING = SimpleNamespace(
    attach_to_model=lambda *_, **__: "run", save_mlflow_model=lambda folder, *_, **__: folder
)  # without a store


@pytest.fixture(scope="module")
def artefact(workshop: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A project with one tiny artefact, and what was measured of it."""
    root = tmp_path_factory.mktemp("mutants")
    kept: list[dict[str, Any]] = []

    def keep(*arguments: Any) -> dict[str, Any]:
        kept.append(measure_artefact(*arguments))
        return deepcopy(kept[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "foresense.tracking", TRACKING)
        patch.setattr("foresense.steps.benchmark.measure_artefact", keep)
        with quieted():
            layout: Layout = workshop.make_project(root, workshop.DLINEAR)
        export(workshop.step("export", layout), ExportConfig(variants=("onnx-float32",), n_calibration=4, n_golden=2))
        evaluation = layout.of("plant").exports / "lathe-1" / "evaluation.json"
        content = read_json(evaluation)
        content["test"]["mse"] /= 1.005  # the file loses too little to put a limit below it: half a percent worse
        write_json(evaluation, content)
        seal_again(evaluation.parent)
        write_limits(root, {})
        assert call(root, "benchmark", "plant") == 0
    return root, kept[0]


@pytest.fixture
def measured(artefact: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, float]]:
    """The project and the value of every gate; whatever is measured again is measured equally."""
    project, kept = artefact
    monkeypatch.setitem(sys.modules, "foresense.tracking", TRACKING)
    monkeypatch.setattr("foresense.steps.benchmark.measure_artefact", lambda *_: deepcopy(kept))
    write_limits(project, {})
    assert call(project, "benchmark", "plant") == 0
    facts = read_json(project / "reports" / "plant" / "benchmark.json")["variants"]["onnx-float32"]
    return project, {name: value_of(facts) for name, (_, value_of) in GATES.items()}


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_1_2_times_over_its_limit_alone_fails_the_report(
    measured: tuple[Path, dict[str, float]], gate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project, values = measured
    assert values[gate] > 0
    write_limits(project, {name: value / 1.2 if name == gate else value * 1.2 for name, value in values.items()})
    assert call(project, "benchmark", "plant") == 0  # the step records and succeeds
    capsys.readouterr()
    assert call(project, "report", "plant") == 1
    assert capsys.readouterr().err == f"plant: 1 gate(s) failed: {gate}\n"


def test_with_every_gate_below_its_limit_the_report_passes(
    measured: tuple[Path, dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    project, values = measured
    write_limits(project, {name: value * 1.2 for name, value in values.items()})
    assert call(project, "benchmark", "plant") == 0
    assert call(project, "report", "plant") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_training_1_2_times_over_its_budget_fails_the_report(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    channels = [{"name": name, "unit": "Cel"} for name in ("temp_body", "temp_shaft")]
    config = PipelineConfig.model_validate(
        {
            "description": "small",
            "ingest": {"source": "simulate", "channels": channels},
            "window": {},
            "train": {"candidates": {"only": {"model": "dlinear"}}, "budget_min": 1.0},
        }
    )
    steps = STEPS[:4]
    write_params(layout.root, "small", steps, shrink(config).model_dump(mode="json"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(StepRun, "elapsed_s", lambda _: 72.0)
    for step in steps:
        assert call(layout.root, step, "small") == 0
    capsys.readouterr()
    assert call(layout.root, "report", "small") == 1
    assert capsys.readouterr().err == "small: 1 gate(s) failed: training_min\n"
