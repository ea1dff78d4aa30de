"""How well detectors do: what each turn says of its own clips, judged together, split by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from foresense.evaluate.anomaly import (
    AnomalyRow,
    AnomalyScores,
    compare_anomalies,
    judge_anomalies,
    threshold_of,
)
from foresense.evaluate.classification import ClassScores, Difference, Verdict, judge_classes, verdict_of
from foresense.signals.clip_turns import ClipTurns
from foresense.signals.clips import NORMAL, ClipPart
from foresense.steps.anomaly_data import ClipData

#: Turn -> one value or row of values for each clip of the pipeline; NaN where the turn was not asked.
ByTurn = Mapping[int, np.ndarray]
#: The metric that chooses, and those that look at the order of scores alone.
CHOOSES, RANKING = "auc", ("auc", "partial_auc")
SEED_OF_INTERVALS = 20_261_122  # of every bootstrap: intervals are a function of the scores alone
N_RESAMPLES = 1000
TURN = "turn"  # grouping of the clips by the turn that tests them


@dataclass(frozen=True, eq=False)
class Pooled:
    """The clips of one part in all turns of one split, turn after turn; a clip may occur in several.

    Attributes:
        split: Its name.
        numbers: (n,), int64: of the clips.
        turn_of: (n,), int64.
        labels: (n,), int64: conditions.
        units: (n,), str: what is drawn together for intervals.
        groups: Grouping -> (n,) labels that are judged one by one.
        machines: (n,), str: assets, where they have several clips each; None of images, whose assets have one.
        classes: Names of the conditions.
        hop_s: Seconds from one clip to the next; None for images.
    """

    split: str
    numbers: np.ndarray
    turn_of: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    groups: dict[str, np.ndarray]
    machines: np.ndarray | None
    classes: tuple[str, ...]
    hop_s: float | None

    @property
    def n_clips(self) -> tuple[int, int]:
        """Normal and anomalous clips; each counted once, however many turns judge it."""
        normal = np.unique(self.numbers[self.labels == NORMAL])
        return len(normal), len(np.unique(self.numbers)) - len(normal)

    def of(self, by_turn: ByTurn) -> np.ndarray:
        """(n, ...): what each clip's own turn says of it."""
        first = by_turn[int(self.turn_of[0])]
        found = np.empty((len(self.numbers), *first.shape[1:]))
        for turn in np.unique(self.turn_of):
            own = self.turn_of == turn
            found[own] = by_turn[int(turn)][self.numbers[own]]
        return found


def pool(turns: ClipTurns, numbers: Sequence[int], part: ClipPart, unit_s: float) -> Pooled:
    """The clips of a part in some turns of one split.

    Args:
        turns: Of the pipeline.
        numbers: Of the turns.
        part: Which clips.
        unit_s: Where the normal or the anomalous clips are of one asset, a unit is a stretch of so long; else an asset.
    """
    chosen = [turns.turn(number).of(part) for number in numbers]
    clips, own = turns.clips, np.concatenate(chosen)
    labels = clips.labels[own]
    units = clips.assets[own].astype(object)
    for kind in (labels == NORMAL, labels != NORMAL):
        if len(np.unique(units[kind].astype(str))) == 1 and clips.found.rate_hz is not None:
            stretches = clips.offsets[own[kind]] // max(1, round(unit_s * clips.found.rate_hz))
            units[kind] = [f"{name} {one}" for name, one in zip(units[kind], stretches, strict=True)]
    turn_of = np.repeat(numbers, [len(one) for one in chosen])
    groups = {TURN: turn_of} if len(numbers) > 1 else {}
    for name in clips.found.groups:
        values = clips.found.group(name)[clips.owners[own]]
        if len(np.unique(values[labels == NORMAL])) > 1:  # a value without normal clips cannot be judged by itself
            groups[name] = values
    has_machines = clips.found.rate_hz is not None
    return Pooled(
        split=turns.splits[numbers[0]],
        numbers=own,
        turn_of=turn_of,
        labels=labels,
        units=units.astype(str),
        groups=groups,
        machines=clips.assets[own].astype(str) if has_machines else None,
        classes=clips.found.classes,
        hop_s=clips.hop_s,
    )


def placements(pooled: Pooled, scores: np.ndarray) -> np.ndarray:
    """(n,): the share of the normal clips of its own turn that score lower than each clip, ties one half.

    Turns have a model each, whose scores are on no common scale; so each clip is placed among the normal ones that the
    same model has scored. The AUC of one turn stays what it is: it compares anomalous clips with normal ones only.

    Source: Janes and Pepe, Adjusting for covariate effects on classification accuracy using the covariate-adjusted
    receiver operating characteristic curve, Biometrika 96, 2009, section 2.
    """
    found = np.empty(len(scores))
    for turn in np.unique(pooled.turn_of):
        own = pooled.turn_of == turn
        normal = np.sort(scores[own & (pooled.labels == NORMAL)])
        below = np.searchsorted(normal, scores[own], side="left")
        up_to = np.searchsorted(normal, scores[own], side="right")
        found[own] = (below + up_to) / (2 * len(normal))
    return found


def thresholds(turns: ClipTurns, numbers: Sequence[int], by_turn: ByTurn, rate: float) -> dict[int, float]:
    """Turn -> the threshold that its normal validation clips give.

    The same clips have said when a training was to stop, so the promised rate is not exact: measure it on the test
    part.

    Raises:
        AnomalyScoreError: too few of them for the rate.
    """
    found = {}
    for turn in numbers:
        chosen = turns.turn(turn).of("validation")
        normal = chosen[turns.clips.labels[chosen] == NORMAL]
        found[turn] = threshold_of(by_turn[turn][normal], false_alarm_rate=rate)
    return found


def judge(pooled: Pooled, by_turn: ByTurn, limits: dict[int, float]) -> AnomalyScores:
    """Every metric of the clips of one split: alarms by each turn's threshold, ranking by placements.

    Args:
        pooled: Which clips.
        by_turn: (n_clips,) scores of every turn.
        limits: Turn -> its threshold.
    """
    scores = pooled.of(by_turn)
    of_clips = np.array([limits[turn] for turn in pooled.turn_of.tolist()])
    alarms = _judge(pooled, scores, of_clips)
    if len(limits) == 1:
        return replace(alarms, threshold=next(iter(limits.values())))
    ranked = _judge(pooled, placements(pooled, scores), np.full(len(scores), 0.5))
    return AnomalyScores(
        threshold=None,
        alarms_per_hour=alarms.alarms_per_hour,
        overall=_merged(alarms.overall, ranked.overall),
        conditions={name: _merged(row, ranked.conditions[name]) for name, row in alarms.conditions.items()},
        groups={
            grouping: {name: _merged(row, ranked.groups[grouping][name]) for name, row in rows.items()}
            for grouping, rows in alarms.groups.items()
        },
        machines={name: _merged(row, ranked.machines[name]) for name, row in alarms.machines.items()},
    )


def compare(pooled: Pooled, first: ByTurn, second: ByTurn) -> dict[str, Difference]:
    """AUC and partial AUC of the first minus those of the second, over the same units of the same clips."""
    return compare_anomalies(
        pooled.labels,
        placements(pooled, pooled.of(first)),
        placements(pooled, pooled.of(second)),
        units=pooled.units,
        rng=_rng(),
        n_resamples=N_RESAMPLES,
    )


def judge_conditions(pooled: Pooled, by_turn: ByTurn) -> ClassScores:
    """Which condition each clip shows, by the most probable one.

    Args:
        pooled: Which clips.
        by_turn: (n_clips, n_conditions) probabilities of every turn.
    """
    names, owners = np.unique(pooled.units, return_inverse=True)
    return judge_classes(
        pooled.labels,
        pooled.of(by_turn).argmax(axis=1),
        owners,
        classes=pooled.classes,
        people=[str(name) for name in names],
        rng=_rng(),
        n_resamples=N_RESAMPLES,
    )


def auc_of(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC of clips (n,) by ranks, ties one half (Mann and Whitney); higher scores are more anomalous."""
    is_anomalous = labels != NORMAL
    n = int(is_anomalous.sum())
    total = rankdata(scores)[is_anomalous].sum()
    return float((total - n * (n + 1) / 2) / (n * (len(labels) - n)))


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known at the end of a training.

    Attributes:
        data: Clips and turns.
        turns: Split -> the turns that were trained.
        pooled: Split -> its test clips.
        said: Candidate, density of one, or rival -> what it says, turn by turn.
        rivals: Names of the rivals in `said`.
        scores: Split -> name -> every metric.
        validation: Name -> AUC on the clips that choose in the first split.
        ships: The candidate whose model of the first turn ships.
        why: In words.
        rival: The one that is best on the clips that choose.
        difference: Split -> what ships minus `rival`.
        to_default: Name -> that one minus the default candidate, in the first split.
        conditions: Split -> name -> how well conditions are told apart; empty where no candidate was asked to.

    With folds the clips that choose in one turn are tested in another, by other networks: nothing is chosen on a clip
    that its own network has to answer for, but what ships and the best rival are named by clips that all are tested.
    """

    data: ClipData
    turns: dict[str, list[int]]
    pooled: dict[str, Pooled]
    said: dict[str, ByTurn]
    rivals: tuple[str, ...]
    scores: dict[str, dict[str, AnomalyScores]]
    validation: dict[str, float]
    ships: str
    why: str
    rival: str
    difference: dict[str, dict[str, Difference]]
    to_default: dict[str, dict[str, Difference]]
    conditions: dict[str, dict[str, ClassScores]]

    @property
    def chooses(self) -> str:
        """The split that chooses."""
        return next(iter(self.turns))

    def verdict(self, split: str) -> Verdict:
        """Whether what ships is ahead of the best rival."""
        return verdict_of(CHOOSES, self.difference[split][CHOOSES].interval)


def _judge(pooled: Pooled, scores: np.ndarray, limits: np.ndarray) -> AnomalyScores:
    return judge_anomalies(
        pooled.labels,
        scores,
        classes=pooled.classes,
        units=pooled.units,
        threshold=limits,
        hop_s=pooled.hop_s,
        rng=_rng(),
        groups=pooled.groups,
        machines=pooled.machines,
        n_resamples=N_RESAMPLES,
    )


def _merged(alarms: AnomalyRow, ranked: AnomalyRow) -> AnomalyRow:
    return replace(
        alarms,
        metrics=alarms.metrics | {name: value for name, value in ranked.metrics.items() if name in RANKING},
        intervals=alarms.intervals | {name: value for name, value in ranked.intervals.items() if name in RANKING},
    )


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED_OF_INTERVALS)
