"""How far a few values lie from many: what drift is measured with."""

import numpy as np

#: Deviation of a normal distribution over its median absolute deviation.
GAUSSIAN_MAD = 1.482602218505602


def population_stability_index(sample: np.ndarray, edges: np.ndarray) -> float:
    """Sum of (q - p) ln(q / p) over the bins between `edges`, which hold equal shares p of the reference.

    Args:
        sample: (n,), measured values. An empty bin counts as half a value, so that its logarithm is finite.
        edges: (n_bins - 1,), quantiles of the reference: inner edges, ascending.

    Source: Siddiqi, Credit Risk Scorecards, 2006, chapter 10; the textbook calls 0.25 a major shift.
    """
    n_bins = len(edges) + 1
    counts = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=n_bins)
    found = np.maximum(counts, 0.5) / len(sample)
    expected = 1 / n_bins
    return float(np.sum((found - expected) * np.log(found / expected)))


def ks_statistic(first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance of two empirical distribution functions.

    Args:
        first: (n,), in any order.
        second: (m,), ascending.

    Source: Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948.
    """
    first = np.sort(first)
    every = np.concatenate([first, second])
    below_first = np.searchsorted(first, every, side="right") / len(first)
    below_second = np.searchsorted(second, every, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def robust_centre(values: np.ndarray) -> float:
    """Two steps from the median towards Huber's M-estimate of location: a stop of hours does not pull it.

    Source: Huber, Robust Statistics, 1981, section 6.7; corner at 2 deviations.

    Args:
        values: (n,), standard deviations, at least one.
    """
    centre = np.median(values)
    for _ in range(2):
        centre = centre + np.clip(values - centre, -2, 2).mean()
    return float(centre)
