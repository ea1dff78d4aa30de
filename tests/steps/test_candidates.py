"""A candidate sees training and validation windows only, and a change of data or code never resumes an old training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresense.config import CandidateConfig
from foresense.signals import Scaler, Windows
from foresense.steps.candidates import Settings, best_linear, device_of, train_candidate

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


def test_a_restart_takes_its_steps_as_the_training_began_even_on_a_busier_machine(
    windows: Windows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_candidate(windows, "linear", LINEAR, settings)

    def must_not_measure(*arguments: object, **named: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("foresense.steps.candidates.calibrate", must_not_measure)
    again = train_candidate(windows, "linear", LINEAR, settings)
    assert again.fit.best_validation == first.fit.best_validation
    assert again.said == first.said
    assert again.fit.earlier_s > 0 == first.fit.earlier_s


def test_a_batch_that_cannot_be_filled_is_told_and_counted(
    windows: Windows, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    few = LINEAR.model_copy(update={"train_stride": 30})
    found = train_candidate(windows, "linear", few, settings)
    assert (found.fit.batch_size, found.fit.n_steps) == (10, 3)
    assert "a/linear: 10 training windows are fewer than batch_size (16): a step takes all of them" in caplog.text


def test_a_network_with_a_shortcut_begins_at_the_best_linear_forecast(windows: Windows, settings: Settings) -> None:
    slow = CandidateConfig(
        shortcut="linear",
        instance_norm=True,
        head="flatten",
        patch_length=12,
        patch_stride=12,
        d_model=8,
        ffn_dim=8,
        n_heads=2,
        n_layers=1,
        learning_rate=1e-9,
        n_epochs=1,
    )
    every = replace(settings, validation_stride=1)
    found = train_candidate(windows, "corrected", slow, every)
    assert found.fit.best_validation == pytest.approx(best_linear(windows).validation_mse, rel=1e-5)  # float32
    better = slow.model_copy(update={"learning_rate": 1e-3, "n_epochs": 5})
    assert train_candidate(windows, "corrected", better, every).fit.best_validation < found.fit.best_validation * 1.01


def test_a_missing_accelerator_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_of("cuda") == "cpu"
    assert "cuda was asked for, and this machine has none" in caplog.text
    assert device_of("auto") == "cpu"
