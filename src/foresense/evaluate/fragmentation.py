"""How often rest breaks into activity and activity into rest: kRA, kAR (Lim et al. 2011), and rest by activity.

Lim et al., Quantification of the fragmentation of rest-activity patterns in elderly individuals using a state
transition analysis, Sleep 34:1569, 2011.
"""

from typing import Literal

import numpy as np

from foresense.evaluate.measured import Measured, measured
from foresense.windows.runs import Runs, runs_of

#: Share of the estimates that one point of the LOWESS curve looks at.
LOWESS_SHARE = 0.3
#: Different lengths of stretches below which there is no curve to find a constant region in.
MIN_LENGTHS = 5


def rest_to_active(activity: np.ndarray, *, threshold: float = 0.0) -> Measured:
    """Minutes at rest for each minute of activity.

    Args:
        activity: (n_people, n_minutes); NaN where not worn.
        threshold: Rest is activity at or below this; Lim et al. take 0 counts.
    """
    n_known = (~np.isnan(activity)).sum(axis=1)
    n_active = (activity > threshold).sum(axis=1)
    rules = [
        (n_known == 0, "no activity was recorded while the counter was worn"),
        (n_active == 0, f"no minute has activity above {threshold:g}"),
    ]
    return measured("rest_active_ratio", "1", (n_known - n_active) / np.maximum(n_active, 1), rules)


def transition_probability(
    activity: np.ndarray, kind: Literal["rest_to_activity", "activity_to_rest"], *, threshold: float = 0.0
) -> Measured:
    """Probability by minute that sustained rest (activity) ends: kRA, kAR (Lim et al. 2011).

    A stretch of rest begins and ends with a transition, so one that a missing minute or the end of the recording cuts
    off is left out. With N_t stretches of at least t minutes, p(t) = (N_t - N_t+1) / N_t; where no stretch has a length
    between t and the next one found, u, p(t) = (N_t - N_u) / (N_t (u - t)). The constant region is the longest one, in
    estimates, in which a LOWESS curve through p varies by no more than 1 standard deviation of p. kRA is the mean of p
    there, weighted with the square root of the stretches that each estimate rests on, N_t + N_u.

    Args:
        activity: (n_people, n_minutes); NaN where not worn.
        kind: `rest_to_activity` is kRA, `activity_to_rest` is kAR.
        threshold: Rest is activity at or below this; Lim et al. take 0 counts.
    """
    known = ~np.isnan(activity)
    is_active = activity > threshold
    held, other = (is_active, known & ~is_active) if kind == "activity_to_rest" else (known & ~is_active, is_active)
    whole = _whole_stretches(held, other)
    lengths = [whole.lengths[whole.rows == row] for row in range(len(activity))]
    n_lengths = np.array([len(np.unique(one)) for one in lengths])
    name = "k_ra" if kind == "rest_to_activity" else "k_ar"
    state = "rest" if kind == "rest_to_activity" else "activity"
    values = np.array(
        [_sustained(one) if n > MIN_LENGTHS else np.nan for one, n in zip(lengths, n_lengths.tolist(), strict=True)]
    )
    few = f"stretches of {state} have fewer than {MIN_LENGTHS + 1} different lengths"
    return measured(name, "1/min", values, [(n_lengths <= MIN_LENGTHS, few)])


def _whole_stretches(held: np.ndarray, other: np.ndarray) -> Runs:
    """Stretches of one state between two transitions from and to the other one."""
    runs = runs_of(held)
    edged = np.pad(other, ((0, 0), (1, 1)))
    return runs.taken(edged[runs.rows, runs.begins] & edged[runs.rows, runs.ends + 1])


def _sustained(lengths: np.ndarray) -> float:
    """Weighted mean transition probability of the constant region of one person's stretches."""
    times, ends_here = np.unique(lengths, return_counts=True)
    n_at_least = ends_here[::-1].cumsum()[::-1]
    n_now, n_next = n_at_least[:-1], n_at_least[1:]
    probability = (n_now - n_next) / (n_now * np.diff(times))
    weights = np.sqrt(n_now + n_next)
    curve = lowess(times[:-1].astype(np.float64), probability, LOWESS_SHARE)
    first, last = _longest_level(curve, float(probability.std(ddof=1)))
    return float(np.average(probability[first:last], weights=weights[first:last]))


def _longest_level(curve: np.ndarray, tolerance: float) -> tuple[int, int]:
    """First and after the last point of the longest stretch with a range of at most `tolerance`; of equals: first."""
    k = len(curve)
    upper = np.triu(np.ones((k, k), bool))
    highest = np.maximum.accumulate(np.where(upper, curve, -np.inf), axis=1)
    lowest = np.minimum.accumulate(np.where(upper, curve, np.inf), axis=1)
    lengths = (upper & (np.where(upper, highest, 0) - np.where(upper, lowest, 0) <= tolerance)).sum(axis=1)
    first = int(lengths.argmax())
    return first, first + int(lengths[first])


def lowess(x: np.ndarray, y: np.ndarray, share: float) -> np.ndarray:
    """Locally weighted linear regression without robustness weights (Cleveland, JASA 74:829, 1979, section 2).

    Each point gets the line through its nearest neighbours, with tricube weights of the distance over that of the
    farthest of them.

    Args:
        x: (n,), rising.
        y: (n,).
        share: Of the points that are neighbours of one, itself among them; at least 3.

    Returns:
        (n,): the curve at `x`.
    """
    n_near = min(len(x), max(3, int(share * len(x) + 1e-10)))
    distance = np.abs(x[:, None] - x[None, :])
    reach = np.sort(distance, axis=1)[:, n_near - 1]
    weights = np.clip(1 - (distance / reach[:, None]) ** 3, 0.0, None) ** 3
    weights /= weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ x, weights @ y
    off = x[None, :] - mean_x[:, None]
    spread = (weights * off**2).sum(axis=1)
    slope = np.divide((weights * off) @ y, spread, out=np.zeros(len(x)), where=spread > 0)
    return np.asarray(mean_y + slope * (x - mean_x))
