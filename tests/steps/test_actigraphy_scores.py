"""From probabilities of weeks to what is said of people, and who deals them into groups."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from foresense.config.actigraphy_pipeline import ActigraphyWindowConfig
from foresense.evaluate.binary import compare_binary, judge_binary
from foresense.signals import SignalError
from foresense.signals.weeks import TEST, TRAIN, VALIDATION, WeekWindows
from foresense.steps.actigraphy_scores import dealings_of, differences, is_surely_ahead, judge, said_of
from foresense.steps.window_actigraphy import deal


def config_of(n_folds: int, n_repeats: int, seed: int = 0) -> ActigraphyWindowConfig:
    return ActigraphyWindowConfig(positive="yes", device="made up", n_folds=n_folds, n_repeats=n_repeats, seed=seed)


def windows_of(labels: np.ndarray, roles: np.ndarray, n_weeks: int = 2) -> WeekWindows:
    owners = np.repeat(np.arange(len(labels)), n_weeks)
    return WeekWindows(
        values=np.zeros((len(owners), 10_080), np.float32),
        owners=owners,
        first_days=np.zeros(len(owners), np.int64),
        people=tuple(f"p{number}" for number in range(len(labels))),
        labels=labels,
        roles=roles,
        unit="counts",
        positive="yes",
        device="made up",
    )


@given(
    n_yes=st.integers(3, 20),
    n_no=st.integers(3, 20),
    n_folds=st.integers(3, 5),
    n_repeats=st.integers(1, 3),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_each_dealing_holds_everybody_out_once_and_labels_are_spread(n_yes, n_no, n_folds, n_repeats, seed) -> None:
    labels = np.repeat([1, 0], [n_yes, n_no])
    if min(n_yes, n_no) < n_folds:
        with pytest.raises(SignalError, match="n_folds asks for"):
            deal(labels, config_of(n_folds, n_repeats, seed))
        return
    roles = deal(labels, config_of(n_folds, n_repeats, seed))
    assert roles.shape == (n_folds * n_repeats, len(labels))
    for first in range(0, len(roles), n_folds):
        dealing = roles[first : first + n_folds]
        assert ((dealing == TEST).sum(axis=0) == 1).all()
        assert ((dealing == VALIDATION).sum(axis=0) == 1).all()
        assert ((dealing == TRAIN).sum(axis=0) == n_folds - 2).all()
        sizes = (dealing == TEST).sum(axis=1)
        assert sizes.max() - sizes.min() <= 1
        for label in (0, 1):
            held = (dealing[:, labels == label] == TEST).sum(axis=1)
            assert held.min() >= 1
            assert held.max() - held.min() <= 1


def test_a_person_gets_the_mean_of_the_weeks_and_ranks_stay_in_their_turn() -> None:
    labels = np.array([0, 1, 0, 1])
    roles = np.array([[TEST, TEST, VALIDATION, VALIDATION], [VALIDATION, VALIDATION, TEST, TEST]], np.int8)
    windows = windows_of(labels, roles)
    first = np.array([0.1, 0.3, 0.4, 0.6, 0.0, 0.0, 1.0, 1.0])
    second = np.array([0.9, 0.9, 0.8, 0.8, 0.90, 0.94, 0.97, 0.99])
    said = said_of(windows, [first, second])
    np.testing.assert_allclose(said.held_out, [[0.2, 0.5, 0.92, 0.98]])
    np.testing.assert_allclose(said.ranks, [[0.25, 0.75, 0.25, 0.75]])
    assert said.chosen_by == (1.0, 0.0)
    assert said.by_turn == (1.0, 1.0)
    scores = judge(windows, said)
    assert scores.metrics["auroc"] == 1.0  # by probabilities alone it is 0.75: the turns are not on one scale
    assert scores.metrics["brier"] == pytest.approx(np.mean([0.2**2, 0.5**2, 0.92**2, 0.02**2]))


def test_who_was_never_held_out_is_not_judged_and_areas_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    roles = np.full((1, 40), TRAIN, np.int8)
    roles[0, :25], roles[0, 25:35] = TEST, VALIDATION
    windows = windows_of(labels, roles, n_weeks=1)
    weeks = rng.uniform(size=40)
    said = said_of(windows, [weeks])
    np.testing.assert_array_equal(said.people, np.arange(25))
    assert judge(windows, said).metrics["auroc"] == pytest.approx(roc_auc_score(labels[:25], weeks[:25]), abs=1e-12)
    assert said.chosen_by[0] == pytest.approx(roc_auc_score(labels[25:35], weeks[25:35]), abs=1e-12)


def test_ahead_is_said_only_where_chance_does_not_do() -> None:
    labels = np.tile([0, 1], 40)
    roles = np.full((1, 80), VALIDATION, np.int8)
    roles[0, :40] = TEST
    windows = windows_of(labels, roles, n_weeks=1)
    rng = np.random.default_rng(0)
    good, chance = labels * 0.5 + rng.uniform(0, 0.5, 80), rng.uniform(size=80)
    one, other = said_of(windows, [good]), said_of(windows, [chance])
    assert is_surely_ahead(windows, 0, one, other)
    assert not is_surely_ahead(windows, 0, other, one)
    assert not is_surely_ahead(windows, 0, one, one)
    found = differences(windows, one, other)["auroc"]
    assert found.value == pytest.approx(one.by_turn[0] - other.by_turn[0])
    assert found.interval[0] > 0


def test_dealings_are_averaged_and_do_not_vote() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    roles = np.array([[TEST] * 6, [TEST] * 6], np.int8)
    right, wrong = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7]), np.array([0.45, 0.40, 0.46, 0.41, 0.47, 0.42])
    assert dealings_of(roles) == [0, 1]
    with_roles = windows_of(labels, np.concatenate([roles, np.full((1, 6), VALIDATION, np.int8)]), n_weeks=1)
    assert dealings_of(with_roles.roles) == [0, 1, 2]
    held = np.stack([right, wrong])
    found = judge_binary(labels, held, threshold=0.5, rng=np.random.default_rng(0), n_resamples=50)
    assert found.metrics["auroc"] == pytest.approx((1.0 + 0.0) / 2)  # their mean would be right about everybody
    one = judge_binary(labels, held[:1], threshold=0.5, rng=np.random.default_rng(0), n_resamples=50)
    assert one == judge_binary(labels, right, threshold=0.5, rng=np.random.default_rng(0), n_resamples=50)
    gained = compare_binary(labels, held[:1], held, thresholds=(0.5, 0.5), rng=np.random.default_rng(0), n_resamples=50)
    assert gained["auroc"].value == pytest.approx(0.5)


def test_a_dealing_that_was_broken_off_is_left_out() -> None:
    labels = np.tile([0, 1], 9)
    roles = deal(labels, config_of(3, 2))
    windows = windows_of(labels, roles, n_weeks=1)
    weeks = np.random.default_rng(0).uniform(size=18)
    assert said_of(windows, [weeks] * 5).held_out.shape == (1, 18)
    assert said_of(windows, [weeks] * 6).held_out.shape == (2, 18)
    assert said_of(windows, [weeks] * 2).held_out.shape == (1, 12)


def test_one_number_for_everybody_ranks_nobody_however_many_weeks() -> None:
    labels = np.tile([0, 1], 20)
    roles = deal(labels, config_of(5, 1))
    owners = np.repeat(np.arange(40), np.arange(40) % 7 + 1)
    base = windows_of(labels, roles, n_weeks=1)
    windows = replace(
        base,
        owners=owners,
        values=np.zeros((len(owners), 10_080), np.float32),
        first_days=np.zeros(len(owners), np.int64),
    )
    said = said_of(windows, [np.full(len(owners), share) for share in (0.41, 0.43, 1 / 3, 0.1, 0.7)])
    assert judge(windows, said).metrics["auroc"] == 0.5
