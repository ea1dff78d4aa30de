import numpy as np
import pytest

from foresense.features import topological
from foresense.features.topological import topological_features
from foresense.features.topology_cache import Found, TopologyCache

RNG = np.random.default_rng(0)
WINDOWS = RNG.normal(1, 0.1, (5, 60, 3)) / np.sqrt(3)


class Counted:
    """Sums of windows, and which windows were asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, windows):
        self.asked.append(len(windows))
        return Found(values=windows.sum(axis=1), bound=windows[:, 0, 0])


def test_a_window_is_computed_once_in_whatever_order_and_type_it_comes_again(tmp_path):
    compute = Counted()
    cache = TopologyCache(tmp_path, "a", n_values=3)
    first = cache.fill(WINDOWS[:3], compute)
    np.testing.assert_array_equal(first.values, WINDOWS[:3].sum(axis=1))
    again = cache.fill(WINDOWS[[4, 2, 0, 4]], compute)
    np.testing.assert_array_equal(again.values, WINDOWS[[4, 2, 0, 4]].sum(axis=1))
    np.testing.assert_array_equal(again.bound, WINDOWS[[4, 2, 0, 4], 0, 0])
    cache.fill(np.asfortranarray(WINDOWS[[2, 4]]), compute)
    assert compute.asked == [3, 1]


def test_other_parameters_and_another_length_find_nothing(tmp_path):
    compute = Counted()
    for parameters, windows in (("a", WINDOWS), ("b", WINDOWS), ("a", WINDOWS[:, :50])):
        TopologyCache(tmp_path, parameters, n_values=3).fill(windows, compute)
    assert compute.asked == [5, 5, 5]


def test_a_failed_computation_leaves_no_file(tmp_path):
    def broken(windows):
        raise RuntimeError("no")

    cache = TopologyCache(tmp_path / "new", "a", n_values=3)
    with pytest.raises(RuntimeError):
        cache.fill(WINDOWS, broken)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("keep", [0, 100, 600])
def test_a_file_that_was_cut_off_is_named(tmp_path, keep):
    cache = TopologyCache(tmp_path, "a", n_values=3)
    cache.fill(WINDOWS, Counted())
    cache.path.write_bytes(cache.path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"{cache.path.name}: not a cache of topological features .*; delete it"):
        cache.fill(WINDOWS, Counted())


def test_a_file_of_other_values_is_refused(tmp_path):
    TopologyCache(tmp_path, "a", n_values=3).fill(WINDOWS, Counted())
    with pytest.raises(ValueError, match=r"expected arrays of the shapes \(\(5, 16\), \(5, 24\), \(5,\)\), found"):
        TopologyCache(tmp_path, "a", n_values=24).fill(WINDOWS, Counted())


def test_features_from_the_cache_have_the_same_bits_and_ask_for_no_diagram(tmp_path, monkeypatch):
    plain = topological_features(WINDOWS, 20.0)
    fresh = topological_features(WINDOWS, 20.0, cache=tmp_path)
    monkeypatch.setattr(topological, "rips_bars", None)
    kept = topological_features(WINDOWS, 20.0, cache=tmp_path)
    for found in (fresh, kept):
        np.testing.assert_array_equal(found.values, plain.values)
        np.testing.assert_array_equal(found.bound, plain.bound)
        np.testing.assert_array_equal(found.is_degenerate, plain.is_degenerate)
    with pytest.raises(TypeError):
        topological_features(WINDOWS, 20.0, cache=tmp_path, n_landmarks=20)
