"""Confusion matrices by person, and every metric that is a function of one; all on stacks of matrices at once.

Which classes count, as scikit-learn has it: a macro average is over the classes that occur in truth or prediction; a
precision or recall without a denominator is 0; balanced accuracy is over the classes that occur in truth.
"""

from collections.abc import Callable

import numpy as np


def accuracy(matrices: np.ndarray) -> np.ndarray:
    """Share of windows predicted right: (..., k, k) -> (...)."""
    return np.asarray(_hits(matrices).sum(-1) / matrices.sum((-2, -1)))


def balanced_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur in truth: (..., k, k) -> (...)."""
    n_classes = (matrices.sum(-1) > 0).sum(-1)
    return np.asarray(recalls(matrices).sum(-1) / n_classes)


def precisions(matrices: np.ndarray) -> np.ndarray:
    """Precision of each class: (..., k, k) -> (..., k)."""
    return _ratio(_hits(matrices), matrices.sum(-2))


def recalls(matrices: np.ndarray) -> np.ndarray:
    """Recall of each class: (..., k, k) -> (..., k)."""
    return _ratio(_hits(matrices), matrices.sum(-1))


def f_scores(matrices: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """F of each class, (1 + β²) TP / ((1 + β²) TP + β² FN + FP): (..., k, k) -> (..., k); β > 1 favours recall.

    Source: van Rijsbergen, Information Retrieval, 1979, chapter 7.
    """
    return _ratio((1 + beta**2) * _hits(matrices), beta**2 * matrices.sum(-1) + matrices.sum(-2))


def weighted_f1(matrices: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes, weighted by their windows: (..., k, k) -> (...)."""
    return np.asarray((f_scores(matrices) * matrices.sum(-1)).sum(-1) / matrices.sum((-2, -1)))


def cohen_kappa(matrices: np.ndarray) -> np.ndarray:
    """Agreement beyond chance, (p_o - p_e) / (1 - p_e); 0 where chance agrees always (one class on both sides).

    (..., k, k) -> (...).

    Source: Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20, 1960.
    """
    total = matrices.sum((-2, -1))
    by_chance = (matrices.sum(-1) * matrices.sum(-2)).sum(-1) / total
    return _ratio(_hits(matrices).sum(-1) - by_chance, total - by_chance)


def matthews(matrices: np.ndarray) -> np.ndarray:
    """Matthews correlation of k classes; 0 where truth or prediction holds one class only.

    (..., k, k) -> (...).

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Computational
    Biology and Chemistry 28, 2004, eq. 8.
    """
    total, truth, predicted = matrices.sum((-2, -1)), matrices.sum(-1), matrices.sum(-2)
    covariance = _hits(matrices).sum(-1) * total - (truth * predicted).sum(-1)
    spread = np.sqrt(total**2 - (truth**2).sum(-1)) * np.sqrt(total**2 - (predicted**2).sum(-1))
    return _ratio(covariance, spread)


#: Name -> function of float confusion matrices (..., k, k) to (...).
METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": lambda matrices: _over_occurring(f_scores(matrices), matrices),
    "weighted_f1": weighted_f1,
    "macro_f2": lambda matrices: _over_occurring(f_scores(matrices, 2.0), matrices),
    "macro_precision": lambda matrices: _over_occurring(precisions(matrices), matrices),
    "macro_recall": lambda matrices: _over_occurring(recalls(matrices), matrices),
    "cohen_kappa": cohen_kappa,
    "mcc": matthews,
}


def confusion_by_person(
    truth: np.ndarray, predicted: np.ndarray, owners: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Confusion matrix of each person.

    Args:
        truth: (n,), int, true class.
        predicted: (n,), int.
        owners: (n,), int: index of the person.
        n_classes: k.

    Returns:
        people (n_people,): the indices that occur, ascending; matrices (n_people, k, k), float64 (whole numbers).

    Raises:
        ValueError: no windows, lengths that differ, classes that are no integers below k.
    """
    _check(n_classes, truth=truth, predicted=predicted, owners=owners)
    people, person = np.unique(owners, return_inverse=True)
    cells = (person * n_classes + truth) * n_classes + predicted
    counts = np.bincount(cells, minlength=len(people) * n_classes**2)
    return people, counts.reshape(len(people), n_classes, n_classes).astype(np.float64)


def transitions_by_person(
    truth: np.ndarray, predicted: np.ndarray, owners: np.ndarray, sequences: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Transitions of each person that occurs in `owners`, and how many are right (see `Transitions`).

    Args:
        truth: (n,), int; windows in order of time within a sequence.
        predicted: (n,), int.
        owners: (n,), int.
        sequences: (n,), int: a new number begins after every gap (`hmm.sequences_of`).

    Returns:
        n_transitions (n_people,), n_right (n_people,), int, people ascending.
    """
    _, person = np.unique(owners, return_inverse=True)
    right = truth == predicted
    changes = (truth[1:] != truth[:-1]) & (sequences[1:] == sequences[:-1]) & (person[1:] == person[:-1])
    n_people = person.max() + 1
    n_transitions = np.bincount(person[1:][changes], minlength=n_people)
    return n_transitions, np.bincount(person[1:][changes & right[1:] & right[:-1]], minlength=n_people)


def _hits(matrices: np.ndarray) -> np.ndarray:
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def occurs(matrices: np.ndarray) -> np.ndarray:
    """(..., k): the class is in truth or prediction."""
    return np.asarray(matrices.sum(-1) + matrices.sum(-2) > 0)


def _over_occurring(values: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    return np.asarray(values.sum(-1) / occurs(matrices).sum(-1))  # a class that does not occur has the value 0


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above through below, 0 where below is 0."""
    return np.asarray(np.divide(above, below, out=np.zeros_like(above, np.float64), where=below != 0))


def _check(n_classes: int, **columns: np.ndarray) -> None:
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or len(columns["truth"].shape) != 1 or columns["truth"].size == 0:
        raise ValueError(f"expected columns of one length, at least one window, found {shapes}")
    for name, column in columns.items():
        below = n_classes if name != "owners" else None
        if not np.issubdtype(column.dtype, np.integer) or column.min() < 0 or (below and column.max() >= below):
            upper = "" if below is None else f" below {below}"
            raise ValueError(
                f"{name} must be integers from 0{upper}, found {column.dtype} from {column.min()} to {column.max()}"
            )
