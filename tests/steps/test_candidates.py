"""A candidate sees training and validation windows only, and a change of data or code never resumes an old training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresense.config import CandidateConfig
from foresense.signals import Scaler, Windows
from foresense.steps.candidates import Settings, device_of, train_candidate

LINEAR = CandidateConfig(model="dlinear", optimizer="adam", learning_rate=1e-2, batch_size=16, n_epochs=3)


@pytest.fixture
def windows() -> Windows:
    """A noisy day in hours; the test part is not there, so that reading it is an error."""
    rng = np.random.default_rng(0)
    hours = np.arange(600)
    samples = np.sin(2 * np.pi * hours / 24)[:, None] + 0.1 * rng.standard_normal((600, 1))
    one = np.ones(1)
    return Windows(
        group="a",
        samples=samples.astype(np.float32),
        channels=("load",),
        units=("A",),
        context=48,
        horizon=24,
        starts={"train": np.arange(300), "validation": np.arange(350, 500)},
        row_times_s=hours * 3600,
        asset_of_row=np.zeros(600, np.int32),
        assets=("a",),
        interval_s=3600.0,
        time_zone="UTC",
        scaler=Scaler("standard", ("load",), 0 * one, one, 0 * one),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        seed=0,
        validation_stride=10,
        device="cpu",
        checkpoints=tmp_path / "checkpoints",
        cache=tmp_path / "calibration.json",
        made_from=("data", "code"),
    )


def test_training_needs_no_test_part_and_learns_the_day(windows: Windows, settings: Settings) -> None:
    found = train_candidate(windows, "linear", LINEAR, settings)
    assert len(found.fit.history) == 3
    assert found.fit.best_validation < 0.5  # forecasting nothing leaves the variance of a sine, 1/2


def test_data_after_the_validation_part_changes_nothing(windows: Windows, settings: Settings, tmp_path: Path) -> None:
    first = train_candidate(windows, "linear", LINEAR, settings)
    samples = windows.samples.copy()
    samples[572:] = np.nan  # the last validation window ends at 499 + 72
    other = replace(settings, checkpoints=tmp_path / "other")
    second = train_candidate(replace(windows, samples=samples), "linear", LINEAR, other)
    assert first.fit.history == second.fit.history


def test_a_checkpoint_of_other_data_or_code_is_not_resumed(windows: Windows, settings: Settings) -> None:
    train_candidate(windows, "linear", LINEAR, settings)
    again = train_candidate(windows, "linear", LINEAR, settings)
    assert again.fit.step_ms == []  # finished before: nothing was left to do
    changed = train_candidate(windows, "linear", LINEAR, replace(settings, made_from=("data", "other code")))
    assert len(changed.fit.step_ms) == 3 * (300 // 16)


def test_a_missing_accelerator_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_of("cuda") == "cpu"
    assert "cuda was asked for, and this machine has none" in caplog.text
    assert device_of("auto") == "cpu"
