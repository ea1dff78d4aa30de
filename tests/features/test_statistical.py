import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from benchmarks.wrist_reference import low_passed, reference_features, wrist_windows
from foresense.features import statistical
from foresense.features.statistical import (
    NAMES,
    UNITS,
    Statistics,
    measure_statistics,
    peaks,
    split_gravity,
    statistical_features,
)

#: Written from spec D1, not from the module.
LIST = (
    "x_mean x_std x_range x_min x_max x_median x_q25 x_q75 "
    "y_mean y_std y_range y_min y_max y_median y_q25 y_q75 "
    "z_mean z_std z_range z_min z_max z_median z_q25 z_q75 "
    "mag_mean mag_std mag_range corr_xy corr_xz corr_yz mag_mad mag_kurtosis mag_skew mag_median mag_min mag_max "
    "enmo_mean mag_q25 mag_q75 mag_autocorr_1s dominant_hz_1 dominant_share_1 dominant_hz_2 dominant_share_2 "
    "spectral_entropy n_peaks peak_prominence gravity_roll gravity_pitch gravity_yaw dynamic_roll dynamic_roll_std "
    "dynamic_pitch dynamic_pitch_std dynamic_yaw dynamic_yaw_std"
)
SOURCE_ORDER = (
    "x_mean x_std x_range y_mean y_std y_range z_mean z_std z_range corr_xy corr_xz corr_yz "
    "mag_mean mag_std mag_range mag_mad mag_kurtosis mag_skew mag_median "
    "x_min x_max x_median x_q25 x_q75 y_min y_max y_median y_q25 y_q75 z_min z_max z_median z_q25 z_q75 "
    "mag_min mag_max mag_median_again mag_q25 mag_q75"
)
D1 = LIST.split()
SOURCE = SOURCE_ORDER.split() + D1[39:]
ANGLES = [D1.index(name) for name in D1 if name.startswith(("gravity", "dynamic")) and not name.endswith("std")]
EXACT = ("min", "max", "range", "q25", "q75", "n_peaks")
CONSTANT = np.full((1, 200, 3), (0.6, 0.0, 0.8))


def reference(windows: np.ndarray, rate_hz: float) -> np.ndarray:
    return np.array([[reference_features(window, rate_hz)[name] for name in D1] for window in windows])


def column(found: np.ndarray, name: str) -> np.ndarray:
    return found[:, D1.index(name)]


def flagged(found: Statistics) -> list[set[str]]:
    return [{D1[place] for place in np.flatnonzero(row)} for row in found.is_undefined]


def with_magnitude(magnitude) -> np.ndarray:
    """One window whose z is the magnitude, all the rest 0."""
    window = np.zeros((1, len(magnitude), 3))
    window[0, :, 2] = magnitude
    return window


def assert_alike(found: np.ndarray, expected: np.ndarray, *, atol: float = 1e-9) -> None:
    """Equal numbers; angles a whole turn apart are equal."""
    difference = found - expected
    difference[:, ANGLES] = (difference[:, ANGLES] + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(
        difference, 0, atol=atol, err_msg=str(dict(zip(D1, abs(difference).max(0), strict=True)))
    )


def test_version_2_is_the_list_of_the_spec_and_version_1_the_order_of_its_source():
    assert list(NAMES[2]) == D1
    assert list(NAMES[1]) == SOURCE
    assert [NAMES[2][place] for place in (27, 28, 29, 36)] == ["corr_xy", "corr_xz", "corr_yz", "enmo_mean"]
    assert {len(names) for names in NAMES.values()} == {len(set(names)) for names in NAMES.values()} == {56}


def test_units_are_those_of_the_formulas():
    unit = dict(zip(NAMES[2], UNITS[2], strict=True))
    assert {unit[name] for name in D1[:27] + D1[33:39]} == {"g"}
    assert (unit["mag_mad"], unit["peak_prominence"], unit["n_peaks"], unit["corr_xz"]) == ("g", "g", "peaks", "1")
    assert (unit["dominant_hz_1"], unit["dominant_hz_2"]) == ("Hz", "Hz")
    dimensionless = ("mag_kurtosis", "mag_skew", "mag_autocorr_1s", "dominant_share_1", "spectral_entropy")
    assert {unit[name] for name in dimensionless} == {"1"}
    assert {unit[name] for name in D1[47:]} == {"rad"}
    assert dict(zip(NAMES[1], UNITS[1], strict=True))["mag_median_again"] == "g"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("length", "rate_hz"), [(1000, 100.0), (200, 20.0), (333, 31.25), (10, 3.0)])
def test_every_feature_is_that_of_numpy_and_scipy(length, rate_hz, dtype):
    windows = wrist_windows(24, length=length, rate_hz=rate_hz, seed=length).astype(dtype)
    found = statistical_features(windows, rate_hz)
    assert found.dtype == np.float64
    expected = reference(windows, rate_hz)
    assert_alike(found, expected)
    exact = [place for place, name in enumerate(D1) if name.endswith(EXACT)]
    np.testing.assert_array_equal(found[:, exact], expected[:, exact])


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(10, 400),
    rate_hz=st.floats(1.0, 200.0),
    step_g=st.sampled_from([0.0, 0.001, 0.02]),
)
def test_any_rate_length_and_resolution_agrees_with_the_reference(seed, length, rate_hz, step_g):
    windows = wrist_windows(4, length=length, rate_hz=rate_hz, seed=seed)
    if step_g:
        windows = np.round(windows / step_g) * step_g
    found, expected = statistical_features(windows, rate_hz), reference(windows, rate_hz)
    for rank in (1, 2):  # frequencies of equal power: either may be named, with its power
        place = D1.index(f"dominant_hz_{rank}")
        for row, window in enumerate(windows):
            power = np.abs(np.fft.rfft(np.linalg.norm(window, axis=1)))[1:] ** 2
            if found[row, place]:
                share = power[round(found[row, place] * length / rate_hz) - 1] / power.sum()
                assert found[row, place + 1] == pytest.approx(share, abs=1e-9)
        expected[:, place] = found[:, place]
    assert_alike(found, expected, atol=1e-7)  # sqrt(1 - R) near R = 1 doubles the rounding's exponent


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_peaks_and_their_median_prominence_are_those_of_scipy(data):
    n, length = data.draw(st.integers(1, 6)), data.draw(st.integers(3, 60))
    levels = data.draw(st.sampled_from([2, 3, 5, 1000]))  # few levels: plateaus and equal peaks
    rows = np.array(data.draw(st.lists(st.lists(st.integers(0, levels), min_size=length, max_size=length), min_size=n)))
    rows = rows.astype(float) * 0.1
    counts, medians = peaks(rows)
    for row, count, median in zip(rows, counts, medians, strict=True):
        places, _ = signal.find_peaks(row)
        assert count == len(places)
        assert median == (np.median(signal.peak_prominences(row, places)[0]) if len(places) else 0)


@pytest.mark.parametrize("direction", [1, -1])
def test_prominences_of_a_decaying_oscillation_before_its_highest_peak(direction):
    # each peak lower than the one before: the last, the highest, walks over all of them
    row = np.append(np.tile([1.0, 0.0], 300) * np.repeat(np.linspace(2, 1, 300), 2), [3.0, 0.0])[None, ::direction]
    row = np.ascontiguousarray(row)
    places, _ = signal.find_peaks(row[0])
    counts, medians = peaks(row)
    assert (counts[0], medians[0]) == (len(places), np.median(signal.peak_prominences(row[0], places)[0]))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(10, 2000), rate_hz=st.floats(0.01, 2000))
def test_gravity_is_that_of_a_filter_sample_by_sample(seed, length, rate_hz):
    window = np.random.default_rng(seed).normal(0, 2, (length, 3))
    gravity, rest = split_gravity(window.T[None], rate_hz)
    np.testing.assert_allclose(gravity[0].T, low_passed(window, rate_hz), rtol=0, atol=1e-10)
    np.testing.assert_allclose(gravity + rest, window.T[None], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(gravity[0, :, 0], window[0])


def test_a_swing_of_2_hz_has_the_spectrum_and_the_moments_of_a_sine():
    seconds = np.arange(1000) / 100
    found = measure_statistics(with_magnitude(1 + 0.5 * np.sin(2 * np.pi * 2 * seconds)), 100.0)
    of = {name: column(found.values, name)[0] for name in D1}
    assert (of["dominant_hz_1"], of["n_peaks"]) == (2.0, 20)
    assert of["dominant_share_1"] == pytest.approx(1)
    assert of["spectral_entropy"] == pytest.approx(0, abs=1e-12)
    assert of["mag_autocorr_1s"] == pytest.approx(0.9)  # 9 of 10 s overlap, each with the full power
    assert (of["mag_kurtosis"], of["mag_skew"]) == (pytest.approx(-1.5), pytest.approx(0, abs=1e-12))
    assert of["mag_std"] == pytest.approx(0.5 / np.sqrt(2))
    assert of["enmo_mean"] == pytest.approx(0.5 / np.pi, rel=2e-3)  # the mean of 50 samples of half a wave
    assert of["peak_prominence"] == pytest.approx(1, rel=0.01)
    assert {"dominant_hz_2", "dominant_share_2"} < flagged(found)[0]


@pytest.mark.parametrize(
    ("down", "roll", "pitch", "yaw"),
    [
        ((0, 0, 1), 0, 0, None),
        ((0, 1, 0), np.pi / 2, 0, 0),
        ((0, -1, 0), -np.pi / 2, 0, np.pi),
        ((1, 0, 0), None, -np.pi / 2, np.pi / 2),
        ((-0.6, 0, 0.8), 0, np.arctan2(0.6, 0.8), -np.pi / 2),
    ],
)
def test_a_wrist_at_rest_has_the_angles_of_gravity(down, roll, pitch, yaw):
    found = measure_statistics(np.full((1, 100, 3), down, float), 50.0)
    for axis, expected in (("roll", roll), ("pitch", pitch), ("yaw", yaw)):
        name = f"gravity_{axis}"
        assert column(found.values, name)[0] == pytest.approx(expected or 0)
        assert (name in flagged(found)[0]) == (expected is None)


def test_angles_are_averaged_around_the_circle():
    turn = np.radians(np.tile([170.0, -170.0], 50))  # the plain mean would be 0
    window = np.stack([np.zeros(100), np.sin(turn), np.cos(turn)], axis=1)[None]
    assert abs(column(statistical_features(window, 100.0), "gravity_roll")[0]) == pytest.approx(np.pi, abs=0.2)


def test_directions_that_cancel_have_no_mean_and_the_largest_deviation():
    # gravity starts at 0 and hardly moves at this rate, so the rest points up and down in turn
    z = np.append([0.0], np.tile([1.0, -1.0], 50))
    found = measure_statistics(with_magnitude(z), 1e12)
    assert column(found.values, "dynamic_roll")[0] == 0
    assert "dynamic_roll" in flagged(found)[0]
    assert column(found.values, "dynamic_roll_std")[0] == pytest.approx(np.sqrt(2))
    assert "dynamic_roll_std" not in flagged(found)[0]


def test_a_constant_window_has_zeros_where_a_formula_has_no_value_and_says_where():
    found = measure_statistics(CONSTANT, 20.0)
    without = set(D1[27:30]) | {"mag_kurtosis", "mag_skew"} | set(D1[39:45]) | {"peak_prominence"} | set(D1[50:])
    assert flagged(found) == [without]
    assert (found.values[found.is_undefined] == 0).all()
    expected = {"x_mean": 0.6, "x_std": 0, "z_q75": 0.8, "mag_median": 1, "mag_mad": 0, "n_peaks": 0, "gravity_roll": 0}
    for name, value in expected.items():
        assert column(found.values, name)[0] == pytest.approx(value, abs=1e-15)


def test_a_window_of_movement_has_every_value():
    assert not measure_statistics(wrist_windows(8), 100.0).is_undefined.any()


def test_a_stuck_channel_has_no_correlation_and_leaves_the_others():
    windows = wrist_windows(1)
    windows[..., 1] = 0.1
    found = measure_statistics(windows, 100.0)
    assert flagged(found) == [{"corr_xy", "corr_yz"}]
    assert column(found.values, "corr_xz")[0] == pytest.approx(np.corrcoef(windows[0, :, 0], windows[0, :, 2])[0, 1])


def test_a_ramp_has_no_peak():
    found = measure_statistics(with_magnitude(np.linspace(0.5, 1.5, 100)), 20.0)
    assert (column(found.values, "n_peaks")[0], column(found.values, "peak_prominence")[0]) == (0, 0)
    assert "peak_prominence" in flagged(found)[0]


@pytest.mark.parametrize("rate_hz", [0.4, 50.0, 100.0])
def test_without_a_lag_of_a_second_there_is_no_autocorrelation(rate_hz):
    assert flagged(measure_statistics(wrist_windows(1)[:, :50], rate_hz)) == [{"mag_autocorr_1s"}]


def test_identical_channels_correlate_by_1_and_opposite_ones_by_minus_1():
    one = wrist_windows(4)[..., :1]
    found = statistical_features(np.concatenate([one, one, -one], axis=2), 100.0)
    np.testing.assert_allclose(found[:, 27:30], np.tile([1, -1, -1], (4, 1)), rtol=0, atol=1e-12)


def test_version_1_is_version_2_in_another_order_with_the_median_twice():
    first, second = (measure_statistics(wrist_windows(5), 100.0, version=version) for version in (1, 2))
    for place, name in enumerate(NAMES[1]):
        np.testing.assert_array_equal(
            first.values[:, place], column(second.values, name.removesuffix("_again")), err_msg=name
        )
    np.testing.assert_array_equal(first.values[:, 18], first.values[:, 36])
    constant = measure_statistics(CONSTANT, 20.0, version=1)
    assert [SOURCE[place] for place in np.flatnonzero(constant.is_undefined[0])][:3] == [
        "corr_xy",
        "corr_xz",
        "corr_yz",
    ]


def test_windows_in_another_order_give_rows_in_that_order():
    windows = wrist_windows(100)  # more than two chunks
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_allclose(
        statistical_features(windows[order], 100.0), statistical_features(windows, 100.0)[order], rtol=1e-12, atol=1e-12
    )


def test_a_batch_is_its_windows_one_by_one():
    windows = np.concatenate([wrist_windows(50), np.tile(CONSTANT[:, :1], (1, 1000, 1))])
    whole = measure_statistics(windows, 100.0)
    pieces = [measure_statistics(windows[row : row + 1], 100.0) for row in range(51)]
    np.testing.assert_allclose(np.concatenate([one.values for one in pieces]), whole.values, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.concatenate([one.is_undefined for one in pieces]), whole.is_undefined)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.25, 0.5, 2.0]))
def test_a_factor_multiplies_what_is_in_g_and_nothing_else(seed, factor):
    windows = wrist_windows(4, length=200, seed=seed)
    windows[:, :, 2] += 0.01  # away from 0: the limits of constancy and direction are in g
    expected = statistical_features(windows, 100.0)
    in_g = np.array([unit == "g" for unit in UNITS[2]])
    expected[:, in_g] *= factor
    found = statistical_features(windows * factor, 100.0)
    expected[:, 36] = found[:, 36]  # ENMO is above 1 g, a level that does not move
    assert_alike(found, expected)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_sensor_worn_upside_down_turns_the_angles_and_leaves_the_magnitude(seed):
    windows = wrist_windows(4, length=200, seed=seed)
    straight = statistical_features(windows, 100.0)
    turned = statistical_features(windows * np.array([-1, -1, 1]), 100.0)  # half a turn about z
    np.testing.assert_array_equal(turned[:, 30:47], straight[:, 30:47])
    assert_alike(turned[:, [27, 28, 29]] * [1, -1, -1] @ np.eye(3, 56), straight[:, [27, 28, 29]] @ np.eye(3, 56))
    for name, sign, offset in (("roll", -1, 0), ("pitch", -1, 0), ("yaw", 1, np.pi)):
        angle = sign * column(straight, f"gravity_{name}") + offset
        np.testing.assert_allclose(np.cos(column(turned, f"gravity_{name}") - angle), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(column(turned, "x_min"), -column(straight, "x_max"), rtol=0, atol=0)


def test_views_and_whole_numbers_are_taken_and_nothing_is_changed():
    wide = np.repeat(wrist_windows(3), 2, axis=1)
    kept = wide.copy()
    np.testing.assert_array_equal(
        statistical_features(wide[:, ::2], 100.0), statistical_features(kept[:, ::2].copy(), 100.0)
    )
    np.testing.assert_array_equal(wide, kept)
    whole = np.random.default_rng(0).integers(-2, 3, (2, 50, 3))
    np.testing.assert_array_equal(statistical_features(whole, 10.0), statistical_features(whole.astype(float), 10.0))


def test_no_windows_have_no_rows():
    assert statistical_features(np.empty((0, 200, 3)), 20.0).shape == (0, 56)


@pytest.mark.parametrize(
    ("windows", "error", "message"),
    [
        ([[[0.0] * 3] * 10], TypeError, r"windows: expected a numpy array \(n, length, 3\) in g, found list"),
        (np.zeros((1, 10, 3), complex), TypeError, "expected real numbers, found an array of complex128"),
        (np.zeros((1, 10, 3), object), TypeError, "expected real numbers, found an array of object"),
        (
            np.zeros((10, 3)),
            ValueError,
            r"3 dimensions .*, found 2 in shape \(10, 3\); give one window as window\[None\]",
        ),
        (np.zeros((1, 10, 4)), ValueError, r"expected 3 channels x, y, z on the last axis, found shape \(1, 10, 4\)"),
        (np.zeros((1, 9, 3)), ValueError, "expected at least 10 samples each, found 9"),
    ],
)
def test_what_is_no_window_is_refused(windows, error, message):
    with pytest.raises(error, match=message):
        statistical_features(windows, 20.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_with_their_window(value):
    windows = wrist_windows(6)
    windows[3, 17, 1] = windows[5, 0, 0] = value
    with pytest.raises(
        ValueError, match=r"found NaN or inf in 2 of 6 windows \(the first: window 3\); fill or leave out"
    ):
        statistical_features(windows, 100.0)


def test_metres_per_second_squared_are_refused_with_what_to_divide_by():
    windows = wrist_windows(100)
    windows[[72, 76]] *= 9.80665  # at rest
    with pytest.raises(
        ValueError,
        match=r"expected g \(median magnitude 0\.5 to 2\), found \d+\.\d\d in window 72 \(2 of 100 windows are so\): "
        r"looks like m/s2; divide the samples by 9\.80665",
    ):
        statistical_features(windows, 100.0)
    statistical_features(windows[:72], 100.0)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, np.nan, np.inf])
def test_a_rate_that_is_none_is_refused(rate_hz):
    with pytest.raises(ValueError, match=f"rate_hz: expected samples per second above 0, found {rate_hz}"):
        statistical_features(CONSTANT, rate_hz)


def test_a_version_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"version: expected one of \[1, 2\], found 3"):
        statistical_features(CONSTANT, 20.0, version=3)


def test_a_copy_of_the_file_runs_alone_with_numpy(tmp_path):
    copy = tmp_path / "features_of_the_artefact.py"
    copy.write_bytes(Path(statistical.__file__).read_bytes())
    np.save(tmp_path / "windows.npy", wrist_windows(4))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import numpy as np, features_of_the_artefact as alone\n"
        f"found = alone.statistical_features(np.load({str(tmp_path / 'windows.npy')!r}), 100.0)\n"
        f"np.save({str(tmp_path / 'found.npy')!r}, found)\n"
        "print(sorted({'foresense', 'scipy', 'pandas', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), statistical_features(wrist_windows(4), 100.0))
