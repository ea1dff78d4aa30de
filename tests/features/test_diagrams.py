import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ripser import ripser
from scipy.integrate import trapezoid
from scipy.sparse import coo_matrix

from foresense.features.diagrams import entropy, landscape_norm, lifetimes, longer_than, sublevel_bars

STEPS = st.integers(1, 40).flatmap(lambda n: arrays(np.int64, n, elements=st.integers(-6, 6)))


def ascending(bars):
    return sorted(map(tuple, np.round(bars, 6).tolist()))


def lower_star(values):
    """Sublevel-set bars of a path by ripser: vertices enter at their value, edges at the larger one (its tutorial)."""
    n = len(values)
    shift = values.min() - 1.0  # births above 0: ripser takes a 0 of a sparse matrix for an absent entry
    levels = values - shift
    rows, columns = np.arange(n - 1), np.arange(1, n)
    between = coo_matrix(
        (
            np.concatenate([np.maximum(levels[:-1], levels[1:]), levels]),
            (np.concatenate([rows, np.arange(n)]), np.concatenate([columns, np.arange(n)])),
        ),
        shape=(n, n),
    )
    bars = ripser(between, maxdim=0, distance_matrix=True)["dgms"][0] + shift
    return bars[np.isfinite(bars[:, 1]) & (bars[:, 1] > bars[:, 0])]


def test_sublevel_bars_of_a_signal_made_by_hand():
    # minima 1, 0, 4 (a plateau) and 2 (the end); 1 meets 0 at 2, 4 meets 0 at 5, 2 meets 0 at 6
    assert ascending(sublevel_bars(np.array([3, 1, 2, 0, 5, 4, 4, 6, 2.0]))) == [(1, 2), (2, 6), (4, 5)]


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [3.0, 0.0, 0.0, 2.0]])
def test_one_minimum_has_no_finite_bar(values):
    assert sublevel_bars(np.array(values)).shape == (0, 2)


@given(values=STEPS)
@settings(max_examples=200, deadline=None)
def test_sublevel_bars_are_those_of_ripser_on_the_path(values):
    found = sublevel_bars(values.astype(float))
    assert ascending(found) == ascending(lower_star(values.astype(float)))


@given(values=STEPS, rate=st.integers(2, 5))
def test_sublevel_bars_know_no_time(values, rate):
    values = values.astype(float)
    expected = ascending(sublevel_bars(values))
    assert ascending(sublevel_bars(values[::-1])) == expected
    assert ascending(sublevel_bars(np.repeat(values, rate))) == expected
    assert ascending(sublevel_bars(2 * values + 1)) == [(2 * birth + 1, 2 * death + 1) for birth, death in expected]


def test_n_periods_of_a_sine_have_a_bar_of_the_full_range_less_than_they_have_troughs():
    bars = sublevel_bars(np.cos(2 * np.pi * 7 * np.arange(701) / 700))
    np.testing.assert_allclose(bars, np.tile([-1.0, 1.0], (6, 1)))


def test_bars_are_kept_by_length_longest_first_and_equal_ones_by_birth():
    bars = np.array([[1.0, 2.0], [0.0, 3.0], [5.0, 5.5], [0.0, 1.0]])
    np.testing.assert_array_equal(longer_than(bars, 0.5), [[0.0, 3.0], [0.0, 1.0], [1.0, 2.0]])
    np.testing.assert_array_equal(lifetimes(bars), [1.0, 3.0, 0.5, 1.0])


@pytest.mark.parametrize("n", [1, 2, 9])
def test_entropy_of_equal_bars_is_the_logarithm_of_their_number(n):
    assert entropy(np.full(n, 0.3)) == pytest.approx(np.log(n))


def test_entropy_of_no_bar_is_0_and_of_three_quarters_that_of_the_coin():
    assert entropy(np.empty(0)) == 0
    assert entropy(np.array([3.0, 1.0])) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


def test_landscape_norm_of_one_bar_and_of_two_apart():
    assert landscape_norm(np.empty((0, 2))) == 0
    assert landscape_norm(np.array([[1.0, 3.0]])) == pytest.approx(np.sqrt(2**3 / 12))
    assert landscape_norm(np.array([[1.0, 3.0], [4.0, 5.0], [1.0, 2.5]])) == pytest.approx(np.sqrt(9 / 12))


@given(bars=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 12)), min_size=1, max_size=12))
def test_landscape_norm_is_that_of_the_upper_envelope_on_a_fine_grid(bars):
    bars = np.array([(birth, birth + length) for birth, length in bars], float)
    level = np.linspace(0, 33, 6601)
    tents = np.clip(np.minimum(level - bars[:, :1], bars[:, 1:] - level), 0, None)
    assert landscape_norm(bars) == pytest.approx(np.sqrt(trapezoid(tents.max(axis=0) ** 2, level)), rel=1e-4)
