import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foresense.__main__ import app, main
from foresense.config import STEPS
from foresense.signals import Environment, Gate, Layout, write_report
from foresense.signals.reports import BenchmarkReport
from foresense.steps.process import only_one
from foresense.steps.report import overview

ROOT = Path(__file__).resolve().parents[1]
PARAMS = """
stages: {ingest: [mine], window: [mine]}
pipelines:
  mine:
    description: one
    ingest: {source: simulate, channels: [{name: a, unit: A}]}
    window: {context: 48, horizon: 24}
    train: {candidates: {only: {}}}
    benchmark: {gates: {size_mib: {at_most: 1.0}}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "code.json").write_text(json.dumps({step: {"steps": "0" * 16} for step in STEPS}))
    monkeypatch.setenv("FORESENSE_PROJECT", str(tmp_path))
    monkeypatch.setenv("FORESENSE_DEBUG", "")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["foresense", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def benchmark_report(value: float, limit: float = 1.0) -> BenchmarkReport:
    return BenchmarkReport(
        pipeline="mine", step="benchmark", profile="full", created_utc="2026-01-01T00:00:00+00:00", git_commit="abc",
        git_dirty=False, code_digest="0", data_sha256="0", seed=0, duration_s=1.0, peak_rss_mib=1.0,
        environment=Environment(cpu="x", threads=1, load_1min=0.0, versions={}), device="host", plan={}, variants={},
        groups={}, ships="onnx-float32", gates=[Gate.judge("size_mib", value, "MiB", at_most=limit)],
    )  # fmt: skip


def test_help_names_every_command_and_imports_no_heavy_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from foresense.__main__ import app; "
        "print(CliRunner().invoke(app, ['--help']).output); "
        "print('HEAVY', sorted({'torch', 'pandas', 'mlflow', 'numpy', 'onnxruntime'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in shown
    for word in (
        *STEPS,
        "pipelines",
        "fetch",
        "run",
        "report",
        "verify",
        "up",
        "status",
        "logs",
        "down",
        "backup",
        "restore",
    ):
        assert f" {word} " in shown
    first = ["pipelines", "fetch", "run", "report", "verify", *STEPS]
    assert [
        line.split()[1] for line in shown.splitlines() if line.startswith("│ ") and line.split()[1] in first
    ] == first


def test_an_unknown_pipeline_is_one_line_with_the_nearest_name(project, monkeypatch, capsys) -> None:
    assert call(monkeypatch, "window", "mime") == 1
    shown = capsys.readouterr().err
    assert "no pipeline 'mime'; did you mean 'mine'?" in shown
    assert "Traceback" not in shown


def test_debug_shows_where(project, monkeypatch, capsys) -> None:
    assert call(monkeypatch, "--debug", "window", "mime") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_typo_in_params_names_the_known_key(project, monkeypatch, capsys) -> None:
    (project / "params.yaml").write_text(PARAMS.replace("horizon", "horizont"))
    assert call(monkeypatch, "ingest", "mine") == 1
    assert "pipelines.mine.window.horizont: unknown key; did you mean 'horizon'?" in capsys.readouterr().err


def test_a_keyboard_interrupt_exits_130(project, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("foresense.steps.report.overview", interrupted)
    assert call(monkeypatch, "report", "mine") == 130


def test_a_step_that_runs_already_is_refused_and_its_holder_named(project, monkeypatch, capsys) -> None:
    with only_one(Layout(root=project, project=project).cache, "window", "mine"):
        assert call(monkeypatch, "window", "mine") == 1
        assert f"window@mine is running already, in process {os.getpid()}" in capsys.readouterr().err
        assert overview(Layout(root=project, project=project), "mine").running == {"window": os.getpid()}
    with pytest.raises(FileNotFoundError, match="run `foresense run mine` first"):
        overview(Layout(root=project, project=project), "mine")


def test_a_gate_1_2_times_over_its_limit_fails_the_report_command(project, monkeypatch, capsys) -> None:
    folder = Layout(root=project, project=project).of("mine").reports
    write_report(folder, benchmark_report(1.0))
    assert call(monkeypatch, "report", "mine") == 0
    assert "PASS" in capsys.readouterr().out
    write_report(folder, benchmark_report(1.2))
    assert call(monkeypatch, "report", "mine") == 1
    shown = capsys.readouterr()
    assert "FAIL" in shown.out
    assert "1 gate(s) failed: size_mib" in shown.err
    assert call(monkeypatch, "report", "mine", "--json") == 1
    assert json.loads(capsys.readouterr().out)["failed_gates"] == ["size_mib"]


def test_a_gate_that_failed_on_a_busy_machine_says_so(project, monkeypatch, capsys) -> None:
    folder = Layout(root=project, project=project).of("mine").reports
    for plan, told in (({"noisy": True, "load_1min_before": 9.66}, True), ({"noisy": False}, False)):
        write_report(folder, benchmark_report(1.2).model_copy(update={"plan": plan}))
        assert call(monkeypatch, "report", "mine") == 1
        assert (
            "mine: others computed on this machine while it was measured (load 9.66" in capsys.readouterr().out
        ) is told


def test_a_report_of_another_version_is_said_and_does_not_hide_the_rest(project, monkeypatch, capsys) -> None:
    folder = Layout(root=project, project=project).of("mine").reports
    write_report(folder, benchmark_report(0.5))
    (folder / "ingest.json").write_text('{"schema_version": 0}')
    assert call(monkeypatch, "report", "mine") == 1
    told = capsys.readouterr()
    assert "PASS" in told.out
    assert "version 0" in " ".join(told.out.split())
    assert "mine: not judged yet:" in told.err
    assert "ingest.json: report shape version 0" in told.err


def test_steps_that_have_not_run_are_said_and_are_no_failure(project, monkeypatch, capsys) -> None:
    write_report(Layout(root=project, project=project).of("mine").reports, benchmark_report(0.5))
    assert call(monkeypatch, "report", "mine") == 0
    assert "mine: not judged yet:\n  ingest: not run\n  window: not run\n" in capsys.readouterr().err
    assert call(monkeypatch, "report", "mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["not_judged"] == {"ingest": "not run", "window": "not run"}


def test_a_gate_of_params_without_a_verdict_fails_the_report_command(project, monkeypatch, capsys) -> None:
    report = benchmark_report(0.5)
    folder = Layout(root=project, project=project).of("mine").reports
    write_report(folder, report.model_copy(update={"gates": []}))
    assert call(monkeypatch, "report", "mine") == 1
    assert "size_mib: asked in params.yaml, no verdict in benchmark.json" in capsys.readouterr().err


def test_a_full_run_that_leaves_a_step_without_report_fails(project, monkeypatch, capsys) -> None:
    write_report(Layout(root=project, project=project).of("mine").reports, benchmark_report(0.5))
    monkeypatch.setattr("foresense.steps.run.run_full", lambda *_, **__: None)
    assert call(monkeypatch, "run", "mine") == 1
    assert "window: not run" in capsys.readouterr().err


def test_pipelines_lists_every_one_with_its_result(project) -> None:
    folder = Layout(root=project, project=project).of("mine").reports

    def listed() -> str:
        shown = CliRunner().invoke(app, ["pipelines"])
        assert shown.exit_code == 0, shown.output
        return " ".join(line for line in shown.output.splitlines() if "mine" in line)

    assert "not run" in listed()
    write_report(folder, benchmark_report(0.5))
    assert "1 of 2 steps done" in listed()
    (project / "params.yaml").write_text(PARAMS.replace("ingest: [mine], window: [mine]", "benchmark: [mine]"))
    assert "its gate holds" in listed()


def test_an_unknown_profile_is_refused(project, monkeypatch, capsys) -> None:
    assert call(monkeypatch, "run", "mine", "--profile", "quick") == 1
    assert "no profile 'quick'; known: full, smoke" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["plant", pytest.param("oil", marks=pytest.mark.long)])
def test_a_smoke_run_passes_all_six_steps(pipeline: str, tmp_path: Path, request) -> None:
    if pipeline == "oil":
        request.getfixturevalue("real_data")
    for name in ("params.yaml", "code.json", "devices"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "foresense", "--project", str(tmp_path), "run", pipeline, "--profile", "smoke"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    reports = tmp_path / "runs" / f"smoke-{pipeline}" / "reports" / pipeline
    for step in STEPS:
        assert json.loads((reports / f"{step}.json").read_text())["profile"] == "smoke"
