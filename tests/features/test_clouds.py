import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ripser import ripser
from scipy.signal import decimate, firwin, resample_poly
from scipy.spatial.distance import cdist

from foresense.features.clouds import (
    decimated,
    decimation,
    delay_samples,
    distances,
    embed,
    farthest_points,
    low_pass,
    magnitudes,
)


def test_magnitudes_are_lengths_to_the_bit_in_every_order_of_axes():
    windows = np.random.default_rng(0).normal(size=(5, 40, 3))
    found = magnitudes(windows)
    np.testing.assert_allclose(found, np.linalg.norm(windows, axis=2), rtol=1e-15)
    for order in ([0, 2, 1], [1, 2, 0], [2, 1, 0]):
        np.testing.assert_array_equal(magnitudes(windows[..., order]), found)


@pytest.mark.parametrize(
    ("rate_hz", "factor"), [(5.0, 1), (20.0, 1), (50.0, 1), (50.5, 2), (100.0, 2), (101.0, 3), (1600.0, 32)]
)
def test_rates_come_to_between_25_and_50_hz_or_stay_below(rate_hz, factor):
    assert decimation(rate_hz) == factor
    assert rate_hz / factor <= 50
    assert factor == 1 or rate_hz / factor > 25


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_slow_sine_is_not_shifted_and_a_fast_one_is_gone(factor):
    to_hz = 50.0
    rate_hz = to_hz * factor
    times = np.arange(int(10 * rate_hz)) / rate_hz
    inside = slice(15, -15)
    slow = decimated(1 + np.sin(2 * np.pi * 3 * times)[None], factor)[0]
    np.testing.assert_allclose(slow[inside], (1 + np.sin(2 * np.pi * 3 * times))[::factor][inside], atol=5e-3)
    fast = decimated(np.sin(2 * np.pi * 27 * times)[None], factor)[0]
    assert np.abs(fast[inside]).max() < 10 ** (-50 / 20)
    assert np.abs(np.sin(2 * np.pi * 27 * times)[::factor][inside]).max() > 0.9  # what every n-th sample alone would do


@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("length", [20, 97, 1000])
def test_filter_and_decimation_are_those_of_scipy(factor, length):
    taps = firwin(20 * factor + 1, 0.8 / factor, window=("kaiser", 5.0))
    np.testing.assert_allclose(low_pass(factor), taps, atol=1e-15)
    signals = 1 + np.random.default_rng(4).normal(size=(3, length))
    expected = resample_poly(signals, 1, factor, axis=1, window=taps, padtype="line")
    np.testing.assert_allclose(decimated(signals, factor), expected, atol=1e-13)


def test_decimated_agrees_with_another_filter_inside_of_the_pass_band():
    times = np.arange(1000) / 100
    signal = 1 + 0.3 * np.sin(2 * np.pi * 1.7 * times) + 0.1 * np.sin(2 * np.pi * 5.3 * times + 1)
    scipys = decimate(signal, 2, n=200, ftype="fir", zero_phase=True)
    np.testing.assert_allclose(decimated(signal[None], 2)[0][60:-60], scipys[60:-60], atol=2e-3)


@pytest.mark.parametrize("line", [0.0, 0.01])
def test_a_straight_line_stays_one_up_to_its_ends(line):
    signal = 0.98 + line * np.arange(300)
    found = decimated(np.stack([signal, 2 * signal]), 3)
    np.testing.assert_allclose(found, np.stack([signal, 2 * signal])[:, ::3], rtol=1e-12)


def test_a_signal_at_50_hz_is_not_touched():
    signal = np.random.default_rng(1).normal(size=(2, 80))
    np.testing.assert_array_equal(decimated(signal, 1), signal)


@pytest.mark.parametrize(("rate_hz", "delay"), [(50.0, 5), (33.3, 3), (20.0, 2), (10.0, 1), (1.0, 1)])
def test_the_delay_is_100_ms_and_at_least_a_sample(rate_hz, delay):
    assert delay_samples(rate_hz) == delay


def test_embedding_has_the_samples_a_delay_apart():
    found = embed(np.arange(20.0).reshape(2, 10), 2)
    assert found.shape == (2, 3, 6)
    np.testing.assert_array_equal(found[1, :, 3], [13, 15, 17])


def test_a_1000_sample_window_at_100_hz_is_a_cloud_of_490_points():
    assert embed(decimated(np.ones((1, 1000)), 2), delay_samples(50.0)).shape == (1, 3, 490)


@given(seed=st.integers(0, 10_000), n_points=st.integers(5, 60), size=st.integers(4, 60))
@settings(max_examples=60, deadline=None)
def test_landmarks_and_radius_are_those_of_ripser_and_cover_the_cloud(seed, n_points, size):
    clouds = np.random.default_rng(seed).normal(size=(3, 3, n_points))
    found, radius = farthest_points(clouds, size)
    for cloud, chosen, covering in zip(clouds, found, radius, strict=True):
        if size < n_points:
            theirs = ripser(cloud.T, maxdim=0, n_perm=size)
            np.testing.assert_array_equal(chosen, theirs["idx_perm"])
            assert covering == pytest.approx(theirs["r_cover"], rel=1e-6)
        assert len(set(chosen.tolist())) == len(chosen) == min(size, n_points)
        assert cdist(cloud.T, cloud[:, chosen].T).min(axis=1).max() == pytest.approx(covering, abs=1e-12)
        assert covering <= cdist(cloud[:, chosen].T, cloud[:, chosen].T)[np.triu_indices(len(chosen), 1)].min() + 1e-12


def test_landmarks_of_a_batch_are_those_of_its_clouds_to_the_bit():
    clouds = np.random.default_rng(2).normal(size=(7, 3, 90))
    found, radius = farthest_points(clouds, 30)
    for row in range(7):
        alone, covering = farthest_points(clouds[row : row + 1], 30)
        np.testing.assert_array_equal(alone[0], found[row])
        assert covering[0] == radius[row]


def test_one_point_many_times_is_covered_by_itself():
    found, radius = farthest_points(np.ones((1, 3, 50)), 10)
    assert found.shape == (1, 10)
    assert radius.tolist() == [0.0]


def test_distances_are_those_of_scipy():
    points = np.random.default_rng(3).normal(size=(3, 20))
    np.testing.assert_allclose(distances(points), cdist(points.T, points.T), atol=1e-12)
