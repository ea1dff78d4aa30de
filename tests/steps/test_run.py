"""What a step leaves in MLflow; runs that meet: two at once, a damaged file of weights, a clock that was set back."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import torch

from foresense.config import PipelineConfig, TrainConfig
from foresense.signals import Layout, TrainReport, tree_sha256, write_json
from foresense.steps import frame
from foresense.steps.frame import StepRun
from foresense.steps.process import StepBusyError, only_one
from foresense.steps.report import Overview
from foresense.steps.run import STEP_FUNCTIONS, damaged_weights_said, run_smoke, run_step
from foresense.tracking import open_client, open_run
from foresense.training.checkpoint import read_checkpoint, write_checkpoint
from tests.steps.hall import ONE_MILL

CONFIG = PipelineConfig.model_validate(ONE_MILL)


def test_a_second_smoke_run_is_refused_and_touches_nothing_of_the_first(layout: Layout) -> None:
    section = CONFIG.model_dump_json(exclude_defaults=True)
    (layout.root / "params.yaml").write_text(f'{{"pipelines": {{"hall": {section}}}}}')
    first = layout.root / "runs" / "smoke-hall" / "data" / "recordings"
    first.mkdir(parents=True)
    with (
        only_one(layout.cache, "smoke", "hall"),
        pytest.raises(StepBusyError, match=r"smoke@hall is running already, in process \d+"),
    ):
        list(run_smoke(layout.project, "hall", print))
    assert first.is_dir()


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("thermal", ["simulated machines (synthetic_images), not from the recordings of infrared_modules"]),
        ("acoustic", ["simulated machines (synthetic_vibration), not from the recordings of cwru_bearing"]),
        ("oil", []),
        ("icu", []),
    ],
)
def test_a_smoke_run_says_when_it_learns_from_other_recordings(pipeline: str, said: list[str], layout: Layout) -> None:
    shutil.copy(Path(__file__).resolve().parents[2] / "params.yaml", layout.root)
    heard: list[str] = []
    with only_one(layout.cache, "smoke", pipeline), pytest.raises(StepBusyError):
        list(run_smoke(layout.project, pipeline, heard.append))
    assert len(heard) == len(said)
    for line, words in zip(heard, said, strict=True):
        assert line.startswith(f"{pipeline}: this small run learns from {words}: it shows that all steps run")


@pytest.mark.parametrize("n_bytes", [0, 7, 40])
def test_a_damaged_checkpoint_says_what_to_remove(n_bytes: int, tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, {"weight": torch.ones(3)}, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:n_bytes])
    run = StepRun("train", "oil", layout)
    with (
        pytest.raises(
            RuntimeError, match=r"train@oil: a file of weights is damaged .*remove the checkpoints, and `fores"
        ),
        damaged_weights_said(run),
    ):
        read_checkpoint(path)
    with pytest.raises(KeyError), damaged_weights_said(run):
        raise KeyError("x")


def learns(run: StepRun, section: TrainConfig) -> TrainReport:
    """A training that takes no time."""
    with open_run(run.layout, run.pipeline, "hall full", {}) as mlflow_run:
        headlines = {"test_mse": 0.5, "median_ratio": None}  # no ratio: of a fleet that stands still
        write_json(run.paths.reports / "metrics.json", headlines)
    return TrainReport.model_construct(mlflow_run_id=mlflow_run.run_id)


@pytest.mark.slow
def test_two_trainings_can_be_compared_by_what_params_yaml_asked_of_them(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(STEP_FUNCTIONS, "train", f"{__name__}:learns")
    found = []
    for rate in (1e-3, 5e-4):
        section = {
            **CONFIG.model_dump(exclude_defaults=True),
            "train": {"candidates": {"only": {"learning_rate": rate}}},
        }
        report = run_step(StepRun("train", "hall", layout), PipelineConfig.model_validate(section))
        assert report.mlflow_run_id is not None
        found.append(open_client(layout).get_run(report.mlflow_run_id).data)
    first, second = (set(one.params.items()) for one in found)
    assert first - second == {("train.candidates.only.learning_rate", "0.001")}
    assert second - first == {("train.candidates.only.learning_rate", "0.0005")}
    assert ("window.context", "24") in first & second
    assert found[0].metrics == {"headline/test_mse": 0.5}


def at(hours: int) -> type[datetime]:
    """A clock that stands so far from ours."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(hours=hours)

    return Clock


def test_a_clock_that_was_set_back_changes_no_result_and_is_seen_in_the_reports(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layout.raw / "hall").mkdir(parents=True)
    times = pd.date_range("2024-01-01", periods=300, freq="h")
    pd.DataFrame({"time": times, "temp_body": range(300)}).to_csv(layout.raw / "hall" / "mill.csv", index=False)
    paths = layout.of("hall")
    digests = []
    for hours in (0, -48):
        monkeypatch.setattr(frame, "datetime", at(0))
        first = run_step(StepRun("ingest", "hall", layout), CONFIG)
        monkeypatch.setattr(frame, "datetime", at(hours))
        second = run_step(StepRun("window", "hall", layout), CONFIG)
        assert second.duration_s >= 0
        digests.append((tree_sha256(paths.recordings), tree_sha256(paths.windows)))
    assert digests[0] == digests[1]
    found = Overview("hall", reports={"ingest": first, "window": second})
    assert found.outdated == {"window": "ingest"}
