import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from foresense.models.density import fit_density

RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.standard_normal((50, 6)) @ RNG.standard_normal((6, 6)) + 3


def test_scores_are_mahalanobis_distances_under_the_covariance_of_ledoit_and_wolf() -> None:
    density, theirs = fit_density(EMBEDDINGS), LedoitWolf().fit(EMBEDDINGS)
    others = RNG.standard_normal((5, 6))
    assert density.shrinkage == pytest.approx(theirs.shrinkage_)
    np.testing.assert_allclose(density.scores(others), theirs.mahalanobis(others), rtol=1e-8)
    inverse = np.linalg.inv(theirs.covariance_)
    expected = [mahalanobis(one, EMBEDDINGS.mean(axis=0), inverse) ** 2 for one in others]
    np.testing.assert_allclose(density.scores(others), expected, rtol=1e-8)


def test_distances_from_the_own_normal_clips_are_those_of_chi_square() -> None:
    """d² of a d-dimensional Gaussian has mean d and variance 2 d."""
    normal = np.random.default_rng(1).standard_normal((20_000, 4))
    scores = fit_density(normal).scores(np.random.default_rng(2).standard_normal((20_000, 4)))
    assert scores.mean() == pytest.approx(4, abs=0.1)
    assert scores.var() == pytest.approx(8, rel=0.1)


def test_more_values_than_clips_are_no_trouble() -> None:
    wide = RNG.standard_normal((10, 60))
    density = fit_density(wide)
    assert 0 < density.shrinkage <= 1
    assert density.scores(wide + 5).min() > density.scores(wide).max()


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.zeros((1, 3)), r"expected \(n, d\), finite, n of at least 2, found \(1, 3\)"),
        (np.full((3, 3), np.nan), "finite"),
        (np.ones((4, 3)), "all are equal; the network says the same of every clip"),
    ],
)
def test_embeddings_that_have_no_density_are_refused(embeddings: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_density(embeddings)


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(n, 6\), found \(2, 5\)"):
        fit_density(EMBEDDINGS).scores(np.zeros((2, 5)))
