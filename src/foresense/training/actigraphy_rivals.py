"""What a network of weeks has to beat: linear models and boosted trees on metrics of a week, fitted on people.

Penalty and rounds are chosen inside the training part by groups of people: one person's weeks are never on both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Penalties of the logistic regression (scikit-learn's C), from strong to weak.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Rounds of the boosted trees.
ROUNDS = (10, 30, 100)
#: Groups of people inside the training part that choose.
N_INNER = 4
#: Metrics that are a time of day, in hours: 23 and 1 are neighbours, so each becomes a sine and a cosine.
CLOCK = ("l5_onset", "m10_onset", "acrophase")


class RivalError(ValueError):
    """A rival that cannot be fitted or asked; the message says why."""


@dataclass(frozen=True, eq=False)
class LogisticRule:
    """A logistic regression that a device can compute: no library, one product.

    Attributes:
        names: Of the inputs.
        fill: (n_inputs,): stands where an input is NaN: the median of the training weeks.
        mean: (n_inputs,), of the training weeks.
        deviation: (n_inputs,), > 0.
        weights: (n_inputs,), of the standardised inputs.
        bias: Log odds at the mean.
    """

    names: tuple[str, ...]
    fill: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: float

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """(n, n_inputs), NaN where unknown, to the probability (n,) of the label."""
        known = np.where(np.isnan(inputs), self.fill, inputs)
        odds = (known - self.mean) / self.deviation @ self.weights + self.bias
        return np.asarray(1 / (1 + np.exp(-odds)))

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        arrays = {name: getattr(self, name).tolist() for name in ("fill", "mean", "deviation", "weights")}
        return {"names": list(self.names), **arrays, "bias": self.bias}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "LogisticRule":
        """Of what `to_json` gave.

        Raises:
            RivalError: numbers that do not belong to one rule.
        """
        arrays = {name: np.array(found[name], np.float64) for name in ("fill", "mean", "deviation", "weights")}
        rule = cls(names=tuple(found["names"]), **arrays, bias=float(found["bias"]))
        lengths = {name: len(one) for name, one in arrays.items()}
        if set(lengths.values()) != {len(rule.names)} or (rule.deviation <= 0).any():
            raise RivalError(
                f"a logistic rule of {len(rule.names)} inputs has {lengths}, and deviations from "
                f"{rule.deviation.min():g}; expected one of each, above 0: train it again"
            )
        return rule


def turned(names: Sequence[str], values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Metrics as a model takes them: a time of day becomes a sine and a cosine.

    Args:
        names: Of the columns.
        values: (n, n_names), NaN where undefined; times of day in hours.
    """
    columns: list[np.ndarray] = []
    found: list[str] = []
    for name, column in zip(names, values.T, strict=True):
        if name in CLOCK:
            angle = column * (2 * np.pi / 24)
            found += [f"{name}_sin", f"{name}_cos"]
            columns += [np.sin(angle), np.cos(angle)]
        else:
            found.append(name)
            columns.append(column)
    return tuple(found), np.stack(columns, axis=1)


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
        raise RivalError(f"no training week has a value of {empty}; leave these inputs out")
    fill = np.nanmedian(inputs, axis=0)
    known = np.where(np.isnan(inputs), fill, inputs)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    search = GridSearchCV(
        LogisticRegression(class_weight="balanced", max_iter=2000),
        {"C": list(PENALTIES)},
        scoring="neg_log_loss",
        cv=_inner(labels, owners, seed),
    )
    search.fit((known - mean) / deviation, labels, sample_weight=_equal_people(owners))
    best = search.best_estimator_
    rule = LogisticRule(tuple(names), fill, mean, deviation, best.coef_[0], float(best.intercept_[0]))
    return rule, float(search.best_params_["C"])


def fit_boosting(inputs: np.ndarray, labels: np.ndarray, owners: np.ndarray, *, seed: int) -> tuple[Any, int]:
    """Fit boosted trees on weeks of training people; NaN is a value of its own.

    Returns:
        A fitted HistGradientBoostingClassifier, and the rounds that were chosen.

    Raises:
        RivalError: labels of one class only.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import GridSearchCV
    from threadpoolctl import threadpool_limits

    _require_two(labels)
    trees = HistGradientBoostingClassifier(
        learning_rate=0.1, max_depth=3, min_samples_leaf=5, class_weight="balanced", random_state=seed
    )
    search = GridSearchCV(trees, {"max_iter": list(ROUNDS)}, scoring="neg_log_loss", cv=_inner(labels, owners, seed))
    with threadpool_limits(1):  # a hundred weeks: threads that wait for each other take longer than the sums
        search.fit(inputs, labels, sample_weight=_equal_people(owners))
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


def _equal_people(owners: np.ndarray) -> np.ndarray:
    """(n,): weights by which each person counts once, however many weeks there are."""
    return np.asarray(1.0 / np.bincount(owners)[owners])


def _require_two(labels: np.ndarray) -> None:
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise RivalError(f"labels {np.unique(labels).tolist()}; expected 0 and 1, both of them")
