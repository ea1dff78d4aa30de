"""Transitions between rest and activity: a known hazard, the definition written out, LOWESS."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from foresense.evaluate.fragmentation import lowess, rest_to_active, transition_probability


def plain_lowess(x: list[float], y: list[float], share: float) -> list[float]:
    """Cleveland 1979: the weighted line through the neighbours of each point, by numpy's polyfit."""
    n_near = min(len(x), max(3, int(share * len(x) + 1e-10)))
    curve = []
    for own in x:
        reach = sorted(abs(one - own) for one in x)[n_near - 1]
        weights = [max(0.0, 1 - (abs(one - own) / reach) ** 3) ** 3 for one in x]
        near = [at for at, weight in enumerate(weights) if weight > 0]
        if len(near) == 1:
            curve.append(y[near[0]])
            continue
        line = np.polyfit([x[at] for at in near], [y[at] for at in near], 1, w=[weights[at] ** 0.5 for at in near])
        curve.append(float(np.polyval(line, own)))
    return curve


def plain_sustained(active: np.ndarray, held: bool) -> float:
    """Lim et al. 2011 in words: stretches, hazards, their weights, the longest level part of the curve."""
    stretches = []
    at = 0
    while at < len(active):
        end = at
        while end < len(active) and (active[end] == active[at] or (np.isnan(active[end]) and np.isnan(active[at]))):
            end += 1
        is_whole = at > 0 and end < len(active) and active[at - 1] == (not held) and active[end] == (not held)
        if active[at] == held and is_whole:
            stretches.append(end - at)
        at = end
    times = sorted(Counter(stretches))
    p, weights = [], []
    for now, later in pairwise(times):
        n_now, n_later = (sum(one >= time for one in stretches) for time in (now, later))
        p.append((n_now - n_later) / n_now / (later - now))
        weights.append(math.sqrt(n_now + n_later))
    curve = plain_lowess([float(time) for time in times[:-1]], p, 0.3)
    tolerance = float(np.std(p, ddof=1))
    best = (0, 0)
    for first in range(len(curve)):
        for last in range(first + 1, len(curve) + 1):
            part = curve[first:last]
            if max(part) - min(part) <= tolerance and last - first > best[1] - best[0]:
                best = (first, last)
    part_of = slice(*best)
    return float(np.average(p[part_of], weights=weights[part_of]))


@pytest.fixture(scope="module")
def activity() -> np.ndarray:
    """Two people whose stretches end with known probabilities, and some minutes that are missing."""
    rng = np.random.default_rng(3)
    rows = []
    for p_rest, p_active in ((0.05, 0.02), (0.1, 0.1)):
        lengths = np.stack([rng.geometric(p_rest, 1500), rng.geometric(p_active, 1500)], axis=1).ravel()
        row = np.repeat(np.tile([0.0, 30.0], 1500), lengths)[:20000]
        rows.append(np.pad(row, (0, 20000 - len(row)), constant_values=np.nan))
    found = np.array(rows)
    found[0, 1000:1100] = np.nan
    return found


def test_a_known_probability_is_found(activity: np.ndarray) -> None:
    """A stretch that ends with the same probability every minute has that hazard throughout."""
    for kind, expected in (("rest_to_activity", [0.05, 0.1]), ("activity_to_rest", [0.02, 0.1])):
        found = transition_probability(activity, kind)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.values, expected, rtol=0.2)
        assert (found.name, found.unit) == ({"r": "k_ra", "a": "k_ar"}[kind[0]], "1/min")


def test_it_is_its_definition(activity: np.ndarray) -> None:
    short = activity[:, :6000]
    states = np.where(np.isnan(short), np.nan, short > 0)
    for kind, held in (("rest_to_activity", False), ("activity_to_rest", True)):
        found = transition_probability(short, kind).values  # type: ignore[arg-type]
        np.testing.assert_allclose(found, [plain_sustained(row, held) for row in states], rtol=1e-8)


def test_the_threshold_says_what_rest_is(activity: np.ndarray) -> None:
    raised = activity + 5
    found = transition_probability(raised, "rest_to_activity", threshold=5)
    np.testing.assert_array_equal(found.values, transition_probability(activity, "rest_to_activity").values)
    assert (
        transition_probability(raised, "rest_to_activity").reasons.tolist()
        == ["stretches of rest have fewer than 6 different lengths"] * 2
    )


def test_lowess_keeps_a_line_and_is_the_plain_one() -> None:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.integers(1, 6, 40)).astype(float)
    np.testing.assert_allclose(lowess(x, 3 - 0.25 * x, 0.3), 3 - 0.25 * x, rtol=1e-11, atol=1e-11)
    y = rng.random(40)
    np.testing.assert_allclose(lowess(x, y, 0.3), plain_lowess(x.tolist(), y.tolist(), 0.3), rtol=1e-8, atol=1e-9)
    few = lowess(x[:4], y[:4], 0.3)
    np.testing.assert_allclose(few, plain_lowess(x[:4].tolist(), y[:4].tolist(), 0.3), rtol=1e-8)


def test_minutes_at_rest_for_each_minute_of_activity() -> None:
    given = np.array([[0, 0, 0, 5, np.nan], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [np.nan] * 5])
    found = rest_to_active(given)
    np.testing.assert_array_equal(found.values, [3, 0, np.nan, np.nan])
    assert found.reasons.tolist()[2:] == [
        "no minute has activity above 0",
        "no activity was recorded while the counter was worn",
    ]
