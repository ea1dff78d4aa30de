"""Rivals of a network of weeks: a rule that a device computes, fitted on people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from foresense.models.logistic_rule import LogisticRule, RuleError, turned
from foresense.training.actigraphy_rivals import PENALTIES, RivalError, equal_people, fit_boosting, fit_logistic


def people(n_people: int = 40, n_weeks: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of which the first tells the label, labels, owners."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(n_people), n_weeks)
    labels = owners % 2
    inputs = rng.normal(size=(len(owners), 3)) * [1, 10, 0.1] + [0, 500, 1]
    inputs[:, 0] += labels * 2
    inputs[::7, 1] = np.nan
    return inputs, labels, owners


def test_a_rule_is_what_scikit_learn_fits_on_the_same_standardised_inputs() -> None:
    inputs, labels, owners = people()
    rule, penalty = fit_logistic(("a", "b", "c"), inputs, labels, owners, seed=0)
    assert penalty in PENALTIES
    known = np.where(np.isnan(inputs), np.nanmedian(inputs, axis=0), inputs)
    scaled = (known - known.mean(axis=0)) / known.std(axis=0)
    theirs = LogisticRegression(C=penalty, max_iter=2000).fit(scaled, labels)  # as many weeks and people of each label
    np.testing.assert_allclose(rule.probabilities(inputs), theirs.predict_proba(scaled)[:, 1], atol=1e-12)


def test_a_rule_survives_json_and_refuses_what_is_none() -> None:
    inputs, labels, owners = people()
    rule, _ = fit_logistic(("a", "b", "c"), inputs, labels, owners, seed=0)
    again = LogisticRule.from_json(rule.to_json())
    np.testing.assert_array_equal(again.probabilities(inputs), rule.probabilities(inputs))
    with pytest.raises(RuleError, match=r"a logistic rule of 3 inputs has .*'weights': 2.*train it again"):
        LogisticRule.from_json({**rule.to_json(), "weights": [1.0, 2.0]})


def test_a_missing_value_counts_as_the_median_of_the_training_weeks() -> None:
    inputs, labels, owners = people()
    rule, _ = fit_logistic(("a", "b", "c"), inputs, labels, owners, seed=0)
    row = inputs[1:2].copy()
    row[0, 1] = np.nan
    filled = row.copy()
    filled[0, 1] = np.nanmedian(inputs[:, 1])
    assert rule.probabilities(row) == rule.probabilities(filled)


def test_people_weigh_the_same_however_many_weeks_they_have() -> None:
    inputs, labels, owners = people(n_weeks=1)
    rows = np.append(np.arange(len(owners)), np.zeros(9, int))  # the first person ten times
    one, _ = fit_logistic(("a", "b", "c"), inputs, labels, owners, seed=0)
    many, _ = fit_logistic(("a", "b", "c"), inputs[rows], labels[rows], owners[rows], seed=0)
    few, _ = fit_logistic(("a", "b", "c"), inputs[rows], labels[rows], np.arange(len(rows)), seed=0)
    assert abs(many.bias - one.bias) < abs(few.bias - one.bias)


def test_people_count_alike_and_so_do_both_labels() -> None:
    owners = np.array([0, 0, 0, 1, 2, 2])
    labels = np.array([1, 1, 1, 0, 0, 0])
    weights = equal_people(labels, owners)
    np.testing.assert_allclose(np.bincount(owners, weights=weights), [3.0, 1.5, 1.5])
    assert weights.mean() == pytest.approx(1.0)


def test_trees_rank_people_that_they_have_not_seen() -> None:
    inputs, labels, owners = people(n_people=80)
    train = owners < 40
    trees, n_rounds = fit_boosting(inputs[train], labels[train], owners[train], seed=0)
    said = trees.predict_proba(inputs[~train])[:, 1]
    assert n_rounds in (10, 30, 100)
    assert roc_auc_score(labels[~train], said) > 0.85


def test_one_label_or_an_empty_input_is_refused() -> None:
    inputs, labels, owners = people()
    with pytest.raises(RivalError, match="expected 0 and 1, both"):
        fit_logistic(("a", "b", "c"), inputs, np.zeros_like(labels), owners, seed=0)
    inputs[:, 2] = np.nan
    with pytest.raises(RivalError, match=r"no training week has a value of \['c'\]"):
        fit_logistic(("a", "b", "c"), inputs, labels, owners, seed=0)


@given(hour=st.floats(0, 24, allow_nan=False))
def test_a_time_of_day_has_no_edge_at_midnight(hour: float) -> None:
    names, found = turned(("l5_onset", "mesor"), np.array([[hour, 5.0], [(hour + 24) % 24, 5.0]]))
    assert names == ("l5_onset_sin", "l5_onset_cos", "mesor")
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    np.testing.assert_allclose(found[0, 0] ** 2 + found[0, 1] ** 2, 1.0, atol=1e-12)
