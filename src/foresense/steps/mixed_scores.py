"""How good forecasts of mixed recordings are: one metric that chooses, and all of them with intervals.

What is drawn for an interval is what resembles itself: blocks of weeks with all stations in them where parts are of
time, single recordings where an outcome belongs to a whole one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

from foresense.evaluate.binary import best_threshold, compare_binary, judge_binary
from foresense.evaluate.classification import Difference, Interval, Verdict, verdict_of
from foresense.evaluate.grouped import compare_errors, crossed, judge_errors
from foresense.evaluate.grouped_classes import compare_grouped_classes, judge_grouped_classes
from foresense.steps.mixed_data import MixedData, Predicts
from foresense.training.wrist import macro_f1_and_kappa

#: A value; one of two classes; one of more.
Task = Literal["value", "binary", "classes"]
#: The metric that chooses on validation.
CHOOSES: dict[Task, str] = {"value": "rmse", "binary": "auroc", "classes": "macro_f1"}
#: Metrics of two classes that look at the order of probabilities alone.
RANKING = ("auroc", "auprc")
#: Metrics of what ships, which its benchmark measures again.
OF_MODEL: dict[Task, tuple[str, ...]] = {
    "value": ("mae", "rmse"),
    "binary": ("auroc", "auprc", "brier"),
    "classes": ("macro_f1", "cohen_kappa", "accuracy"),
}
#: What is judged beside candidates and rivals: in each turn the best of all on validation, and the best network there.
CHOSEN, NETWORK = "chosen", "best network"
SEED_OF_INTERVALS = 20_261_122  # of every bootstrap: intervals are a function of the predictions alone


@dataclass(frozen=True, eq=False)
class Said:
    """What one candidate or rival says, turn by turn.

    Attributes:
        validation: Probabilities (k, n_classes) or values (k,) of the windows that choose.
        test: Likewise of the windows that are held out.
        chosen_by: For each turn, the metric that chooses, of `validation`.
        thresholds: For each turn, the probability of class 1 from which on it says yes, chosen on `validation`; of two
            classes only.
    """

    validation: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    chosen_by: tuple[float, ...]
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class MixedScores:
    """Scores over everything that is held out.

    Attributes:
        metrics: Name -> value.
        intervals: Name -> 95 % interval; a metric without one is left out.
        detail: The same by group, by class, as it stands in a report.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    detail: dict[str, Any] = field(default_factory=dict)


def task_of(data: MixedData, predicts: Predicts) -> Task:
    """What kind of answer is judged.

    Raises:
        ValueError: two classes of a channel over time, whose windows are no independent recordings.
    """
    if predicts == "value":
        return "value"
    if len(data.class_names) > 2:
        return "classes"
    if data.is_over_time:
        raise ValueError(
            "two classes of a channel over time: their intervals would take neighbouring windows for independent ones; "
            "give window.bins of three classes or more, or set train.predicts to value"
        )
    return "binary"


def ranks_in_turns(test: Sequence[np.ndarray]) -> np.ndarray:
    """(n,): places of the probabilities of class 1 among those of the same turn, 0 to 1, equal ones sharing theirs.

    Turns have a network each, whose probabilities are not on one scale: what ranks recordings ranks them within a turn.
    """
    return np.concatenate([(rankdata(said[:, 1]) - 0.5) / len(said) for said in test])


def metrics_of(task: Task, truth: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Names in OF_MODEL -> value, without intervals."""
    if task == "value":
        errors = said.astype(np.float64) - truth
        return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}
    if task == "binary":
        rng = np.random.default_rng(SEED_OF_INTERVALS)
        found = judge_binary(truth, said[:, 1], threshold=0.5, rng=rng, n_resamples=1).metrics
        return {name: found[name] for name in OF_MODEL[task]}
    predicted = said.argmax(1)
    macro_f1, kappa = macro_f1_and_kappa(truth, predicted, said.shape[1])
    return {"macro_f1": macro_f1, "cohen_kappa": kappa, "accuracy": float((predicted == truth).mean())}


def said_of(
    task: Task, truths: Sequence[np.ndarray], validation: Sequence[np.ndarray], test: Sequence[np.ndarray]
) -> Said:
    """What somebody says, with what validation makes of it; `truths` are those of the windows that choose."""
    return Said(
        validation=tuple(validation),
        test=tuple(test),
        chosen_by=tuple(
            metrics_of(task, truth, said)[CHOOSES[task]] for truth, said in zip(truths, validation, strict=True)
        ),
        thresholds=tuple(best_threshold(truth, said[:, 1]) for truth, said in zip(truths, validation, strict=True))
        if task == "binary"
        else (),
    )


@dataclass(frozen=True, eq=False)
class Judge:
    """Everyone is judged on the same windows, with the same draws.

    Attributes:
        task: What is judged.
        data: Windows.
        rows: For each turn, numbers of the windows that are held out.
        block_weeks: Weeks drawn together, where parts are of time.
    """

    task: Task
    data: MixedData
    rows: tuple[np.ndarray, ...]
    block_weeks: int

    @property
    def predicts(self) -> Predicts:
        """What of a window."""
        return "value" if self.task == "value" else "class"

    @property
    def all_rows(self) -> np.ndarray:
        """(n,): turns one after the other."""
        return np.concatenate(self.rows)

    @property
    def truth(self) -> np.ndarray:
        """(n,): classes or values."""
        return self.data.truth(self.all_rows, self.predicts)

    def scores(self, said: Said, *, by_group: bool) -> MixedScores:
        """Every metric with its interval; `by_group`: by station and season too, where parts are of time."""
        groups = self._groups() if by_group else {}
        if self.task == "binary":
            found = judge_binary(
                self.truth, np.concatenate(said.test)[:, 1], threshold=self._thresholds(said), rng=self._rng()
            )
            ranking = judge_binary(self.truth, ranks_in_turns(said.test), threshold=0.5, rng=self._rng())
            metrics = found.metrics | {name: ranking.metrics[name] for name in RANKING}
            intervals = found.intervals | {name: ranking.intervals[name] for name in RANKING}
            detail = {
                "n": found.n,
                "n_positive": found.n_positive,
                "prevalence": found.prevalence,
                "by_turn": [
                    metrics_of(self.task, self.data.truth(rows, self.predicts), one)
                    for rows, one in zip(self.rows, said.test, strict=True)
                ],
            }
            return MixedScores(metrics, intervals, detail)
        if self.task == "value":
            errors = judge_errors(
                self.truth.astype(np.float64),
                np.concatenate(said.test),
                groups=groups,
                rng=self._rng(),
                **self._blocks(),
            )
            metrics = {name: value for name, value in errors.overall.metrics.items() if value is not None}
            bounds = {name: one for name, one in errors.overall.intervals.items() if one is not None}
            return MixedScores(metrics, bounds, errors.to_json())
        classes = judge_grouped_classes(
            self.truth,
            np.concatenate(said.test).argmax(1),
            classes=self.data.class_names,
            groups=groups,
            rng=self._rng(),
            **self._blocks(),
        )
        return MixedScores(classes.overall.metrics, classes.overall.intervals, classes.to_json())

    def differences(self, first: Said, second: Said) -> dict[str, Difference]:
        """Metric -> first minus second, with the paired interval; a metric without one is left out."""
        one, other = np.concatenate(first.test), np.concatenate(second.test)
        if self.task == "binary":
            thresholds = (self._thresholds(first), self._thresholds(second))
            compared = compare_binary(self.truth, one[:, 1], other[:, 1], thresholds=thresholds, rng=self._rng())
            ranks, halves = (ranks_in_turns(first.test), ranks_in_turns(second.test)), (0.5, 0.5)
            ranking = compare_binary(self.truth, *ranks, thresholds=halves, rng=self._rng())
            return compared | {name: ranking[name] for name in RANKING}
        if self.task == "value":
            truth = self.truth.astype(np.float64)
            found = compare_errors(truth, one, other, groups={}, rng=self._rng(), **self._blocks())
            return {name: difference for name, difference in found.overall.items() if difference is not None}
        return compare_grouped_classes(
            self.truth,
            one.argmax(1),
            other.argmax(1),
            n_classes=len(self.data.class_names),
            rng=self._rng(),
            **self._blocks(),
        )

    def differences_by_group(self, first: Said, second: Said) -> dict[str, Any]:
        """Grouping -> label -> metric -> first minus second; of values over time, else nothing."""
        groups = self._groups()
        if self.task != "value" or not groups:
            return {}
        found = compare_errors(
            self.truth.astype(np.float64),
            np.concatenate(first.test),
            np.concatenate(second.test),
            groups=groups,
            rng=self._rng(),
            **self._blocks(),
        )
        return found.to_json()["groups"]  # type: ignore[no-any-return]  # a field of the dataclass

    def _groups(self) -> dict[str, np.ndarray]:
        if not self.data.is_over_time or self.data.seasons is None:
            return {}
        seasons, stations = self.data.seasons[self.all_rows], self.data.stations[self.all_rows]
        return {"season": seasons, "station": stations, "station, season": crossed(stations, seasons)}

    def _blocks(self) -> dict[str, Any]:
        if self.data.is_over_time and self.data.weeks is not None:
            return {"periods": self.data.weeks[self.all_rows], "block": self.block_weeks}
        return {"periods": self.data.windows.owners[self.all_rows], "block": 1}

    def _thresholds(self, said: Said) -> np.ndarray:
        """(n,): of each window, that of its turn."""
        return np.concatenate(
            [np.full(len(rows), threshold) for rows, threshold in zip(self.rows, said.thresholds, strict=True)]
        )

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(SEED_OF_INTERVALS)


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known at the end of a training.

    Attributes:
        judge: Of everyone, with the windows that are held out.
        said: Candidate, rival, CHOSEN or NETWORK -> what it says.
        choices: For each turn, the best candidate where it is surely ahead of the best rival on validation, else that
            rival; the choice of the first turn ships.
        networks: For each turn, the candidate that is best there.
        rivals: Names.
        rival: The one that is best on what is held out: the hardest one to beat.
        scores: Of everyone in `said`.
        difference: Metric -> NETWORK minus `rival`.
        by_group: The same by station and season, where parts are of time.
    """

    judge: Judge
    said: dict[str, Said]
    choices: tuple[str, ...]
    networks: tuple[str, ...]
    rivals: tuple[str, ...]
    rival: str
    scores: dict[str, MixedScores]
    difference: dict[str, Difference]
    by_group: dict[str, Any]

    @property
    def task(self) -> Task:
        """What is judged."""
        return self.judge.task

    @property
    def verdict(self) -> Verdict:
        """Whether NETWORK is ahead of `rival`."""
        metric = CHOOSES[self.task]
        return verdict_of(metric, self.difference[metric].interval)
