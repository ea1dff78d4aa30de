"""`foresense run` in full: which stages DVC is asked for, in which order, and what is said where it fails."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from foresense.config import ConfigError
from foresense.steps.frame import StepRun
from foresense.steps.run import run_full, steps_of, stream

ROOT = Path(__file__).resolve().parents[2]
AFRESH = ["--force", "--single-item"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What DVC was asked for, word by word after `dvc repro`; nothing is run."""
    seen: list[list[str]] = []

    def stand_in(command: list[str], folder: Path, echo: Callable[[str], None]) -> int:
        assert command[:4] == [sys.executable, "-m", "dvc", "repro"]
        seen.append(command[4:])
        return 0

    monkeypatch.setattr("foresense.steps.run.stream", stand_in)
    return seen


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """This checkout's pipelines; of raw files there are only folders."""
    (tmp_path / "params.yaml").symlink_to(ROOT / "params.yaml")
    (tmp_path / "data" / "raw" / "ett").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("pipeline", "last"), [("plant", "benchmark"), ("days", "benchmark"), ("oil-paper-192", "train")]
)
def test_the_last_stage_of_a_pipeline_is_asked_for(
    pipeline: str, last: str, project: Path, asked: list[list[str]]
) -> None:
    run_full(project, pipeline, print)
    assert asked == [[f"{last}@{pipeline}"]]


def test_a_machine_that_is_trained_again_is_forgotten_first(
    project: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[tuple[str, list[str], int]] = []

    def forget(run: StepRun, assets: list[str]) -> None:
        forgotten.append((run.pipeline, list(assets), len(asked)))

    monkeypatch.setattr("foresense.steps.train_fleet.forget", forget)
    run_full(project, "fleet", print, assets=["press-04"])
    assert forgotten == [("fleet", ["press-04"], 0)]
    assert asked == [["features@fleet"], [*AFRESH, "train@fleet"], ["benchmark@fleet"]]


def test_a_pipeline_without_a_fleet_has_no_machine_to_train_again(project: Path, asked: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match=r"--asset: days has no section `fleet`, .*; run it without --asset"):
        run_full(project, "days", print, assets=["press-04"])
    assert asked == []


def test_a_store_is_read_again_before_anything_else(tmp_path: Path, asked: list[list[str]]) -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    with pytest.raises(
        ConfigError, match=r"pipeline 'live' is in no list of `stages`.*or try it with `--profile smoke`"
    ):
        steps_of(ROOT, "live")
    for step in ("ingest", "window"):
        params["stages"][step]["live"] = {"code": step}
    YAML().dump(params, tmp_path / "params.yaml")
    run_full(tmp_path, "live", print)
    assert asked == [[*AFRESH, "ingest@live"], ["window@live"]]


def test_what_dvc_could_not_do_is_an_error_that_names_the_command(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foresense.steps.run.stream", lambda *_: 255)
    with pytest.raises(RuntimeError, match=r"dvc repro benchmark@plant failed \(exit code 255\); its last lines above"):
        run_full(project, "plant", print)


def test_lines_come_as_they_are_printed_and_the_exit_code_at_the_end(tmp_path: Path) -> None:
    heard: list[str] = []
    code = "import os; print('first'); print(os.getcwd()); raise SystemExit(3)"
    assert stream([sys.executable, "-c", code], tmp_path, heard.append) == 3
    assert heard == ["first", str(tmp_path)]
