"""Errors against scikit-learn, baselines on signals with a known answer, intervals against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error

from foresense.evaluate import block_bootstrap, errors_of, last_value, ridge_on_features, seasonal_naive, sum_errors
from foresense.signals import Scaler, Windows


def windows_of(samples: np.ndarray, *, context: int, horizon: int) -> Windows:
    n_channels = samples.shape[1]
    channels = tuple(f"c{number}" for number in range(n_channels))
    starts = np.arange(len(samples) - context - horizon + 1, dtype=np.int64)
    ones = np.ones(n_channels)
    return Windows(
        group="g",
        samples=np.ascontiguousarray(samples, np.float32),
        channels=channels,
        units=("1",) * n_channels,
        context=context,
        horizon=horizon,
        starts={"train": starts, "validation": starts, "test": starts},
        row_times_s=np.arange(len(samples)) * 3600,
        asset_of_row=np.zeros(len(samples), np.int32),
        assets=("g",),
        interval_s=3600.0,
        time_zone="UTC",
        scaler=Scaler("standard", channels, ones * 0, ones, ones * 0),
    )


def test_errors_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, forecast = rng.normal(size=(2, 7, 5, 3))
    found = errors_of(forecast, truth).summary()
    assert found["mse"] == pytest.approx(mean_squared_error(truth.ravel(), forecast.ravel()), rel=1e-12)
    assert found["mae"] == pytest.approx(mean_absolute_error(truth.ravel(), forecast.ravel()), rel=1e-12)


def test_errors_in_batches_are_errors_at_once() -> None:
    rng = np.random.default_rng(0)
    windows = windows_of(rng.normal(size=(300, 2)), context=10, horizon=5)
    starts = windows.starts["test"]
    batch = windows.gather(starts)
    at_once = errors_of(last_value(5)(batch[:, :10], starts), batch[:, 10:])
    found = sum_errors(windows, starts, last_value(5))
    np.testing.assert_allclose(found.squared, at_once.squared, rtol=1e-12)
    np.testing.assert_allclose(found.squared_by_step, at_once.squared_by_step, rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(season=st.integers(1, 30), horizon=st.integers(1, 80), phase=st.integers(0, 29))
def test_a_periodic_signal_has_no_seasonal_naive_error(season: int, horizon: int, phase: int) -> None:
    pattern = np.random.default_rng(season).normal(size=season)
    samples = pattern[(np.arange(200) + phase) % season][:, None]
    windows = windows_of(samples, context=40, horizon=horizon)
    found = sum_errors(windows, windows.starts["test"], seasonal_naive(horizon, season))
    assert found.summary()["mse"] == 0


def test_a_season_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="a season of 24 samples is longer than the context of 10"):
        seasonal_naive(5, 24)(np.zeros((1, 10, 1)), np.zeros(1))


def test_ridge_finds_a_line_that_a_feature_holds() -> None:
    slopes = np.repeat([0.5, -1.0, 2.0, 0.0], 50)
    samples = np.cumsum(slopes)[:, None]
    windows = windows_of(samples, context=4, horizon=3)
    inside = np.array([start for start in windows.starts["train"] if len(set(slopes[start + 1 : start + 7])) == 1])
    features = {int(start): np.array([slopes[start + 3]]) for start in inside}
    forecast, alpha = ridge_on_features(windows, features, train=inside[::2], validation=inside[1::2])
    assert alpha == 1.0  # the data are exact, so the smallest penalty is best
    # the penalty shrinks the slope by alpha / (n + alpha), n = the number of training windows
    shrunk = 1 / (len(inside[::2]) + 1) * 6 * 1.5
    batch = windows.gather(inside)
    np.testing.assert_allclose(forecast(batch[:, :4], inside), batch[:, 4:], atol=shrunk)


def test_bootstrap_of_independent_values_is_the_textbook_interval() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    low, high = block_bootstrap(values, block=1, rng=np.random.default_rng(0), n_resamples=8000)
    half = 1.96 * values.std() / len(values) ** 0.5
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_blocks_widen_the_interval_of_dependent_values() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=100), 20)
    width = {}
    for block in (1, 40):
        low, high = block_bootstrap(values, block=block, rng=np.random.default_rng(0))
        width[block] = high - low
    assert width[40] > 3 * width[1]  # 100 independent values, not 2000: the root of 20 is 4.5


def test_a_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="found 0 values and block 1"):
        block_bootstrap(np.empty(0), block=1, rng=np.random.default_rng(0))


def test_a_block_longer_than_the_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="found 5 values and block 6"):
        block_bootstrap(np.ones(5), block=6, rng=np.random.default_rng(0))
