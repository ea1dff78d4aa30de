"""Scores of a yes or no against scikit-learn, scipy's bootstrap and binomial quantiles."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from foresense.evaluate import binary
from foresense.evaluate.binary import (
    BINARY_METRICS,
    BinaryError,
    OneClassError,
    UnusableScoreError,
    best_threshold,
    compare_binary,
    judge_binary,
)
from foresense.evaluate.classification import Difference, verdict_of

#: Metric -> scikit-learn's, of truth, scores and what is said.
THEIRS = {
    "auroc": lambda truth, scores, said: sk.roc_auc_score(truth, scores),
    "auprc": lambda truth, scores, said: sk.average_precision_score(truth, scores),
    "brier": lambda truth, scores, said: sk.brier_score_loss(truth, scores),
    "log_loss": lambda truth, scores, said: sk.log_loss(truth, np.column_stack([1 - scores, scores]), labels=[0, 1]),
    "sensitivity": lambda truth, scores, said: sk.recall_score(truth, said),
    "specificity": lambda truth, scores, said: sk.recall_score(truth, said, pos_label=0),
    "f1": lambda truth, scores, said: sk.f1_score(truth, said, zero_division=0),
}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes, and scores with many ties."""
    n = draw(st.integers(2, 40))
    truth = np.array(draw(st.permutations([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))])))
    return truth, np.array(draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))) / 6


def world(n: int = 120, *, seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.3).astype(int)
    return truth, 1 / (1 + np.exp(1 - skill * truth - rng.normal(size=n)))


@settings(max_examples=60, deadline=None)
@given(drawn=worlds(), threshold=st.sampled_from([0.0, 1 / 6, 0.5, 0.9, 1.0]))
def test_every_metric_is_scikit_learns_ties_included(drawn, threshold) -> None:
    truth, scores = drawn
    found = judge_binary(truth, scores, threshold=threshold, rng=np.random.default_rng(0), n_resamples=2)
    expected = {name: metric(truth, scores, scores >= threshold) for name, metric in THEIRS.items()}
    assert set(found.metrics) == set(BINARY_METRICS) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found.metrics[name], value, rtol=1e-10, atol=1e-12, err_msg=name)
    assert (found.n, found.n_positive, found.prevalence) == (len(truth), truth.sum(), truth.mean())


@settings(max_examples=50, deadline=None)
@given(drawn=worlds())
def test_no_threshold_has_a_higher_f1_on_validation(drawn) -> None:
    truth, scores = drawn
    best = best_threshold(truth, scores)
    f1 = {limit: sk.f1_score(truth, scores >= limit, zero_division=0) for limit in np.unique(scores).tolist()}
    assert f1[best] == max(f1.values())
    assert best == max(limit for limit, value in f1.items() if value == pytest.approx(f1[best]))


@pytest.mark.parametrize("name", BINARY_METRICS)
def test_intervals_are_scipys_bootstrap_of_two_samples(name: str) -> None:
    truth, scores = world()

    def statistic(no: np.ndarray, yes: np.ndarray) -> float:
        both = np.concatenate([no, yes])
        return THEIRS[name](np.repeat([0, 1], [len(no), len(yes)]), both, both >= 0.5)

    reference = stats.bootstrap(
        (scores[truth == 0], scores[truth == 1]),
        statistic,
        vectorized=False,
        method="percentile",
        n_resamples=200,
        rng=np.random.default_rng(3),
    ).confidence_interval
    low, high = judge_binary(truth, scores, threshold=0.5, rng=np.random.default_rng(1)).intervals[name]
    assert low < THEIRS[name](truth, scores, scores >= 0.5) < high
    assert abs(low - reference.low) < 0.3 * (high - low)  # two draws, of 200 and 2000 resamples
    assert abs(high - reference.high) < 0.3 * (high - low)


def test_the_interval_of_sensitivity_is_binomial_of_the_positives_alone() -> None:
    """14 of 20 positives found: a resample finds Binomial(20, 0.7); what happens to negatives does not matter."""
    truth = np.repeat([1, 0], [20, 180])
    scores = np.where(np.arange(200) < 14, 0.9, 0.1)
    found = judge_binary(truth, scores, threshold=0.5, rng=np.random.default_rng(0), n_resamples=40_000)
    expected = stats.binom.ppf([0.025, 0.975], 20, 0.7) / 20
    np.testing.assert_allclose(found.intervals["sensitivity"], expected, atol=1e-12)
    assert found.intervals["specificity"] == (1.0, 1.0)


def test_resamples_in_chunks_are_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 resamples: every one holds as many of both classes as there are."""
    truth, _ = world()
    monkeypatch.setattr(binary, "_CHUNK_VALUES", 1000)
    drawn = list(binary._resamples(truth == 1, np.random.default_rng(0), 50))
    assert [len(part) for part in drawn] == [8] * 6 + [2]
    both = np.concatenate(drawn)
    assert (both[:, truth == 1].sum(axis=1) == truth.sum()).all()
    assert (both.sum(axis=1) == len(truth)).all()
    assert (both.std(axis=0) > 0).all()


def test_a_prediction_does_not_differ_from_itself() -> None:
    truth, scores = world()
    found = compare_binary(truth, scores, scores.copy(), thresholds=(0.5, 0.5), rng=np.random.default_rng(0))
    assert found == dict.fromkeys(BINARY_METRICS, Difference(0.0, (0.0, 0.0)))


def test_a_paired_difference_knows_that_the_recordings_are_the_same() -> None:
    """A little better for every recording is certain, though both intervals overlap; swapped, it turns its sign."""
    truth, scores = world(80)
    better = np.clip(scores + np.where(truth == 1, 0.02, -0.02), 0, 1)
    found = compare_binary(truth, better, scores, thresholds=(0.5, 0.5), rng=np.random.default_rng(0))
    one, other = (judge_binary(truth, each, threshold=0.5, rng=np.random.default_rng(0)) for each in (better, scores))
    for name, sign in (("auroc", 1), ("auprc", 1), ("brier", -1), ("log_loss", -1)):
        assert found[name].value == pytest.approx(one.metrics[name] - other.metrics[name])
        assert verdict_of(name, found[name].interval) == "ahead"
        assert np.sign(found[name].value) == sign
        assert one.intervals[name][0] < other.intervals[name][1]
        assert other.intervals[name][0] < one.intervals[name][1]
    swapped = compare_binary(truth, scores, better, thresholds=(0.5, 0.5), rng=np.random.default_rng(0))
    for name in BINARY_METRICS:
        low, high = found[name].interval
        np.testing.assert_allclose([swapped[name].value, *swapped[name].interval], [-found[name].value, -high, -low])


def test_each_recording_may_have_the_threshold_of_its_fold() -> None:
    truth = np.array([1, 0, 1, 0])
    scores = np.array([0.3, 0.2, 0.9, 0.8])
    found = judge_binary(truth, scores, threshold=np.array([0.25, 0.25, 0.85, 0.85]), rng=np.random.default_rng(0))
    assert found.metrics["f1"] == found.metrics["specificity"] == 1.0
    assert found.metrics["auroc"] == 0.75


def test_a_report_is_json() -> None:
    truth, scores = world()
    found = judge_binary(truth, scores, threshold=0.5, rng=np.random.default_rng(0), n_resamples=10)
    assert json.loads(json.dumps(found.to_json()))["metrics"] == found.metrics


@pytest.mark.parametrize(
    ("truth", "scores", "threshold", "kind", "message"),
    [
        ([0, 1, 1], [0.1, np.nan, 0.3], 0.5, UnusableScoreError, r"1 of 3 are no probability \(row 1: nan\).*answer"),
        ([0, 1, 1], [0.1, 2.5, 0.3], 0.5, UnusableScoreError, r"row 1: 2\.5.*rather than logits"),
        ([0, 1, 1], [0.1, 0.2, 0.3], np.nan, UnusableScoreError, "threshold: NaN; choose it on validation"),
        ([1, 1, 1], [0.1, 0.2, 0.3], 0.5, OneClassError, "3 recordings of class 1 and 0 of class 0"),
        ([], [], 0.5, OneClassError, "0 recordings of class 1 and 0 of class 0"),
        ([0, 1, 2], [0.1, 0.2, 0.3], 0.5, BinaryError, r"expected \(n,\) of 0 and 1, found shape \(3,\) with \[2\]"),
        ([0, 1, np.nan], [0.1, 0.2, 0.3], 0.5, BinaryError, r"with \[nan\]; leave out"),
        ([0, 1], [0.1, 0.2, 0.3], 0.5, BinaryError, r"scores: expected \(2,\).*found \(3,\)"),
        ([0, 1], [0.1, 0.2], np.zeros(3), BinaryError, r"one number or \(2,\).*found \(3,\)"),
    ],
)
def test_what_cannot_be_judged_is_refused(truth, scores, threshold, kind, message) -> None:
    with pytest.raises(kind, match=message):
        judge_binary(np.array(truth), np.array(scores), threshold=threshold, rng=np.random.default_rng(0))


def test_a_bootstrap_needs_a_resample() -> None:
    truth, scores = world()
    with pytest.raises(BinaryError, match="n_resamples: expected at least 1, found 0"):
        judge_binary(truth, scores, threshold=0.5, rng=np.random.default_rng(0), n_resamples=0)
