"""What a network of weeks has to beat: linear models and boosted trees on metrics of a week, fitted on people.

Penalty and rounds are chosen inside the training part by groups of people: one person's weeks are never on both sides.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from foresense.models.logistic_rule import LogisticRule

#: Penalties of the logistic regression (scikit-learn's C), from strong to weak.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Rounds of the boosted trees.
ROUNDS = (10, 30, 100)
#: Groups of people inside the training part that choose.
N_INNER = 4


class RivalError(ValueError):
    """A rival that cannot be fitted or asked; the message says why."""


def fit_logistic(
    names: Sequence[str], inputs: np.ndarray, labels: np.ndarray, owners: np.ndarray, *, seed: int
) -> tuple[LogisticRule, float]:
    """Fit on weeks of training people; classes weigh the same, and so do people.

    Args:
        names: Of the inputs.
        inputs: (n, n_inputs), NaN where unknown.
        labels: (n,), 0 or 1.
        owners: (n,): the person of each week.
        seed: Of the inner groups.

    Returns:
        The rule, and the penalty that was chosen.

    Raises:
        RivalError: labels of one class only, or an input that no week has.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    _require_two(labels)
    empty = [name for name, column in zip(names, inputs.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise RivalError(f"no training week has a value of {empty}; bring more people, or loosen window.wear")
    fill = np.nanmedian(inputs, axis=0)
    known = np.where(np.isnan(inputs), fill, inputs)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    search = GridSearchCV(
        LogisticRegression(max_iter=2000),
        {"C": list(PENALTIES)},
        scoring="neg_log_loss",
        cv=_inner(labels, owners, seed),
    )
    search.fit((known - mean) / deviation, labels, sample_weight=equal_people(labels, owners))
    best = search.best_estimator_
    rule = LogisticRule(tuple(names), fill, mean, deviation, best.coef_[0], float(best.intercept_[0]))
    return rule, float(search.best_params_["C"])


def fit_boosting(inputs: np.ndarray, labels: np.ndarray, owners: np.ndarray, *, seed: int) -> tuple[Any, int]:
    """Fit boosted trees on weeks of training people; NaN is a value of its own.

    Args:
        inputs: (n, n_inputs), NaN where unknown.
        labels: (n,), 0 or 1.
        owners: (n,): the person of each week.
        seed: Of the inner groups and of the trees.

    Returns:
        A fitted HistGradientBoostingClassifier, and the rounds that were chosen.

    Raises:
        RivalError: labels of one class only.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import GridSearchCV
    from threadpoolctl import threadpool_limits

    _require_two(labels)
    trees = HistGradientBoostingClassifier(learning_rate=0.1, max_depth=3, min_samples_leaf=5, random_state=seed)
    search = GridSearchCV(trees, {"max_iter": list(ROUNDS)}, scoring="neg_log_loss", cv=_inner(labels, owners, seed))
    with threadpool_limits(1):  # a hundred weeks: threads that wait for each other take longer than the sums
        search.fit(inputs, labels, sample_weight=equal_people(labels, owners))
    return search.best_estimator_, int(search.best_params_["max_iter"])


def _inner(labels: np.ndarray, owners: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups of people inside the training part, each with both labels."""
    from sklearn.model_selection import StratifiedGroupKFold

    people_of = [len(np.unique(owners[labels == label])) for label in (0, 1)]
    n_groups = min(N_INNER, *people_of)
    if n_groups < 2:
        raise RivalError(f"{people_of} training people of each label; expected two of each at least: bring more people")
    folds = StratifiedGroupKFold(n_groups, shuffle=True, random_state=seed)
    return list(folds.split(np.empty((len(labels), 1)), labels, owners))


def equal_people(labels: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """(n,), mean 1: weights by which people count alike, however many weeks they have, and so do both labels."""
    of_people = 1.0 / np.bincount(owners)[owners]
    sums = np.array([of_people[labels == label].sum() for label in (0, 1)])
    weights = of_people / sums[labels]
    return np.asarray(weights / weights.mean())


def _require_two(labels: np.ndarray) -> None:
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise RivalError(f"labels {np.unique(labels).tolist()}; expected 0 and 1, both of them")
