"""Probabilities of a yes or no judged over recordings: how well they rank, how far they are right, where to say yes.

Each recording is one row. Intervals come from recordings drawn with replacement, class by class, so that every resample
holds as many of both classes as there are (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 8.2:
two samples, each drawn by itself). What a resample says depends only on how often it holds each recording, so
all resamples are judged at once from one sorted order of the scores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foresense.evaluate.classification import LEVEL, N_RESAMPLES, Difference, Interval

#: Names of the metrics; `brier` and `log_loss` are better when lower, the others when higher.
BINARY_METRICS = ("auroc", "auprc", "brier", "log_loss", "sensitivity", "specificity", "f1")
#: A probability is at least this far from 0 and 1 in the log loss (scikit-learn: the resolution of float64).
SMALLEST = float(np.finfo(np.float64).eps)
_CHUNK_VALUES = 2**21  # resamples x recordings at once: bounds the memory


class BinaryError(ValueError):
    """Truth and scores that cannot be judged; the message says what, expected, found, and what to do."""


class UnusableScoreError(BinaryError):
    """A score or a threshold is NaN, or no probability."""


class OneClassError(BinaryError):
    """One of the two classes has no recording, so that nothing can be ranked."""


@dataclass(frozen=True)
class BinaryScores:
    """How well one set of probabilities did.

    Attributes:
        n: Recordings.
        n_positive: Of class 1.
        prevalence: Share of class 1; what `auprc` is without any skill.
        metrics: Name in BINARY_METRICS -> value.
        intervals: Name in BINARY_METRICS -> percentile interval over recordings, given the prevalence.
    """

    n: int
    n_positive: int
    prevalence: float
    metrics: dict[str, float]
    intervals: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, for a report."""
        return asdict(self)


def judge_binary(
    truth: np.ndarray,
    scores: np.ndarray,
    *,
    threshold: float | np.ndarray,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> BinaryScores:
    """Every metric of one set of probabilities, with intervals over recordings.

    - `auroc`: probability that a recording of class 1 has a higher score than one of class 0, ties one half
      (Hanley and McNeil, Radiology 143, 1982).
    - `auprc`: average precision, sum of (recall_k - recall_k-1) precision_k over the distinct scores, no interpolation
      (Davis and Goadrich, The relationship between precision-recall and ROC curves, ICML 2006).
    - `brier`: mean squared error of the probability (Brier, Monthly Weather Review 78, 1950).
    - `log_loss`: mean of -ln(probability of what happened), natural logarithm.
    - `sensitivity`, `specificity`, `f1` of class 1: yes is a score that is at or above the threshold.

    Args:
        truth: (n,), 0 or 1 (or bool).
        scores: (n,), probabilities of class 1; or (k, n), several sets of them for the same recordings: each metric is
            the mean over the sets, that of one model on average and not of several models that vote.
        threshold: From which score on to say yes, chosen elsewhere (`best_threshold` on validation); or (n,), that of
            each recording, where folds chose their own.
        rng: Draws the recordings.
        n_resamples: How many sets of recordings are drawn.
        level: Share of the resampled values inside an interval.

    Raises:
        BinaryError: shapes or classes that do not fit; `UnusableScoreError`, `OneClassError`.
    """
    is_positive = _checked_truth(truth)
    sets = _ranked(is_positive, scores, threshold)
    values = _metrics(sets, np.ones((1, len(is_positive))))
    drawn = [_metrics(sets, weights) for weights in _resamples(is_positive, rng, n_resamples)]
    return BinaryScores(
        n=len(is_positive),
        n_positive=int(is_positive.sum()),
        prevalence=float(is_positive.mean()),
        metrics={name: float(values[name][0]) for name in BINARY_METRICS},
        intervals={name: _interval(np.concatenate([one[name] for one in drawn]), level) for name in BINARY_METRICS},
    )


def compare_binary(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    thresholds: tuple[float | np.ndarray, float | np.ndarray],
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """Name in BINARY_METRICS -> first minus second on the same recordings, with the paired interval.

    Args:
        truth: (n,), 0 or 1.
        first: (n,) or (k, n), probabilities of class 1 as in `judge_binary`.
        second: (n,) or (j, n), other probabilities for the same recordings.
        thresholds: Of the first and of the second, as in `judge_binary`.
        rng: Draws the recordings, the same for both.
        n_resamples: How many sets of recordings are drawn.
        level: Share of the resampled differences inside an interval.

    Raises:
        BinaryError: as `judge_binary`.
    """
    is_positive = _checked_truth(truth)
    one, other = (
        _ranked(is_positive, scores, threshold) for scores, threshold in zip((first, second), thresholds, strict=True)
    )

    def differences(weights: np.ndarray) -> dict[str, np.ndarray]:
        mine, theirs = _metrics(one, weights), _metrics(other, weights)
        return {name: mine[name] - theirs[name] for name in BINARY_METRICS}

    values = differences(np.ones((1, len(is_positive))))
    drawn = [differences(weights) for weights in _resamples(is_positive, rng, n_resamples)]
    return {
        name: Difference(float(values[name][0]), _interval(np.concatenate([part[name] for part in drawn]), level))
        for name in BINARY_METRICS
    }


def best_threshold(truth: np.ndarray, scores: np.ndarray) -> float:
    """The score from which on saying yes gives the highest F1; of several, the highest: the fewest false alarms.

    Args:
        truth: (n,), 0 or 1, of VALIDATION recordings: a threshold that is chosen where it is judged flatters.
        scores: (n,), probabilities of class 1.

    Raises:
        BinaryError: as `judge_binary`.
    """
    is_positive = _checked_truth(truth)
    ranked = _Ranked.of(is_positive, scores, 0.5)
    hits, alarms = (counts[0] for counts in ranked.curve(np.ones((1, len(is_positive)))))
    f1 = 2 * hits / (hits + alarms + is_positive.sum())
    return float(ranked.scores[ranked.order[ranked.last_of_tie[int(np.argmax(f1))]]])


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Scores in falling order, once for all resamples.

    Attributes:
        is_positive: (n,), bool.
        scores: (n,), float64.
        says_yes: (n,), bool, at the threshold.
        order: (n,), from the highest score to the lowest.
        last_of_tie: (n_distinct,): places in `order` after which the score changes.
    """

    is_positive: np.ndarray
    scores: np.ndarray
    says_yes: np.ndarray
    order: np.ndarray
    last_of_tie: np.ndarray

    @classmethod
    def of(cls, is_positive: np.ndarray, scores: np.ndarray, threshold: float | np.ndarray) -> "_Ranked":
        found = _checked_scores(scores, len(is_positive))
        limits = _checked_thresholds(threshold, len(is_positive))
        order = np.argsort(-found, kind="stable")
        changes = np.flatnonzero(np.diff(found[order]))
        return cls(is_positive, found, found >= limits, order, np.append(changes, len(found) - 1))

    def curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of the hits, and of hits and false alarms, at each distinct score: (r, n) to (r, n_distinct) each."""
        falling = weights[:, self.order]
        alarms = falling.cumsum(axis=1)[:, self.last_of_tie]
        hits = (falling * self.is_positive[self.order]).cumsum(axis=1)[:, self.last_of_tie]
        return hits, alarms

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric of each resample: how often each recording is in it (r, n) to (r,)."""
        hits, alarms = self.curve(weights)
        false = alarms - hits
        n_positive, n_negative = hits[:, -1], false[:, -1]
        new_hits, new_false = np.diff(hits, axis=1, prepend=0), np.diff(false, axis=1, prepend=0)
        precision = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)  # nothing there: no new hit
        said = np.clip(self.scores, SMALLEST, 1 - SMALLEST)
        surprise = -np.where(self.is_positive, np.log(said), np.log1p(-said))
        found_yes = weights @ (self.is_positive & self.says_yes)
        false_yes = weights @ (~self.is_positive & self.says_yes)
        n = weights.sum(axis=1)
        return {
            "auroc": (new_false * (hits - new_hits / 2)).sum(axis=1) / (n_positive * n_negative),
            "auprc": (new_hits * precision).sum(axis=1) / n_positive,
            "brier": weights @ (self.scores - self.is_positive) ** 2 / n,
            "log_loss": weights @ surprise / n,
            "sensitivity": found_yes / n_positive,
            "specificity": 1 - false_yes / n_negative,
            "f1": 2 * found_yes / (found_yes + false_yes + n_positive),
        }


def _ranked(is_positive: np.ndarray, scores: np.ndarray, threshold: float | np.ndarray) -> list[_Ranked]:
    return [_Ranked.of(is_positive, one, threshold) for one in np.atleast_2d(scores)]


def _metrics(sets: Sequence[_Ranked], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric of each resample, mean over the sets: (r, n) to (r,)."""
    found = [one.metrics(weights) for one in sets]
    return {name: np.mean([one[name] for one in found], axis=0) for name in BINARY_METRICS}


def _resamples(is_positive: np.ndarray, rng: np.random.Generator, n_resamples: int) -> Iterator[np.ndarray]:
    """How often each recording is drawn, (r, n) at a time; each class is drawn by itself."""
    if n_resamples < 1:
        raise BinaryError(f"n_resamples: expected at least 1, found {n_resamples}")
    size = max(1, _CHUNK_VALUES // len(is_positive))
    classes = [np.flatnonzero(is_positive == one) for one in (False, True)]
    for first in range(0, n_resamples, size):
        n_now = min(size, n_resamples - first)
        weights = np.zeros((n_now, len(is_positive)))
        for rows in classes:
            drawn = rng.integers(0, len(rows), (n_now, len(rows))) + len(rows) * np.arange(n_now)[:, None]
            weights[:, rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield weights


def _interval(values: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked_truth(truth: np.ndarray) -> np.ndarray:
    if truth.ndim != 1 or not np.isin(truth, (0, 1)).all():
        other = truth[~np.isin(truth, (0, 1))][:3].tolist()
        raise BinaryError(
            f"truth: expected (n,) of 0 and 1, found shape {truth.shape} with {other or 'nothing else'}; leave out "
            "recordings whose outcome is not known"
        )
    n_positive = int((truth == 1).sum())
    if not 0 < n_positive < len(truth):
        raise OneClassError(
            f"truth: {n_positive} recordings of class 1 and {len(truth) - n_positive} of class 0; expected at least "
            "one of each; judge folds together, or draw them stratified"
        )
    return np.asarray(truth == 1)


def _checked_scores(scores: np.ndarray, n: int) -> np.ndarray:
    if scores.shape != (n,):
        raise BinaryError(f"scores: expected ({n},), one for each recording, found {scores.shape}")
    found = scores.astype(np.float64)
    bad = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(bad):
        raise UnusableScoreError(
            f"scores: {len(bad)} of {n} are no probability (row {bad[0]}: {found[bad[0]]}); expected 0..1; a model "
            "must answer for every recording, and give probabilities rather than logits"
        )
    return found


def _checked_thresholds(threshold: float | np.ndarray, n: int) -> np.ndarray:
    found = np.asarray(threshold, np.float64)
    if found.shape not in ((), (n,)):
        raise BinaryError(f"threshold: expected one number or ({n},), one for each recording, found {found.shape}")
    if np.isnan(found).any():
        raise UnusableScoreError("threshold: NaN; choose it on validation with best_threshold")
    return np.broadcast_to(found, (n,))
