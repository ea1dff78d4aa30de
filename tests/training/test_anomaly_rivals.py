import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foresense.training import anomaly_rivals
from foresense.training.anomaly_rivals import (
    ANOMALY_RIVALS,
    CONDITION_RIVALS,
    AnomalyRivalError,
    RivalInputs,
    rival_conditions,
    rival_scores,
)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomaly_rivals, "N_TREES", 25)


def part(seed: int, n: int = 80) -> RivalInputs:
    """Inputs of 12 values near a plane of 2; anomalous ones leave it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    plane = np.random.default_rng(7).standard_normal((2, 12))
    inputs = rng.standard_normal((n, 2)) @ plane + 0.05 * rng.standard_normal((n, 12)) + labels[:, None] * np.eye(12)[3]
    return RivalInputs(inputs.reshape(n, 3, 4), inputs, labels)


@pytest.mark.parametrize("name", ANOMALY_RIVALS)
def test_a_rival_tells_what_leaves_the_normal_and_is_a_function_of_its_seed(name: str) -> None:
    train, test = part(0), part(1)
    (scores,) = rival_scores(name, train, (test,), seed=0)
    (again,) = rival_scores(name, train, (test,), seed=0)
    np.testing.assert_array_equal(scores, again)
    assert roc_auc_score(test.labels, scores) > {"forest": 0.7, "isolation_forest": 0.55}.get(name, 0.9)


@pytest.mark.parametrize("name", ANOMALY_RIVALS)
def test_only_those_that_tell_conditions_look_at_anomalous_training_clips(name: str) -> None:
    train, test = part(0), part(1)
    changed = RivalInputs(
        np.where(train.labels[:, None, None] == 1, 9.0, train.inputs),
        np.where(train.labels[:, None] == 1, 9.0, train.statistics),
        train.labels,
    )
    (scores,), (others,) = (rival_scores(name, one, (test,), seed=0) for one in (train, changed))
    assert np.array_equal(scores, others) == (name not in CONDITION_RIVALS)


def test_the_plane_is_that_of_the_singular_vectors() -> None:
    train, test = part(0), part(1)
    normal = train.statistics[train.labels == 0]
    _, _, axes = np.linalg.svd(normal - normal.mean(axis=0), full_matrices=False)
    away = test.statistics - normal.mean(axis=0)
    expected = ((away - away @ axes[:2].T @ axes[:2]) ** 2).mean(axis=1)
    (scores,) = rival_scores("pca", train, (test,), seed=0)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_rivals_say_what_they_cannot_learn_from() -> None:
    train = part(0)
    normal = RivalInputs(*(column[train.labels == 0] for column in (train.inputs, train.statistics, train.labels)))
    with pytest.raises(AnomalyRivalError, match=r"no rival 'forrest' \(known: logistic, forest, gaussian, pca, isolat"):
        rival_scores("forrest", train, (), seed=0)
    for name in CONDITION_RIVALS:
        with pytest.raises(AnomalyRivalError, match=f"'{name}': the training part has only normal clips, and"):
            rival_scores(name, normal, (), seed=0)
    anomalous = RivalInputs(train.inputs, train.statistics, np.ones_like(train.labels))
    with pytest.raises(AnomalyRivalError, match="rival 'pca': 0 normal training clips, and it needs at least 2"):
        rival_scores("pca", anomalous, (), seed=0)


@pytest.mark.parametrize("name", CONDITION_RIVALS)
def test_a_rival_tells_conditions_and_gives_none_to_those_that_it_never_saw(name: str) -> None:
    train, test = part(0), part(1)
    (said,) = rival_conditions(name, train, (test,), n_conditions=3, seed=0)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert (said[:, 2] == 0).all()
    assert (said.argmax(axis=1) == test.labels).mean() > 0.6
    alike = RivalInputs(train.inputs, train.statistics, np.ones(80, int))
    with pytest.raises(AnomalyRivalError, match=rf"has conditions \[1\], and '{name}' needs at least 2; hold out"):
        rival_conditions(name, alike, (), n_conditions=3, seed=0)
