"""The step `train` on a small simulated machine: validation chooses, the test part decides nothing, rivals stand by."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from foresense.config import PipelineConfig, TrainConfig
from foresense.config.smoke import shrink
from foresense.models import load_model, model_sha256
from foresense.signals import Layout, TrainReport, open_windows, read_json, read_report
from foresense.steps.features import features
from foresense.steps.frame import StepRun
from foresense.steps.ingest import ingest
from foresense.steps.train import train
from foresense.steps.window import window

CHANNELS = [
    {"name": "temp_body", "unit": "Cel"},
    {"name": "temp_shaft", "unit": "Cel"},
    {"name": "current", "unit": "A"},
    {"name": "vibration_magnitude", "unit": "g"},
]
GROUP = "lathe-1-spindle"


@pytest.fixture
def config() -> PipelineConfig:
    small = shrink(
        PipelineConfig.model_validate(
            {
                "description": "small",
                "ingest": {"source": "simulate", "channels": CHANNELS},
                "window": {},
                "train": {"candidates": {"slow": {"learning_rate": 1e-6}, "quick": {"learning_rate": 3e-3}}},
            }
        )
    )
    return small


@pytest.fixture
def prepared(layout: Layout, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ingest(StepRun("ingest", "small", layout), config.ingest)
    window(StepRun("window", "small", layout), config.window)
    features(StepRun("features", "small", layout), config.features)
    return layout


def run_train(layout: Layout, config: TrainConfig) -> TrainReport:
    return train(StepRun("train", "small", layout), config)


@pytest.mark.slow
def test_train_writes_a_model_that_validation_chose_and_a_complete_report(
    prepared: Layout, config: PipelineConfig
) -> None:
    report = run_train(prepared, config.train)
    paths = prepared.of("small")
    assert read_report(paths.reports, TrainReport) == report
    rates = {name: one["validation_mse"] for name, one in report.candidates.items()}
    assert report.groups[GROUP]["candidate"] == min(rates, key=lambda name: rates[name])
    assert {"last value", "seasonal naive 24", "ridge on features", "linear map", "dlinear"} == set(report.baselines)
    assert report.interval["mse"][0] <= report.test["mse"] <= report.interval["mse"][1]
    best = min(values["mse"] for values in report.baselines.values())
    assert report.beats_baselines == (report.test["mse"] <= best)
    assert ("DOES NOT BEAT" in report.conclusion) != report.beats_baselines
    low, high = report.groups[GROUP]["difference_to_best_baseline"]["interval"]
    assert f"difference [{low:.4f}, {high:.4f}]" in report.conclusion
    assert report.mlflow_run_id
    assert read_json(paths.reports / "metrics.json")["test_mse"] == report.test["mse"]
    pictures = {path.name for path in (paths.reports / "plots").iterdir()}
    assert f"{GROUP}-forecast.png" in pictures
    assert not paths.checkpoints.exists()

    folder = paths.models / GROUP
    windows = open_windows(paths.windows / GROUP)
    batch = windows.gather(windows.starts["test"])
    import torch

    with torch.no_grad():
        forecast = load_model(folder)(torch.from_numpy(batch[:, : windows.context])).numpy()
    truth = batch[:, windows.context :].astype(np.float64)
    assert report.test["mse"] == pytest.approx(float(np.mean((forecast - truth) ** 2)), rel=1e-5)
    assert report.groups[GROUP]["model_sha256"] == model_sha256(folder)


@pytest.mark.slow
def test_the_test_part_decides_nothing(prepared: Layout, config: PipelineConfig) -> None:
    first = run_train(prepared, config.train)
    paths = prepared.of("small")
    weights = load_file(paths.models / GROUP / "model.safetensors")

    folder = paths.windows / GROUP
    windows = open_windows(folder)
    samples = np.array(windows.samples)
    first_target = int(windows.starts["test"].min()) + windows.context
    samples[first_target:] += 100.0
    np.save(folder / "samples.npy", samples, allow_pickle=False)

    second = run_train(prepared, config.train)
    again = load_file(paths.models / GROUP / "model.safetensors")
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert second.candidates["quick"]["validation_mse"] == first.candidates["quick"]["validation_mse"]
    assert second.test["mse"] > first.test["mse"] + 100  # the change was seen, and only where it may be


@pytest.mark.slow
def test_a_training_that_was_cut_off_is_taken_up_again_but_not_on_other_windows(
    prepared: Layout, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("foresense.steps.train.report_of", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_train(prepared, config.train)
    paths = prepared.of("small")
    kept = shutil.copytree(paths.checkpoints, paths.checkpoints.with_name("kept"))
    assert run_train(prepared, config.train).timing["step_ms_p50"] == 0  # nothing was left to do

    shutil.copytree(kept, paths.checkpoints)
    samples = np.load(paths.windows / GROUP / "samples.npy", allow_pickle=False)
    np.save(paths.windows / GROUP / "samples.npy", samples * np.float32(1.01), allow_pickle=False)
    assert run_train(prepared, config.train).timing["step_ms_p50"] > 0


@pytest.mark.slow
def test_a_step_that_has_not_run_is_named(layout: Layout, config: PipelineConfig, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `foresense window small` first"):
        run_train(layout, config.train)
