"""Anomaly scores judged: how well they rank, what they cost at a threshold, condition by condition.

Scores are any real numbers, higher is more anomalous. Intervals come from units drawn with replacement, kind by kind:
a unit is an asset, or what else the clips of resemble each other (a stretch of time, where a kind has one asset only).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np

from foresense.evaluate.classification import LEVEL, N_RESAMPLES, Difference, Interval
from foresense.signals.clips import NORMAL

#: Names of the metrics.
ANOMALY_METRICS = ("auc", "partial_auc", "detection_rate", "false_alarm_rate")
#: Highest false alarm rate that the partial AUC looks at (DCASE 2020 Task 2).
MAX_FALSE_ALARM_RATE = 0.1
#: Units of each kind that an interval draws from, at least: of 2 or 3 units it would hold the truth in 6 of 10 cases.
LEAST_UNITS = 5
_CHUNK_VALUES = 2**21  # resamples x clips at once: bounds the memory


class AnomalyScoreError(ValueError):
    """Scores that cannot be judged; the message says what, expected, found, and what to do."""


@dataclass(frozen=True)
class AnomalyRow:
    """Normal clips against all anomalous ones, or those of one condition or machine.

    Attributes:
        n_normal: Clips.
        n_anomalous: Clips.
        n_units: Units of normal and of anomalous clips.
        metrics: Name in ANOMALY_METRICS -> value; empty where either kind has no clip.
        intervals: Name -> percentile interval by units; empty where either kind has fewer than LEAST_UNITS. Of so few
            as 5 to 10 it holds the truth less often than its level says (0.77 to 0.86 for 0.95, simulated).
    """

    n_normal: int
    n_anomalous: int
    n_units: tuple[int, int]
    metrics: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class AnomalyScores:
    """How well one detector did.

    Attributes:
        threshold: A score above it is an alarm; None where each clip has its own.
        alarms_per_hour: False alarms in an hour of normal operation, clips that overlap counted one by one; None for
            images, which have no hours. Its interval is that of the false alarm rate, by the clips of an hour.
        overall: All clips.
        conditions: Each anomalous condition against all normal clips.
        groups: Grouping -> label -> the clips of that label alone.
        machines: Machine -> its anomalous clips against all normal ones; empty where nobody asked.
    """

    threshold: float | None
    alarms_per_hour: float | None
    overall: AnomalyRow
    conditions: dict[str, AnomalyRow]
    groups: dict[str, dict[str, AnomalyRow]]
    machines: dict[str, AnomalyRow]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, for a report."""
        return asdict(self)


def threshold_of(scores: np.ndarray, *, false_alarm_rate: float) -> float:
    """The threshold that normal validation scores give: a new normal clip exceeds it in at most that share of cases.

    Of n scores the ceil((n + 1)(1 - rate))-th smallest is taken: the split-conformal quantile, right for any
    distribution if clips were exchangeable. Those of one machine are not quite, so measure the rate on the test part.

    Args:
        scores: (n,), of NORMAL VALIDATION clips.
        false_alarm_rate: Between 0 and 1.

    Raises:
        AnomalyScoreError: too few scores for the rate, or one that is not finite.

    Source: Lei et al., Distribution-Free Predictive Inference for Regression, 2018, section 2.2.
    """
    _check_finite(scores)
    if not 0 < false_alarm_rate < 1:
        raise AnomalyScoreError(f"false_alarm_rate: expected between 0 and 1, found {false_alarm_rate:g}")
    tiny = 1e-9  # (99 + 1) (1 - 0.01) is 99 and not 100
    rank = ceil((len(scores) + 1) * (1 - false_alarm_rate) - tiny)
    if rank > len(scores):
        needed = ceil(1 / false_alarm_rate - 1 - tiny)
        raise AnomalyScoreError(
            f"a false alarm rate of {false_alarm_rate:g} needs {needed} normal validation clips, found {len(scores)}; "
            "ask for a higher rate, or give the validation part more clips"
        )
    return float(np.partition(scores.astype(np.float64), rank - 1)[rank - 1])


def judge_anomalies(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    classes: Sequence[str],
    units: np.ndarray,
    threshold: float | np.ndarray,
    hop_s: float | None,
    rng: np.random.Generator,
    groups: Mapping[str, np.ndarray] | None = None,
    machines: np.ndarray | None = None,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> AnomalyScores:
    """Every metric of one set of scores.

    - `auc`: probability that an anomalous clip scores higher than a normal one, ties one half.
    - `partial_auc`: area under the curve up to a false alarm rate of 0.1, standardised so that 0.5 is no skill and 1
      perfect (McClish, Analyzing a portion of the ROC curve, Medical Decision Making 9, 1989), which is
      what the evaluator of DCASE 2020 Task 2 computes (scikit-learn's `roc_auc_score(max_fpr=0.1)`).
    - `detection_rate`, `false_alarm_rate`: share of the anomalous and of the normal clips above the threshold.

    Args:
        labels: (n,), int: NORMAL or another index into `classes`.
        scores: (n,), finite, higher is more anomalous.
        classes: Names of the conditions.
        units: (n,), any labels: what is drawn together. A unit with both kinds counts as one of each.
        threshold: Chosen elsewhere: `threshold_of` on validation; or (n,), of each clip, where folds chose their own.
        hop_s: Seconds from one clip to the next; None for images. Every clip above the threshold is an alarm.
        rng: Draws the units.
        groups: Grouping -> (n,) labels, to be judged one by one.
        machines: (n,), names: the anomalous clips of each are judged against all normal ones.
        n_resamples: How many sets of units are drawn.
        level: Share of the resampled values inside an interval.

    Raises:
        AnomalyScoreError: shapes that do not fit, a score that is not finite, or no clip of either kind.
    """
    groups = groups or {}
    shapes = {"scores": scores.shape, "units": units.shape} | {name: column.shape for name, column in groups.items()}
    if labels.ndim != 1 or any(shape != labels.shape for shape in shapes.values()):
        raise AnomalyScoreError(f"expected one value a clip in every column, found labels {labels.shape}, {shapes}")
    _check_finite(scores)
    limits = np.asarray(threshold, np.float64)
    if limits.shape not in ((), labels.shape) or not np.isfinite(limits).all():
        raise AnomalyScoreError(
            f"threshold: expected a finite number, or one for each of {len(labels)} clips, found shape {limits.shape}, "
            f"{threshold}; choose it on normal validation clips with threshold_of"
        )
    if labels.min(initial=NORMAL) < NORMAL:
        raise AnomalyScoreError("labels: clips whose condition nobody knows cannot be judged; leave them out")
    is_normal = labels == NORMAL
    if is_normal.all() or not is_normal.any():
        raise AnomalyScoreError(
            f"{int(is_normal.sum())} normal and {int((~is_normal).sum())} anomalous clips; nothing can be ranked "
            "without at least one of each"
        )

    is_alarm = scores > limits

    def row(chosen: np.ndarray) -> AnomalyRow:
        ranked = _Ranked.of(is_normal[chosen], scores[chosen], is_alarm[chosen])
        return _row(ranked, units[chosen], rng, n_resamples, level)

    overall = row(np.ones(len(labels), bool))
    false_alarm_rate = overall.metrics["false_alarm_rate"]
    return AnomalyScores(
        threshold=None if limits.ndim else float(limits),
        alarms_per_hour=None if hop_s is None else false_alarm_rate * 3600 / hop_s,
        overall=overall,
        conditions={
            name: row(is_normal | (labels == label))
            for label, name in enumerate(classes)
            if label != NORMAL and (labels == label).any()
        },
        groups={
            grouping: {str(one): row(column == one) for one in np.unique(column)} for grouping, column in groups.items()
        },
        machines={}
        if machines is None
        else {str(one): row(is_normal | (machines == one)) for one in np.unique(machines[~is_normal])},
    )


def compare_anomalies(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    units: np.ndarray,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """`auc` and `partial_auc` of one set of scores minus those of another, over the same units of the same clips.

    Of fewer than LEAST_UNITS units of a kind the interval is all that a difference can be, -1 to 1: nothing is sure.

    Args:
        labels: (n,), int: NORMAL or another.
        first: (n,), finite, higher is more anomalous.
        second: Likewise.
        units: (n,), any labels: what is drawn together.
        rng: Draws the units.
        n_resamples: How many sets of units are drawn.
        level: Share of the resampled differences inside the interval.

    Raises:
        AnomalyScoreError: a score that is not finite, or no clip of either kind.
    """
    for scores in (first, second):
        _check_finite(scores)
    is_normal = labels == NORMAL
    if is_normal.all() or not is_normal.any():
        raise AnomalyScoreError(f"{int(is_normal.sum())} of {len(labels)} clips are normal; a comparison needs both")
    both = [_Ranked.of(is_normal, scores, np.zeros(len(labels), bool)) for scores in (first, second)]
    kinds = [np.unique(units[is_normal], return_inverse=True)[1], np.unique(units[~is_normal], return_inverse=True)[1]]

    is_enough = min(int(kind.max()) + 1 for kind in kinds) >= LEAST_UNITS

    def differences(weights: np.ndarray) -> dict[str, np.ndarray]:
        mine, other = (ranked.metrics(weights) for ranked in both)
        return {name: mine[name] - other[name] for name in ("auc", "partial_auc")}

    values = differences(np.ones((1, len(labels))))
    drawn = [differences(weights) for weights in _resamples(is_normal, kinds, rng, n_resamples)]
    found = {}
    for name, value in values.items():
        ends = np.quantile(np.concatenate([one[name] for one in drawn]), [(1 - level) / 2, (1 + level) / 2])
        interval = (float(ends[0]), float(ends[1])) if is_enough else (-1.0, 1.0)
        found[name] = Difference(float(value[0]), interval)
    return found


def _row(ranked: "_Ranked", units: np.ndarray, rng: np.random.Generator, n_resamples: int, level: float) -> AnomalyRow:
    is_normal = ranked.is_normal
    kinds = [np.unique(units[is_normal], return_inverse=True)[1], np.unique(units[~is_normal], return_inverse=True)[1]]
    n_units = tuple(int(kind.max()) + 1 if len(kind) else 0 for kind in kinds)
    n_normal, n_anomalous = int(is_normal.sum()), int((~is_normal).sum())
    if not n_normal or not n_anomalous:
        return AnomalyRow(n_normal, n_anomalous, (n_units[0], n_units[1]), {}, {})
    values = ranked.metrics(np.ones((1, len(is_normal))))
    intervals: dict[str, Interval] = {}
    if min(n_units) >= LEAST_UNITS:
        drawn = [ranked.metrics(weights) for weights in _resamples(is_normal, kinds, rng, n_resamples)]
        for name in ANOMALY_METRICS:
            low, high = np.quantile(np.concatenate([one[name] for one in drawn]), [(1 - level) / 2, (1 + level) / 2])
            intervals[name] = (float(low), float(high))
    return AnomalyRow(
        n_normal=n_normal,
        n_anomalous=n_anomalous,
        n_units=(n_units[0], n_units[1]),
        metrics={name: float(values[name][0]) for name in ANOMALY_METRICS},
        intervals=intervals,
    )


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Scores in falling order, once for all resamples.

    Attributes:
        is_normal: (n,), bool, in the order of the clips.
        is_alarm: (n,), bool, likewise.
        order: (n,), from the highest score to the lowest.
        last_of_tie: (n_distinct,): places in `order` after which the score changes.
    """

    is_normal: np.ndarray
    is_alarm: np.ndarray
    order: np.ndarray
    last_of_tie: np.ndarray

    @classmethod
    def of(cls, is_normal: np.ndarray, scores: np.ndarray, is_alarm: np.ndarray) -> "_Ranked":
        order = np.argsort(-scores, kind="stable")
        changes = np.flatnonzero(np.diff(scores[order]))
        return cls(is_normal, is_alarm, order, np.append(changes, len(scores) - 1))

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric of each resample: how often each clip is in it (r, n) to (r,)."""
        falling, normal = weights[:, self.order], self.is_normal[self.order]
        false = np.cumsum(falling * normal, axis=1)[:, self.last_of_tie]
        hits = np.cumsum(falling * ~normal, axis=1)[:, self.last_of_tie]
        n_normal, n_anomalous = false[:, -1:], hits[:, -1:]
        x = np.pad(false / n_normal, ((0, 0), (1, 0)))
        y = np.pad(hits / n_anomalous, ((0, 0), (1, 0)))
        return {
            "auc": _area(x, y, 1.0),
            "partial_auc": _standardised(_area(x, y, MAX_FALSE_ALARM_RATE)),
            "detection_rate": weights @ (~self.is_normal & self.is_alarm) / n_anomalous[:, 0],
            "false_alarm_rate": weights @ (self.is_normal & self.is_alarm) / n_normal[:, 0],
        }


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> np.ndarray:
    """Area under lines through points (r, d), x rising, from 0 to `limit`: (r,)."""
    left, right = x[:, :-1], np.minimum(x[:, 1:], limit)
    width = np.maximum(right - left, 0)
    whole = x[:, 1:] - left
    share = np.divide(width, whole, out=np.zeros_like(width), where=whole > 0)
    rise = y[:, 1:] - y[:, :-1]
    area: np.ndarray = (width * (y[:, :-1] + share * rise / 2)).sum(axis=1)
    return area


def _standardised(area: np.ndarray) -> np.ndarray:
    """McClish's partial AUC: 0.5 for the diagonal, 1 for the corner."""
    least, most = MAX_FALSE_ALARM_RATE**2 / 2, MAX_FALSE_ALARM_RATE
    return (1 + (area - least) / (most - least)) / 2


def _resamples(
    is_normal: np.ndarray, kinds: list[np.ndarray], rng: np.random.Generator, n_resamples: int
) -> Iterator[np.ndarray]:
    """How often each clip is drawn, (r, n) at a time; units of each kind are drawn by themselves."""
    size = max(1, _CHUNK_VALUES // len(is_normal))
    for first in range(0, n_resamples, size):
        n_now = min(size, n_resamples - first)
        weights = np.empty((n_now, len(is_normal)))
        for rows, unit_of in zip((is_normal, ~is_normal), kinds, strict=True):
            n_units = int(unit_of.max()) + 1
            drawn = rng.integers(0, n_units, (n_now, n_units)) + n_units * np.arange(n_now)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
            weights[:, rows] = counts[:, unit_of]
        yield weights


def _check_finite(scores: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise AnomalyScoreError(
            f"scores: {len(bad)} of {len(scores)} are not finite (the first: number {bad[0]}); a detector must answer "
            "for every clip"
        )
