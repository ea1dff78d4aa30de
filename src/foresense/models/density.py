"""How far an embedding lies from those of normal clips: a Gaussian with a shrunken covariance. Numpy at run time."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Density:
    """A Gaussian of embeddings.

    Attributes:
        mean: (d,), float64.
        whitening: (d, d), float64: W with W Wᵀ the inverse covariance.
        shrinkage: Share of the scaled identity in the covariance, 0..1.
    """

    mean: np.ndarray
    whitening: np.ndarray
    shrinkage: float

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """(n,), float64: squared Mahalanobis distance of embeddings (n, d) from the mean.

        Raises:
            ValueError: another number of values than it was fitted on.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise ValueError(f"embeddings: expected (n, {len(self.mean)}), found {embeddings.shape}")
        scores: np.ndarray = (((embeddings - self.mean) @ self.whitening) ** 2).sum(axis=1)
        return scores


def fit_density(embeddings: np.ndarray) -> Density:
    """Mean and covariance of normal embeddings, shrunken towards a scaled identity as far as Ledoit and Wolf say.

    Args:
        embeddings: (n, d), of NORMAL TRAINING clips alone, finite; at least two, not all equal.

    Raises:
        ValueError: another shape, not finite, or all equal.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of
    Multivariate Analysis 88, 2004. The detector: Lee et al., A simple unified framework for detecting
    out-of-distribution samples, NeurIPS 2018, section 2.1, with one class.
    """
    from sklearn.covariance import ledoit_wolf

    if embeddings.ndim != 2 or len(embeddings) < 2 or not np.isfinite(embeddings).all():
        n_bad = int((~np.isfinite(embeddings)).sum())
        raise ValueError(
            f"embeddings of normal training clips: expected (n, d), finite, n of at least 2, found {embeddings.shape}, "
            f"{n_bad} not finite; give the training part more normal clips, or train the network at a lower rate"
        )
    values = embeddings.astype(np.float64)
    covariance, shrinkage = ledoit_wolf(values)
    if not np.diag(covariance).min() > 0:
        raise ValueError(f"embeddings {embeddings.shape}: all are equal; the network says the same of every clip")
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    return Density(values.mean(axis=0), whitening, float(shrinkage))
