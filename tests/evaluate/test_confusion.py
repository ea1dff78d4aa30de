"""Metrics against scikit-learn on every shape of truth and prediction, and against sums by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

from foresense.evaluate.confusion import (
    METRICS,
    confusion_by_person,
    f_scores,
    precisions,
    recalls,
    transitions_by_person,
)

K = 4
PAIRS = st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K - 1)), min_size=1, max_size=40)


def averaged(truth: np.ndarray, predicted: np.ndarray, average: str, beta: float = 1.0) -> tuple[float, ...]:
    return sk.precision_recall_fscore_support(truth, predicted, average=average, beta=beta, zero_division=0)[:3]


def sklearn_metrics(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", message="A single label was found")
        warnings.filterwarnings("ignore", message=".*have only one label in common", category=UndefinedMetricWarning)
        balanced = sk.balanced_accuracy_score(truth, predicted)
        kappa = sk.cohen_kappa_score(truth, predicted, labels=range(K), replace_undefined_by=0.0)
        precision, recall, f1 = averaged(truth, predicted, "macro")
        return {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": balanced,
            "macro_f1": f1,
            "weighted_f1": averaged(truth, predicted, "weighted")[2],
            "macro_f2": averaged(truth, predicted, "macro", beta=2.0)[2],
            "macro_precision": precision,
            "macro_recall": recall,
            "cohen_kappa": kappa,
            "mcc": sk.matthews_corrcoef(truth, predicted),
        }


@settings(max_examples=150, deadline=None)
@given(PAIRS)
@example([(0, 0), (0, 0)])  # one class on both sides: kappa and correlation are 0 by convention
@example([(0, 1), (0, 1)])  # nothing right, no class on both sides
@example([(0, 2), (1, 0), (1, 1)])  # a class that is only predicted
@example([(3, 0), (0, 0)])  # a class that is never predicted
def test_every_metric_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    _, matrices = confusion_by_person(truth, predicted, np.zeros(len(truth), int), K)
    expected = sklearn_metrics(truth, predicted)
    assert set(METRICS) == set(expected)
    for name, metric in METRICS.items():
        assert metric(matrices[0]) == pytest.approx(expected[name], abs=1e-12), name


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.sampled_from([0.5, 1.0, 2.0]))
def test_every_class_has_scikit_learns_rates(pairs: list[tuple[int, int]], beta: float) -> None:
    truth, predicted = np.array(pairs).T
    _, (matrix,) = confusion_by_person(truth, predicted, np.zeros(len(truth), int), K)
    expected = sk.precision_recall_fscore_support(truth, predicted, labels=range(K), beta=beta, zero_division=0)
    found = precisions(matrix), recalls(matrix), f_scores(matrix, beta), matrix.sum(1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([2, 5, 9])), min_size=1, max_size=60))
def test_the_matrix_of_a_person_is_scikit_learns_of_the_person_alone(rows: list[tuple[int, int, int]]) -> None:
    truth, predicted, owners = np.array(rows).T
    people, matrices = confusion_by_person(truth, predicted, owners, 3)
    assert people.tolist() == sorted(set(owners.tolist()))
    for person, matrix in zip(people, matrices, strict=True):
        own = owners == person
        np.testing.assert_array_equal(
            matrix, sk.confusion_matrix(truth[own], predicted[own], labels=[0, 1, 2]).astype(float)
        )


def test_a_stack_of_matrices_is_its_matrices_one_by_one() -> None:
    matrices = np.random.default_rng(0).integers(0, 5, (7, 2, K, K)).astype(float)
    matrices[0, 0] = np.diag([3.0, 0, 0, 0])
    for name, metric in METRICS.items():
        one_by_one = [[float(metric(matrix)) for matrix in pair] for pair in matrices]
        np.testing.assert_array_equal(metric(matrices), one_by_one, err_msg=name)


def test_correlation_and_kappa_of_a_million_windows_keep_their_digits() -> None:
    matrix = np.array([[900_000.0, 10.0], [20.0, 5.0]])
    # Two classes: Matthews 1975 in closed form, (TP TN - FP FN) / sqrt of the product of the margins.
    tp, fn, fp, tn = 5, 20, 10, 900_000
    expected = (tp * tn - fp * fn) / np.sqrt(float((tp + fp) * (tp + fn)) * float((tn + fp) * (tn + fn)))
    assert METRICS["mcc"](matrix) == pytest.approx(expected, rel=1e-9)
    # Cohen 1960 for two classes: 2 (TP TN - FP FN) / ((TP + FP)(FP + TN) + (TP + FN)(FN + TN)).
    kappa = 2 * (tp * tn - fp * fn) / ((tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))
    assert METRICS["cohen_kappa"](matrix) == pytest.approx(kappa, rel=1e-9)


def test_a_transition_needs_both_windows_and_no_gap() -> None:
    #                  person 3: right, left window wrong; gap; person 7: right window wrong; none: person 8
    owners = np.array([3, 3, 3, 3, 3, 7, 7, 8, 8])
    sequences = np.array([0, 0, 0, 0, 1, 2, 2, 3, 3])
    truth = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1])
    predicted = np.array([0, 1, 0, 0, 1, 0, 0, 1, 1])
    n_transitions, n_right = transitions_by_person(truth, predicted, owners, sequences)
    assert n_transitions.tolist() == [2, 1, 0]
    assert n_right.tolist() == [1, 0, 0]


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=60))
def test_transitions_are_those_of_a_loop_over_neighbours(rows: list[tuple[int, int, int, int]]) -> None:
    truth, predicted, owners, sequences = np.array(sorted(rows, key=lambda row: row[2:])).T
    people = sorted(set(owners.tolist()))
    expected = {person: [0, 0] for person in people}
    for at in range(1, len(truth)):
        alone = owners[at] == owners[at - 1] and sequences[at] == sequences[at - 1]
        if alone and truth[at] != truth[at - 1]:
            expected[int(owners[at])][0] += 1
            expected[int(owners[at])][1] += int((truth[at - 1 : at + 1] == predicted[at - 1 : at + 1]).all())
    n_transitions, n_right = transitions_by_person(truth, predicted, owners, sequences)
    assert [list(pair) for pair in zip(n_transitions, n_right, strict=True)] == list(expected.values())


def test_what_is_no_classification_is_refused() -> None:
    good = np.array([0, 1])
    with pytest.raises(
        ValueError, match=r"one length, at least one window, found \{'truth': \(2,\), 'predicted': \(1,"
    ):
        confusion_by_person(good, good[:1], good, 2)
    with pytest.raises(ValueError, match="at least one window"):
        confusion_by_person(good[:0], good[:0], good[:0], 2)
    with pytest.raises(ValueError, match="predicted must be integers from 0 below 2, found int64 from 0 to 2"):
        confusion_by_person(good, np.array([0, 2]), good, 2)
    with pytest.raises(ValueError, match="truth must be integers from 0 below 2, found float64"):
        confusion_by_person(good.astype(float), good, good, 2)
    with pytest.raises(ValueError, match="owners must be integers from 0, found int64 from -1"):
        confusion_by_person(good, good, np.array([-1, 0]), 2)
