"""What a detector has to beat: a plane, forests and a Gaussian on statistics, and a plane through normal inputs.

Everything that they learn comes from the training part. scikit-learn is imported where it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from foresense.models.density import fit_density
from foresense.signals.clips import NORMAL

#: Names of the rivals. The first two learn from both kinds of clips, the others from normal ones alone.
ANOMALY_RIVALS = ("logistic", "forest", "gaussian", "pca", "isolation_forest")
#: Those that tell conditions apart as well.
CONDITION_RIVALS = ("logistic", "forest")
N_TREES = 300
#: Share of the variance of normal training inputs that the plane keeps.
KEPT_VARIANCE = 0.9


class AnomalyRivalError(ValueError):
    """A rival cannot learn from these clips; the message says what, expected, found, and what to do."""


@dataclass(frozen=True, eq=False)
class RivalInputs:
    """What rivals look at, for one part.

    Attributes:
        inputs: (n, ...): what the networks see.
        statistics: (n, n_features): `features.picture_statistics` of the same clips.
        labels: (n,), int64: condition, NORMAL or another.
    """

    inputs: np.ndarray
    statistics: np.ndarray
    labels: np.ndarray


def rival_scores(name: str, train: RivalInputs, others: tuple[RivalInputs, ...], *, seed: int) -> list[np.ndarray]:
    """Train a rival and let it score other parts: (n,) each, higher is more anomalous.

    `logistic`: probability of an anomaly by logistic regression on standardised statistics, both kinds weighing the
    same. `forest`: likewise by a random forest (Breiman, Random Forests, 2001). `gaussian`: squared Mahalanobis
    distance of standardised statistics from those of normal training clips (`models.density`). `pca`: mean squared
    distance of an input from the plane through normal training inputs that keeps 90 % of their variance.
    `isolation_forest`: on statistics of normal training clips (Liu, Ting and Zhou, Isolation Forest, ICDM 2008).

    Args:
        name: In ANOMALY_RIVALS.
        train: The training part.
        others: Parts to score, without a look at their labels.
        seed: Of the trees.

    Raises:
        AnomalyRivalError: no such rival, fewer than two normal training clips, or for the first two no other.
    """
    if name not in _RIVALS:
        raise AnomalyRivalError(f"no rival {name!r} (known: {', '.join(ANOMALY_RIVALS)})")
    n_normal = int((train.labels == NORMAL).sum())
    if n_normal < 2:
        raise AnomalyRivalError(
            f"rival {name!r}: {n_normal} normal training clips, and it needs at least 2; give the training part more"
        )
    if name in CONDITION_RIVALS and n_normal == len(train.labels):
        raise AnomalyRivalError(
            f"rival {name!r}: the training part has only normal clips, and it learns from both kinds; hold out fewer "
            "anomalous recordings"
        )
    score = _RIVALS[name](train, seed)
    return [score(part) for part in others]


def rival_conditions(
    name: str, train: RivalInputs, others: tuple[RivalInputs, ...], *, n_conditions: int, seed: int
) -> list[np.ndarray]:
    """Which condition a clip shows, by a rival on statistics: probabilities (n, n_conditions) of each part.

    A condition that the training part does not have gets probability 0.

    Args:
        name: In CONDITION_RIVALS.
        train: The training part.
        others: Parts to look at, without their labels.
        n_conditions: Columns of the result.
        seed: Of the trees.

    Raises:
        AnomalyRivalError: fewer than two conditions in the training part.
    """
    found = np.unique(train.labels)
    if len(found) < 2:
        raise AnomalyRivalError(
            f"the training part has conditions {found.tolist()}, and {name!r} needs at least 2; hold out fewer "
            "recordings"
        )
    classifier = _classifier(name, seed).fit(train.statistics, train.labels)
    said = []
    for part in others:
        probabilities = np.zeros((len(part.labels), n_conditions))
        probabilities[:, found] = classifier.predict_proba(part.statistics)
        said.append(probabilities)
    return said


_Score = Callable[[RivalInputs], np.ndarray]


def _classifier(name: str, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "forest":
        return RandomForestClassifier(n_estimators=N_TREES, class_weight="balanced", random_state=seed, n_jobs=1)
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))


def _of_both_kinds(name: str) -> Callable[[RivalInputs, int], _Score]:
    def fit(train: RivalInputs, seed: int) -> _Score:
        classifier = _classifier(name, seed).fit(train.statistics, train.labels != NORMAL)
        return lambda part: np.asarray(classifier.predict_proba(part.statistics)[:, 1])

    return fit


def _gaussian(train: RivalInputs, seed: int) -> _Score:
    normal = train.statistics[train.labels == NORMAL].astype(np.float64)
    mean, std = normal.mean(axis=0), normal.std(axis=0)
    scale = np.where(std > 0, std, 1)
    density = fit_density((normal - mean) / scale)
    return lambda part: density.scores((part.statistics - mean) / scale)


def _pca(train: RivalInputs, seed: int) -> _Score:
    from sklearn.decomposition import PCA

    normal = _flat(train.inputs[train.labels == NORMAL])
    plane = PCA(KEPT_VARIANCE, svd_solver="full").fit(normal)

    def score(part: RivalInputs) -> np.ndarray:
        inputs = _flat(part.inputs)
        rebuilt = plane.inverse_transform(plane.transform(inputs))
        return np.asarray(((inputs - rebuilt) ** 2).mean(axis=1))

    return score


def _isolation_forest(train: RivalInputs, seed: int) -> _Score:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=N_TREES, random_state=seed, n_jobs=1)
    forest.fit(train.statistics[train.labels == NORMAL])
    return lambda part: -np.asarray(forest.score_samples(part.statistics))


def _flat(inputs: np.ndarray) -> np.ndarray:
    return inputs.reshape(len(inputs), -1).astype(np.float64)


_RIVALS: dict[str, Callable[[RivalInputs, int], _Score]] = {
    **{name: _of_both_kinds(name) for name in CONDITION_RIVALS},
    "gaussian": _gaussian,
    "pca": _pca,
    "isolation_forest": _isolation_forest,
}
