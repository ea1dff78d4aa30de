"""Sleep scoring against the formulas of the papers written out minute by minute, and the guard of the units."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.evaluate.measured import ActigraphyError
from foresense.evaluate.sleep_scoring import (
    COLE_1992_RULES,
    COLE_KRIPKE,
    SADEH,
    WebsterRules,
    cole_kripke,
    quantile_sleep,
    sadeh,
    score_sleep,
    webster_rescored,
)
from foresense.signals.actigraphy import Minutes

MISSING = np.nan


def plain_cole_kripke(counts: np.ndarray, variant: str) -> list[int]:
    """Cole et al. 1992, table 1, as sums over named minutes."""
    published = {
        "minute": (0.001, [106, 54, 58, 76, 230, 74, 67]),
        "actigraph": (0.001, [106, 54, 58, 76, 230, 74, 67]),
        "actiwatch": (0.001, [106, 54, 58, 76, 230, 74, 67]),
        "10s_maximum_overlapping": (0.00001, [50, 30, 300, 400, 1400, 500, 350]),
        "10s_maximum": (0.00001, [550, 378, 413, 699, 1736, 287, 309]),
        "30s_maximum": (0.0001, [50, 30, 14, 28, 121, 8, 50]),
    }
    scale, weights = published[variant]
    scaled = {"actigraph": lambda a: min(a / 100, 300), "actiwatch": lambda a: a / 30}.get(variant, lambda a: a)
    states = []
    for minute, own in enumerate(counts):
        total = 0.0
        for offset, weight in zip(range(-4, 3), weights, strict=True):
            at = minute + offset
            if 0 <= at < len(counts) and not np.isnan(counts[at]):
                total += weight * scaled(counts[at])
        states.append(-1 if np.isnan(own) else int(scale * total < 1))
    return states


def plain_sadeh(counts: np.ndarray, threshold: float, divisor: float) -> list[int]:
    """Sadeh et al. 1994, minute by minute."""
    capped = [0.0 if np.isnan(count) else min(count / divisor, 300.0) for count in counts]
    states = []
    for minute, own in enumerate(counts):
        window = [capped[at] if 0 <= at < len(capped) else 0.0 for at in range(minute - 5, minute + 6)]
        last = [capped[at] if at >= 0 else 0.0 for at in range(minute - 5, minute + 1)]
        n_moderate = sum(50 <= count < 100 for count in window)
        score = 7.601 - 0.065 * statistics.fmean(window) - 1.08 * n_moderate - 0.056 * statistics.stdev(last)
        score -= 0.703 * math.log(capped[minute] + 1)
        states.append(-1 if np.isnan(own) else int(score >= threshold))
    return states


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """Two people: rest with few counts, activity with many, missing minutes."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.choice([0.2, 3, 20, 70, 300, 3000], 80), 10).reshape(2, 400)
    found = rng.poisson(level).astype(float)
    found[0, 30:45] = np.nan
    found[1, -5:] = np.nan
    return found


@pytest.mark.parametrize("variant", sorted(COLE_KRIPKE))
def test_cole_kripke_is_its_formula(counts: np.ndarray, variant: str) -> None:
    states = cole_kripke(counts, "counts", variant=variant)
    np.testing.assert_array_equal(states, [plain_cole_kripke(row, variant) for row in counts])
    assert {-1, 0, 1} == set(np.unique(states).tolist())


def test_the_weight_of_each_minute_is_the_published_one() -> None:
    """One minute of activity wakes the minutes that see it with a weight of at least 76: 230, 76 and 106."""
    lone = np.zeros((1, 20))
    lone[0, 10] = 1000 / 75.5
    awake = np.flatnonzero(cole_kripke(lone, "counts")[0] == 0)
    assert awake.tolist() == [10, 11, 14]


@pytest.mark.parametrize("variant", sorted(SADEH))
def test_sadeh_is_its_formula(counts: np.ndarray, variant: str) -> None:
    use = SADEH[variant]
    states = sadeh(counts, "counts", variant=variant)
    np.testing.assert_array_equal(states, [plain_sadeh(row, use.threshold, use.divisor) for row in counts])


def test_a_lone_minute_by_hand() -> None:
    """100 counts in silence: 7.601 - 0.065 100/11 - 0.056 100/sqrt(6) - 0.703 ln 101 = 1.479 (sleep); 200: wake."""
    lone = np.zeros((1, 21))
    lone[0, 10] = 100
    assert sadeh(lone, "counts")[0, 10] == 1
    lone[0, 10] = 200
    assert sadeh(lone, "counts")[0, 10] == 0
    assert sadeh(lone, "counts", variant="actilife")[0, 10] == 1


def plain_webster(states: list[int], rules: WebsterRules) -> list[int]:
    """Webster et al. 1982, stretch by stretch."""

    def stretches(found: list[int]) -> list[tuple[int, int, int]]:
        out, at = [], 0
        while at < len(found):
            end = at
            while end < len(found) and found[end] == found[at]:
                end += 1
            out.append((found[at], at, end))
            at = end
        return out

    once = list(states)
    listed = stretches(states)
    for (before, b, e), (state, begin, end) in pairwise(listed):
        if (before, state) == (0, 1):
            for n_wake, n_sleep in rules.after_wake:
                if e - b >= n_wake:
                    for at in range(begin, min(end, begin + n_sleep)):
                        once[at] = 0
    twice = list(once)
    listed = stretches(once)
    for before, (state, begin, end), after in zip(listed[:-2], listed[1:-1], listed[2:], strict=True):
        if (before[0], state, after[0]) == (0, 1, 0):
            around = min(before[2] - before[1], after[2] - after[1])
            if any(around >= n_wake and end - begin <= n_sleep for n_wake, n_sleep in rules.between_wake):
                twice[begin:end] = [0] * (end - begin)
    return twice


RUN = st.tuples(st.sampled_from([-1, 0, 0, 0, 1, 1]), st.sampled_from([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 14, 15, 16, 20]))


@settings(max_examples=150, deadline=None)
@given(runs=st.lists(RUN, min_size=1, max_size=14), rules=st.sampled_from([WebsterRules(), COLE_1992_RULES]))
def test_webster_is_its_rules(runs: list[tuple[int, int]], rules: WebsterRules) -> None:
    states = [state for state, length in runs for _ in range(length)]
    found = webster_rescored(np.array([states], np.int8), rules)
    np.testing.assert_array_equal(found[0], plain_webster(states, rules))


@pytest.mark.parametrize(
    ("wake_before", "sleep", "wake_after", "n_wake"),
    [
        (3, 20, 1, 3 + 1),
        (4, 20, 1, 4 + 1 + 1),
        (10, 20, 1, 10 + 3 + 1),
        (15, 20, 1, 15 + 4 + 1),
        (15, 10, 15, 15 + 10 + 15),  # 4 are lost, and the 6 left lie between 19 and 15
        (15, 11, 15, 15 + 4 + 15),
        (20, 14, 20, 54),  # 4 are lost, and the 10 left lie between 24 and 20
    ],
)
def test_sleep_after_and_between_wake_is_wake(wake_before: int, sleep: int, wake_after: int, n_wake: int) -> None:
    states = np.repeat([0, 1, 0], [wake_before, sleep, wake_after]).astype(np.int8)[None]
    assert (webster_rescored(states) == 0).sum() == n_wake


@pytest.mark.parametrize("unit", ["mims", "enmo", "unknown"])
def test_formulas_for_counts_refuse_other_units(unit: str) -> None:
    values = np.random.default_rng(0).gamma(1, 10, (1, 600))
    for method in (cole_kripke, sadeh):
        with pytest.raises(
            ActigraphyError, match=rf"{method.__name__} was fitted to activity counts, found .*'{unit}'"
        ):
            method(values, unit)  # type: ignore[operator]
    minutes = Minutes(("p",), values, np.arange(600)[None], unit)  # type: ignore[arg-type]
    with pytest.raises(ActigraphyError, match=r"set ingest.unit to counts .* quantile rule \(share_asleep\)"):
        score_sleep(minutes)
    flagged = score_sleep(minutes, share_asleep=0.25)
    assert not flagged.is_published
    assert "scored by the quantile rule: the stillest 25%" in flagged.note
    assert (flagged.states == 1).mean() == pytest.approx(0.25, abs=1 / 600)


def test_counts_are_scored_by_name(counts: np.ndarray) -> None:
    minutes = Minutes(("a", "b"), counts, np.tile(np.arange(400), (2, 1)), "counts")
    scores = score_sleep(minutes)
    assert (scores.method, scores.is_published, scores.note) == ("cole_kripke actiwatch, webster", True, "")
    np.testing.assert_array_equal(scores.states, webster_rescored(cole_kripke(counts, "counts", variant="actiwatch")))
    np.testing.assert_array_equal(score_sleep(minutes, method="sadeh").states, sadeh(counts, "counts"))
    with pytest.raises(ActigraphyError, match=r"no Cole-Kripke formula 'actiwach' \(known: minute, actigraph"):
        score_sleep(minutes, variant="actiwach")
    with pytest.raises(ActigraphyError, match=r"no use of Sadeh's formula 'x' \(known: sadeh_1994"):
        score_sleep(minutes, method="sadeh", variant="x")


def test_the_quantile_rule_takes_the_stillest_minutes_of_those_known() -> None:
    values = np.r_[np.zeros(100), np.full(300, 50.0), np.full(200, np.nan)][None]
    states = quantile_sleep(values, 0.25)[0]
    assert (states[400:] == -1).all()
    assert set(np.flatnonzero(states == 1)) >= set(range(95))
    assert not (states[105:400] == 1).any()
    with pytest.raises(ActigraphyError, match="share_asleep is 1; expected a share between 0 and 1"):
        quantile_sleep(values, 1.0)
