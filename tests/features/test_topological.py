import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from persim import bottleneck
from ripser import ripser
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from foresense.features import Contexts
from foresense.features import topological as of_module
from foresense.features.topological import (
    EPSILON_G,
    NAMES,
    UNITS,
    bound_in_words,
    landmark_diagrams,
    require_same_backend,
    rips_bars,
    topological_features,
)
from foresense.features.wrist_topology import topological

RATE_HZ = 20.0
FLOAT32 = 1e-5  # ripser rounds distances of a few g to float32


def gait(n, length=200, rate_hz=RATE_HZ, seed=0):
    """Wrists in g, from rest to a run: gravity with a direction, a step of 3 harmonics, noise of a sensor."""
    rng = np.random.default_rng(seed)
    times = np.arange(length) / rate_hz
    pace = rng.uniform(0.5, 3, (n, 1))
    force = np.geomspace(0.005, 1, n)[:, None]
    step = sum(np.sin(2 * np.pi * k * pace * times + rng.uniform(0, 7, (n, 1))) / k for k in (1, 2, 3))
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return (1 + force * step)[..., None] * direction[:, None] + rng.normal(0, 0.01, (n, length, 3))


def along_x(magnitude):
    return np.stack([magnitude, 0 * magnitude, 0 * magnitude], axis=-1)[None]


def of(windows, rate_hz=RATE_HZ, **asked):
    found = topological_features(windows, rate_hz, **asked)
    return dict(zip(found.names, found.values.T, strict=True))


def test_a_regular_polygon_is_one_loop_from_its_side_to_its_third():
    # born when neighbours join, dies when an equilateral triangle fits (Adamaszek and Adams 2017)
    n, radius = 60, 0.7
    turn = 2 * np.pi * np.arange(n) / n
    h0, h1 = rips_bars(squareform(pdist(radius * np.stack([np.cos(turn), np.sin(turn)], axis=1))))
    side = 2 * radius * np.sin(np.pi / n)
    np.testing.assert_allclose(h1, [[side, np.sqrt(3) * radius]], rtol=1e-6)
    np.testing.assert_allclose(h0, np.tile([0, side], (n - 1, 1)), rtol=1e-6)


def test_deaths_of_components_are_the_edges_of_the_minimum_spanning_tree():
    between = squareform(pdist(np.random.default_rng(5).normal(size=(50, 3))))
    h0, _ = rips_bars(between)
    np.testing.assert_allclose(np.sort(h0[:, 1]), np.sort(minimum_spanning_tree(between).data), rtol=1e-6)
    assert not h0[:, 0].any()


def test_a_sine_with_three_delays_in_a_period_is_a_circle_in_closed_form():
    # 10/3 Hz, 100 ms: a third of a period, so the points lie on a circle of radius amplitude * sqrt(3/2), nine of them
    amplitude, rate_hz, length = 0.4, 30.0, 276
    found = of(along_x(1 + amplitude * np.cos(2 * np.pi * np.arange(length) / 9)), rate_hz)
    radius = amplitude * np.sqrt(1.5)
    birth, death = 2 * radius * np.sin(np.pi / 9), np.sqrt(3) * radius
    life = death - birth
    trough = np.cos(2 * np.pi * 4 / 9)
    depth, n_dips = amplitude * (1 - trough), 30  # 31 troughs, the oldest never dies
    expected = {
        "h0_n_bars": n_dips, "h0_max": birth, "h0_mean": birth, "h0_std": 0, "h0_sum": n_dips * depth,
        "h0_l2": np.sqrt(n_dips) * depth, "h0_entropy": np.log(8), "h0_second_ratio": 1, "h0_third_ratio": 1,
        "h0_median": birth, "h0_gap": 0, "h0_betti_area": n_dips,
        "h1_n_bars": 1, "h1_max": life, "h1_mean": life, "h1_std": 0, "h1_sum": life, "h1_l2": life,
        "h1_entropy": 0, "h1_second_ratio": 0, "h1_third_ratio": 0, "h1_midlife": (birth + death) / 2,
        "h1_periodicity": life / death, "h1_landscape_l2": np.sqrt(life**3 / 12),
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_a_rhythm_scores_high_on_periodicity_and_noise_low():
    times = np.arange(1000) / 100
    rng = np.random.default_rng(0)
    rhythm = of(along_x(1 + 0.5 * np.sin(2 * np.pi * 3.21 * times)), 100.0)["h1_periodicity"][0]
    noise = of(along_x(1 + rng.normal(0, 0.2, 1000)), 100.0)["h1_periodicity"][0]
    assert rhythm > 0.85
    assert noise < 0.4


@given(seed=st.integers(0, 10_000), n_landmarks=st.integers(4, 60))
@settings(max_examples=40, deadline=None)
def test_diagrams_of_landmarks_are_within_the_bound_of_ripser_on_the_whole_cloud(seed, n_landmarks):
    signal = np.linalg.norm(gait(3, length=74, seed=seed)[seed % 3], axis=1)
    cloud = np.stack([signal[:-4], signal[2:-2], signal[4:]], axis=1)
    whole = ripser(cloud, maxdim=1)["dgms"]
    h0, h1, bound = landmark_diagrams(signal, RATE_HZ, n_landmarks)
    assert bound > 0
    assert bottleneck(whole[0][:-1], h0) <= bound + FLOAT32
    assert bottleneck(whole[1], h1) <= bound + FLOAT32
    longest = np.ptp(h1, axis=1).max(initial=0)
    if longest > bound + FLOAT32:  # the claim of bound_in_words
        assert np.ptp(whole[1], axis=1).max() >= longest - bound - FLOAT32


def test_with_as_many_landmarks_as_points_the_diagrams_are_ripsers_and_the_bound_is_0():
    windows = gait(2)
    found = topological_features(windows, RATE_HZ, n_landmarks=196)
    assert found.n_points == 196
    assert found.bound.tolist() == [0, 0]
    signal = np.linalg.norm(windows[1], axis=1)
    h1 = ripser(np.stack([signal[:-4], signal[2:-2], signal[4:]], axis=1), maxdim=1)["dgms"][1]
    lives = np.ptp(h1, axis=1)
    row = dict(zip(found.names, found.values[1], strict=True))
    assert row["h1_max"] == pytest.approx(lives.max(), rel=1e-5)
    assert row["h1_sum"] == pytest.approx(lives[lives > EPSILON_G].sum(), rel=1e-4)
    assert row["h1_midlife"] == pytest.approx(h1[lives.argmax()].mean(), rel=1e-5)


def test_the_bound_of_a_window_is_that_of_its_diagrams():
    windows = gait(3)
    bounds = [landmark_diagrams(np.linalg.norm(window, axis=1), RATE_HZ, 30)[2] for window in windows]
    np.testing.assert_allclose(topological_features(windows, RATE_HZ, n_landmarks=30).bound, bounds, rtol=1e-9)


def test_a_ramp_has_no_dip_and_no_loop_and_is_not_degenerate():
    found = topological_features(along_x(np.linspace(0.5, 1.5, 200)), RATE_HZ)
    row = dict(zip(found.names, found.values[0], strict=True))
    assert not found.is_degenerate[0]
    assert (row["h0_n_bars"], row["h0_gap"], row["h0_betti_area"], row["h1_n_bars"]) == (0, 0, 0, 0)
    assert row["h0_max"] >= np.sqrt(3) / 199 - 1e-6  # neighbours of the cloud


def test_more_landmarks_never_raise_the_bound():
    bounds = [topological_features(gait(6), RATE_HZ, n_landmarks=n).bound for n in (10, 30, 90, 190)]
    assert (np.diff(bounds, axis=0) < 0).all()


def test_none_of_the_24_is_constant_or_another_one_on_another_scale():
    found = topological_features(gait(120), RATE_HZ)
    assert len(set(found.names)) == len(found.names) == len(UNITS) == 24
    assert np.isfinite(found.values).all()
    assert all(len(np.unique(column)) > 20 for column in found.values.T)
    standard = (found.values - found.values.mean(axis=0)) / found.values.std(axis=0)
    related = np.abs(standard.T @ standard / len(standard))
    assert np.abs(related[np.triu_indices(24, 1)]).max() < 0.999
    assert np.linalg.matrix_rank(standard, tol=1e-3 * np.linalg.norm(standard, 2)) == 24


def test_a_batch_its_rows_and_its_turned_axes_agree_to_the_bit():
    windows = gait(40)
    found = topological_features(windows, RATE_HZ)
    for row in (0, 17, 39):
        alone = topological_features(windows[row : row + 1], RATE_HZ)
        np.testing.assert_array_equal(alone.values[0], found.values[row])
        assert alone.bound[0] == found.bound[row]
    turned = topological_features(np.ascontiguousarray(windows[::-1, :, [2, 0, 1]]), RATE_HZ)
    np.testing.assert_array_equal(turned.values[::-1], found.values)


def test_units_follow_a_doubled_magnitude():
    windows = gait(4, length=400, rate_hz=40.0)[2:]
    once, twice = topological_features(windows, 40.0).values, topological_features(2 * windows, 40.0).values
    factor = {"g": 2.0, "g^1.5": 2**1.5, "1": 1.0}
    for name in ("h0_max", "h0_median", "h0_gap", "h1_max", "h1_midlife", "h1_periodicity", "h1_landscape_l2"):
        column = NAMES.index(name)
        np.testing.assert_allclose(twice[:, column], factor[UNITS[column]] * once[:, column], rtol=1e-5)


@pytest.mark.long
def test_processes_give_the_same_bits():
    windows = gait(70)
    alone, many = (topological_features(windows, RATE_HZ, workers=workers) for workers in (1, 64))
    np.testing.assert_array_equal(alone.values, many.values)
    np.testing.assert_array_equal(alone.bound, many.bound)


def test_no_more_processes_than_cores_or_chunks_and_none_for_one_worker(monkeypatch):
    asked = []

    def refused(workers, **_):
        asked.append(workers)
        raise InterruptedError

    monkeypatch.setattr(of_module, "ProcessPoolExecutor", refused)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    for n, workers in ((200, 64), (200, 2), (40, 64)):
        with pytest.raises(InterruptedError):
            topological_features(gait(n), RATE_HZ, workers=workers)
    assert asked == [3, 2, 2]
    assert len(topological_features(gait(40), RATE_HZ, workers=1).values) == 40
    assert len(topological_features(gait(32), RATE_HZ, workers=64).values) == 32


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rate_hz", [20.0, 100.0])
def test_a_constant_window_is_0_and_flagged(level, rate_hz):
    windows = np.concatenate([np.full((1, 200, 3), level), gait(1, rate_hz=rate_hz)])
    found = topological_features(windows, rate_hz)
    assert found.is_degenerate.tolist() == [True, False]
    assert not found.values[0].any()
    assert found.bound[0] < 1e-12


def test_no_window_gives_no_row():
    found = topological_features(np.empty((0, 200, 3)), RATE_HZ)
    assert found.values.shape == (0, 24)
    assert found.bound.shape == found.is_degenerate.shape == (0,)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([[[1, 0, 0]]], r"expected a numpy array of numbers \(n_windows, length, 3\) in g, found list"),
        (np.full((1, 200, 3), "1"), r"expected a numpy array of numbers .* found array of <U1"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(windows, message):
    with pytest.raises(TypeError, match=message):
        topological_features(windows, RATE_HZ)


def test_bad_windows_are_refused_with_what_was_found():
    good = gait(3)
    with pytest.raises(ValueError, match=r"expected the shape \(n_windows, length, 3\), found \(200, 3\)"):
        topological_features(good[0], RATE_HZ)
    with pytest.raises(ValueError, match=r"expected the shape \(n_windows, length, 3\), found \(3, 200, 2\)"):
        topological_features(good[..., :2], RATE_HZ)
    with pytest.raises(ValueError, match=r"13 samples at 20 Hz are too short for a cloud of 10 points"):
        topological_features(good[:, :13], RATE_HZ)
    assert topological_features(good[:, :14], RATE_HZ).n_points == 10
    with pytest.raises(ValueError, match=r"looks like m/s2; divide by 9\.80665"):
        topological_features(9.80665 * good, RATE_HZ)
    for value in (np.nan, np.inf):
        good[1, 7, 2] = value
        with pytest.raises(ValueError, match=r"1 of 3 hold NaN or infinity, the first is window 1"):
            topological_features(good, RATE_HZ)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rate_hz": 0.0}, "rate_hz: expected a positive number of samples per second, found 0.0"),
        ({"rate_hz": float("nan")}, "rate_hz: expected a positive number of samples per second, found nan"),
        ({"n_landmarks": 3}, "n_landmarks: expected at least 4, the fewest points of a loop, found 3"),
        ({"workers": 0}, "workers: expected at least 1, found 0"),
        ({"backend": "simplified"}, r"no topology backend 'simplified' \(known: ripser\); there is no approximation"),
    ],
)
def test_parameters_out_of_range_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        topological_features(gait(1), **{"rate_hz": RATE_HZ, **asked})


def test_without_ripser_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyRipser", None)
    with pytest.raises(ImportError, match=r"the extra 'topology': pip install 'foresense\[topology\]'"):
        topological_features(gait(1), RATE_HZ)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_bars_are_those_of_ripsers_python_part_to_the_bit(seed, n):
    points = np.random.default_rng(seed).normal(size=(n, 3))
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    h0, h1 = ripser(between, maxdim=1, distance_matrix=True)["dgms"]
    found = rips_bars(between)
    np.testing.assert_array_equal(found[0], h0[:-1])
    np.testing.assert_array_equal(found[1], h1)


def test_a_window_needs_none_of_the_libraries_that_ripsers_python_part_imports():
    code = (
        "import sys, numpy as np; from foresense.features.topological import topological_features as of; "
        "of(np.random.default_rng(0).normal(0, 0.3, (1, 200, 3)), 20.0); "
        "print(sorted({'sklearn', 'scipy', 'ripser'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_family_imports_no_ripser():
    code = "import sys, foresense.features.wrist_topology; print('pyRipser' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_backends_are_not_mixed():
    few, many = (topological_features(gait(1), RATE_HZ, n_landmarks=n).backend for n in (50, 100))
    assert many == "ripser, 100 landmarks, topology version 1"
    require_same_backend(many, many)
    with pytest.raises(ValueError, match=r"two backends: 'ripser, 50 .*' and 'ripser, 100 .*'; their numbers are not"):
        require_same_backend(few, many)


def test_the_bound_is_told_in_plain_words():
    windows = gait(10)
    rough = bound_in_words(topological_features(windows, RATE_HZ, n_landmarks=8))
    assert rough.startswith("In 10 of 10 windows (100%) the bound is at least as long as the longest loop (median of")
    assert "the features are those of the landmarks" in rough
    whole = bound_in_words(topological_features(windows, RATE_HZ, n_landmarks=300))
    assert whole == "Every point of all 10 clouds is a landmark: the diagrams are those of the whole cloud."
    rhythm = along_x(1 + 0.5 * np.sin(2 * np.pi * 3.21 * np.arange(200) / 20))
    assert "the longest loop is longer than the bound" in bound_in_words(topological_features(rhythm, RATE_HZ))
    assert bound_in_words(topological_features(windows[:0], RATE_HZ)).startswith("No window")


def contexts(units):
    samples = gait(3)
    return Contexts(
        samples=samples,
        imputed=np.zeros(samples.shape, bool),
        issued_s=np.zeros(3, np.int64),
        channels=tuple("xyz"[: len(units)]),
        units=units,
        interval_s=1 / RATE_HZ,
        time_zone="UTC",
    )


def test_the_family_gives_the_24_of_its_contexts_with_units():
    found = topological(contexts(("g", "g", "g")))
    assert (found.names, found.units) == (NAMES, UNITS)
    np.testing.assert_array_equal(found.values, topological_features(gait(3), RATE_HZ).values)


@pytest.mark.parametrize("units", [("g", "g"), ("m/s2", "g", "g")])
def test_the_family_takes_three_channels_in_g_only(units):
    with pytest.raises(ValueError, match=rf"wrist_topology expects three channels in g, found x in {units[0]}, y in g"):
        topological(contexts(units))
