"""Scores and intervals by person against scipy, scikit-learn and binomial quantiles."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from foresense.evaluate.classification import (
    N_RESAMPLES,
    ClassScores,
    Difference,
    compare_classes,
    judge_classes,
    verdict_of,
)
from foresense.evaluate.confusion import METRICS

CLASSES = ("walk", "sit", "stand")


def world(n_people: int = 12, n: int = 40, *, seed: int = 0, right: float = 0.7) -> tuple[np.ndarray, ...]:
    """Truth, predictions and owners; people differ in how well they are known."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(n_people), n)
    truth = rng.integers(0, 3, n_people * n)
    known = np.clip(rng.normal(right, 0.15, n_people), 0, 1)[owners]
    return truth, np.where(rng.random(len(truth)) < known, truth, rng.integers(0, 3, len(truth))), owners


def judged(truth: np.ndarray, predicted: np.ndarray, owners: np.ndarray, **kwargs: object) -> ClassScores:
    people = [f"P{number:03}" for number in range(owners.max() + 1)]
    return judge_classes(
        truth, predicted, owners, classes=CLASSES, people=people, rng=np.random.default_rng(1), **kwargs
    )


def by_person(n_right: int, n_people: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People with five windows each, all right for the first `n_right` of them and all wrong for the others."""
    owners = np.repeat(np.arange(n_people), 5)
    truth = np.tile([0, 1, 2, 0, 1], n_people)
    return truth, np.where(owners < n_right, truth, (truth + 1) % 3), owners


def test_the_interval_of_accuracy_is_binomial_when_people_are_right_or_wrong_as_a_whole() -> None:
    """A resample then holds Binomial(20, 14/20) right people; windows as units would give a narrower one."""
    found = judged(*by_person(14, 20), n_resamples=40_000).intervals["accuracy"]
    expected = stats.binom.ppf([0.025, 0.975], 20, 14 / 20) / 20
    np.testing.assert_allclose(found, expected, atol=1e-12)
    of_windows = stats.binom.ppf([0.025, 0.975], 100, 14 / 20) / 100
    assert found[1] - found[0] > 2 * (of_windows[1] - of_windows[0])


@pytest.mark.parametrize("name", sorted(METRICS))
def test_intervals_are_scipys_percentile_bootstrap_over_people(name: str) -> None:
    truth, predicted, owners = world()
    pool = np.stack([truth, predicted]).reshape(2, 12, 40)
    measures = {
        "accuracy": sk.accuracy_score,
        "balanced_accuracy": sk.balanced_accuracy_score,
        "macro_f1": lambda t, p: sk.f1_score(t, p, average="macro"),
        "weighted_f1": lambda t, p: sk.f1_score(t, p, average="weighted"),
        "macro_f2": lambda t, p: sk.fbeta_score(t, p, beta=2, average="macro"),
        "macro_precision": lambda t, p: sk.precision_score(t, p, average="macro"),
        "macro_recall": lambda t, p: sk.recall_score(t, p, average="macro"),
        "cohen_kappa": sk.cohen_kappa_score,
        "mcc": sk.matthews_corrcoef,
    }
    theirs = stats.bootstrap(
        (np.arange(12),),
        lambda people: measures[name](pool[0, people].ravel(), pool[1, people].ravel()),
        vectorized=False,
        method="percentile",
        n_resamples=400,
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = judged(truth, predicted, owners).intervals[name]
    width = high - low
    assert abs(low - theirs.low) < 0.2 * width  # two draws of 400 and 2000 resamples
    assert abs(high - theirs.high) < 0.2 * width
    assert 0.75 * width < theirs.high - theirs.low < 1.3 * width


def test_an_interval_is_as_good_as_its_level_says() -> None:
    """Over 200 worlds, the mean accuracy 0.7 lies in about 95 % of the intervals (25 people: a little less)."""
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        owners = np.repeat(np.arange(25), 20)
        known = np.clip(rng.normal(0.7, 0.1, 25), 0.4, 1.0)[owners]
        truth = rng.integers(0, 3, 500)
        predicted = np.where(rng.random(500) < known, truth, (truth + 1) % 3)
        low, high = judged(truth, predicted, owners, n_resamples=400).intervals["accuracy"]
        inside += low <= 0.7 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_prediction_does_not_differ_from_itself() -> None:
    truth, predicted, owners = world()
    found = compare_classes(
        truth, predicted, predicted, owners, n_classes=3, rng=np.random.default_rng(0), sequences=owners
    )
    assert set(found) == {*METRICS, "transition_accuracy"}
    assert all(each == Difference(0.0, (0.0, 0.0)) for each in found.values())
    assert all(verdict_of(name, each.interval) == "not sure" for name, each in found.items())


def test_a_paired_difference_knows_that_the_people_are_the_same() -> None:
    """Better by one window of ten for everybody: certain, though people differ by far more than that."""
    owners = np.repeat(np.arange(10), 10)
    truth = np.tile([0, 1], 50)
    n_right = np.repeat([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10)
    place = np.tile(np.arange(10), 10)
    worse = np.where(place < n_right, truth, 1 - truth)
    better = np.where(place < n_right + 1, truth, 1 - truth)
    found = compare_classes(truth, better, worse, owners, n_classes=2, rng=np.random.default_rng(0))["accuracy"]
    assert found.value == pytest.approx(0.1)
    np.testing.assert_allclose(found.interval, (0.1, 0.1))
    assert verdict_of("accuracy", found.interval) == "ahead"
    low, high = judged(truth, better, owners).intervals["accuracy"]
    assert high - low > 0.3


def test_the_interval_of_a_difference_is_binomial_when_one_wins_some_people_as_a_whole() -> None:
    truth, first, owners = by_person(9, 20)
    second = (truth + 1) % 3
    found = compare_classes(
        truth, first, second, owners, n_classes=3, rng=np.random.default_rng(0), n_resamples=40_000, level=0.9
    )["accuracy"]
    np.testing.assert_allclose(found.interval, stats.binom.ppf([0.05, 0.95], 20, 9 / 20) / 20, atol=1e-12)
    turned = compare_classes(truth, second, first, owners, n_classes=3, rng=np.random.default_rng(0), level=0.9)
    assert turned["accuracy"].value == -found.value
    assert verdict_of("accuracy", turned["accuracy"].interval) == "behind"


def test_people_at_zero_stay_in_the_mean_of_transitions_and_people_without_any_do_not() -> None:
    # A: both transitions right; B: none of its two; C: stays in one class.
    truth = np.array([0, 1, 0, 0, 1, 0, 2, 2, 2])
    predicted = np.array([0, 1, 0, 0, 0, 0, 2, 1, 2])
    owners = np.repeat([0, 1, 2], 3)
    scores = judged(truth, predicted, owners, sequences=owners, n_resamples=20_000)
    found = scores.transitions
    assert found is not None
    assert (found.n_transitions, found.n_people, found.n_people_at_zero) == (4, 2, 1)
    assert (found.mean, found.std) == (0.5, 0.5)
    assert found.interval == (0.0, 1.0)
    rows = scores.per_person
    assert [rows[name].transition_accuracy for name in ("P000", "P001", "P002")] == [1.0, 0.0, None]
    assert [rows[name].n_transitions for name in ("P000", "P001", "P002")] == [2, 2, 0]


def test_the_difference_of_transitions_is_that_of_the_means() -> None:
    truth, predicted, owners = world()
    smoothed = np.where(np.random.default_rng(3).random(len(truth)) < 0.5, truth, predicted)
    found = compare_classes(
        truth, smoothed, predicted, owners, n_classes=3, rng=np.random.default_rng(0), sequences=owners
    )["transition_accuracy"]
    after, before = (judged(truth, each, owners, sequences=owners).transitions for each in (smoothed, predicted))
    assert after is not None
    assert before is not None
    assert found.value == pytest.approx(after.mean - before.mean)
    assert verdict_of("transition_accuracy", found.interval) != "not sure"


def test_nobody_changes_activity() -> None:
    owners = np.array([0, 0, 1, 1])
    scores = judged(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), owners, sequences=owners)
    assert scores.transitions is None
    found = compare_classes(owners, owners, owners, owners, n_classes=2, rng=np.random.default_rng(0), sequences=owners)
    assert "transition_accuracy" not in found


def test_scores_are_told_class_by_class_and_person_by_person() -> None:
    truth, predicted, owners = world(3, 30)
    owners = owners * 2  # people 1 and 3 have no window here
    scores = judged(truth, predicted, owners)
    assert (scores.n_windows, scores.n_people) == (90, 3)
    assert list(scores.per_person) == ["P000", "P002", "P004"]
    np.testing.assert_array_equal(scores.confusion, sk.confusion_matrix(truth, predicted))
    own = owners == 2
    assert scores.per_person["P002"].accuracy == pytest.approx(sk.accuracy_score(truth[own], predicted[own]))
    assert scores.per_person["P002"].macro_f1 == pytest.approx(sk.f1_score(truth[own], predicted[own], average="macro"))
    assert scores.per_person["P002"].n_transitions is None
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted)
    for at, name in enumerate(CLASSES):
        row = scores.per_class[name]
        assert (row.precision, row.recall, row.f1, row.support) == pytest.approx(
            (precision[at], recall[at], f1[at], support[at])
        )
        assert row.f1_interval is not None
        assert row.f1_interval[0] <= row.f1 <= row.f1_interval[1]


def test_a_class_of_one_person_has_its_interval_over_the_resamples_that_hold_it() -> None:
    owners = np.repeat(np.arange(4), 3)
    truth = np.array([0, 1, 2, *[0, 1, 1] * 3])
    row = judged(truth, truth, owners).per_class["stand"]
    assert (row.f1, row.f1_interval, row.support) == (1.0, (1.0, 1.0), 1)


def test_a_class_that_never_occurs_has_no_interval() -> None:
    owners = np.array([0, 1])
    row = judged(np.array([0, 1]), np.array([0, 1]), owners).per_class["stand"]
    assert (row.precision, row.recall, row.f1, row.f1_interval, row.support) == (0.0, 0.0, 0.0, None, 0)


def test_equal_seeds_draw_equal_people_and_a_report_can_hold_the_scores() -> None:
    truth, predicted, owners = world()
    first, second = (judged(truth, predicted, owners, sequences=owners) for _ in range(2))
    assert first == second
    content = json.loads(json.dumps(first.to_json(), allow_nan=False))
    assert content["metrics"]["macro_f1"] == first.metrics["macro_f1"]
    assert content["intervals"]["mcc"] == list(first.intervals["mcc"])
    assert content["confusion"] == [list(row) for row in first.confusion]
    assert content["per_person"]["P003"]["n_windows"] == 40
    assert content["transitions"]["n_people"] == 12
    assert N_RESAMPLES == 2000


def test_what_cannot_be_judged_is_refused() -> None:
    truth, predicted, owners = world(3, 10)
    with pytest.raises(ValueError, match="owners name person 2, but there are names of 2 people"):
        judge_classes(truth, predicted, owners, classes=CLASSES, people=["a", "b"], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"sequence numbers have the shape \(29,\), expected \(30,\)"):
        judged(truth, predicted, owners, sequences=owners[1:])
    with pytest.raises(ValueError, match="windows of sequence 0 do not lie together"):
        judged(truth, predicted, owners, sequences=np.tile([0, 1], 15))


def test_a_verdict_follows_the_interval_and_the_sense_of_its_metric() -> None:
    above, across, below, unknown = (0.1, 0.3), (-0.1, 0.3), (-0.3, -0.1), (np.nan, np.nan)
    intervals = (above, across, below, unknown)
    assert [verdict_of("auroc", one) for one in intervals] == ["ahead", "not sure", "behind", "not sure"]
    assert [verdict_of("rmse", one) for one in intervals] == ["behind", "not sure", "ahead", "not sure"]
