"""A classifier judged over people: metrics from confusion matrices, person by person, with intervals by person.

Windows of one person resemble each other, so what is drawn with replacement is people, never windows (Field and Welsh,
Bootstrapping clustered data, Journal of the Royal Statistical Society B 69, 2007: the cluster bootstrap). Every metric
but the accuracy of transitions is a function of the summed confusion matrix; a resample is a sum of people's matrices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from foresense.evaluate.confusion import (
    METRICS,
    accuracy,
    confusion_by_person,
    f_scores,
    occurs,
    precisions,
    recalls,
    transitions_by_person,
)
from foresense.evaluate.hmm import runs

N_RESAMPLES = 2000
LEVEL = 0.95

Interval = tuple[float, float]
Verdict = Literal["ahead", "not sure", "behind"]
#: Errors; of every other metric more is better.
LOWER_IS_BETTER = frozenset({"mse", "rmse", "mae", "brier", "log_loss"})


@dataclass(frozen=True)
class ClassRow:
    """One class, over all windows.

    Attributes:
        precision: Share of the windows predicted as the class that are of it; 0 where none is predicted.
        recall: Share of the windows of the class that are predicted as it; 0 where it has none.
        f1: Harmonic mean of both.
        f1_interval: By person, over the resamples in which the class occurs; None where it never does.
        support: Windows of the class.
    """

    precision: float
    recall: float
    f1: float
    f1_interval: Interval | None
    support: int


@dataclass(frozen=True)
class PersonRow:
    """One person.

    Attributes:
        n_windows: Windows.
        accuracy: Over them.
        macro_f1: Over the classes that occur in the person's truth or predictions.
        n_transitions: Changes of the true class (see `Transitions`); None where the windows have no order.
        transition_accuracy: Share of them that is right; None where there are none.
    """

    n_windows: int
    accuracy: float
    macro_f1: float
    n_transitions: int | None
    transition_accuracy: float | None


@dataclass(frozen=True)
class Transitions:
    """Changes of activity, person by person.

    A transition is a pair of neighbouring windows of one sequence whose true classes differ; it is right when both
    windows are predicted right. A person's accuracy is the share of transitions that is right. Who has transitions
    counts, also with 0; who has none has no accuracy and is in no mean.

    Attributes:
        n_transitions: Of all people.
        n_people: With at least one.
        n_people_at_zero: Of those, with none right.
        mean: Of the people's accuracies.
        std: Of the same, population deviation.
        interval: Of the mean, by person.
    """

    n_transitions: int
    n_people: int
    n_people_at_zero: int
    mean: float
    std: float
    interval: Interval


@dataclass(frozen=True)
class ClassScores:
    """How well one set of predictions did.

    Attributes:
        classes: Names.
        n_windows: Judged windows.
        n_people: Whose windows they are.
        confusion: Row = true class, column = predicted class, windows.
        metrics: Name in METRICS -> value over all windows.
        intervals: Name in METRICS -> percentile interval by person.
        per_class: Class -> its row.
        per_person: Person -> its row.
        transitions: None where the windows have no order, or nobody changes activity.
    """

    classes: tuple[str, ...]
    n_windows: int
    n_people: int
    confusion: tuple[tuple[int, ...], ...]
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    per_class: dict[str, ClassRow]
    per_person: dict[str, PersonRow]
    transitions: Transitions | None

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, for a report."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """A metric of one prediction minus that of another, on the same windows.

    Attributes:
        value: First minus second, over all windows.
        interval: By person, paired: each resample holds the same people for both.
    """

    value: float
    interval: Interval


def best_of(metric: str, values: Mapping[str, float]) -> str:
    """The name with the best value of a metric; of equals the first one."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return max(values, key=lambda name: sign * values[name])


def verdict_of(metric: str, interval: Sequence[float]) -> Verdict:
    """What the interval of a difference, first minus second, says of the first; not sure: it holds 0 or is NaN."""
    low, high = interval
    if metric in LOWER_IS_BETTER:
        low, high = -high, -low
    return "ahead" if low > 0 else "behind" if high < 0 else "not sure"


def judge_classes(
    truth: np.ndarray,
    predicted: np.ndarray,
    owners: np.ndarray,
    *,
    classes: Sequence[str],
    people: Sequence[str],
    rng: np.random.Generator,
    sequences: np.ndarray | None = None,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> ClassScores:
    """Every metric of one set of predictions, with intervals by person.

    Args:
        truth: (n,), int, index into `classes`.
        predicted: (n,), int.
        owners: (n,), int, index into `people`; people without a window here are not judged.
        classes: Names of the k classes.
        people: Names.
        rng: Draws the people.
        sequences: (n,), int, for transitions; None where the order of the windows is not that of a day.
        n_resamples: How many sets of people are drawn.
        level: Share of the resampled values inside an interval.

    Raises:
        ValueError: no windows, lengths that differ, indices outside of the names.
    """
    k = len(classes)
    present, matrices = confusion_by_person(truth, predicted, owners, k)
    if present[-1] >= len(people):
        raise ValueError(f"owners name person {present[-1]}, but there are names of {len(people)} people")
    summed, resampled = matrices.sum(0), _resample(matrices, rng, n_resamples)
    names = [people[each] for each in present]
    pairs = None if sequences is None else _checked_transitions(truth, predicted, owners, sequences)
    return ClassScores(
        classes=tuple(classes),
        n_windows=len(truth),
        n_people=len(present),
        confusion=tuple(tuple(int(cell) for cell in row) for row in summed),
        metrics={name: float(metric(summed)) for name, metric in METRICS.items()},
        intervals={name: _interval(metric(resampled), level) for name, metric in METRICS.items()},
        per_class=_class_rows(classes, summed, resampled, level),
        per_person=_person_rows(names, matrices, pairs),
        transitions=None if pairs is None else _transitions(*pairs, rng, n_resamples, level),
    )


def compare_classes(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    owners: np.ndarray,
    *,
    n_classes: int,
    rng: np.random.Generator,
    sequences: np.ndarray | None = None,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """Name in METRICS -> first minus second, with the paired interval by person; and `transition_accuracy`.

    Args:
        truth: (n,), int.
        first: (n,), int, predictions.
        second: (n,), int, other predictions for the same windows.
        owners: (n,), int.
        n_classes: k.
        rng: Draws the people, the same for both.
        sequences: (n,), int, for the difference of the means of `Transitions`; without them, or where nobody changes
            activity, there is none.
        n_resamples: How many sets of people are drawn.
        level: Share of the resampled differences inside an interval.

    Raises:
        ValueError: as `judge_classes`.
    """
    _, of_first = confusion_by_person(truth, first, owners, n_classes)
    _, of_second = confusion_by_person(truth, second, owners, n_classes)
    both = np.stack([of_first, of_second], axis=1)  # (n_people, 2, k, k)
    summed, resampled = both.sum(0), _resample(both, rng, n_resamples)
    found = {}
    for name, metric in METRICS.items():
        value, drawn = metric(summed), metric(resampled)
        found[name] = Difference(float(value[0] - value[1]), _interval(drawn[:, 0] - drawn[:, 1], level))
    if sequences is not None:
        n_transitions, right_in_first = _checked_transitions(truth, first, owners, sequences)
        _, right_in_second = _checked_transitions(truth, second, owners, sequences)
        some = n_transitions > 0
        if some.any():
            shares = (right_in_first - right_in_second)[some] / n_transitions[some]
            found["transition_accuracy"] = Difference(
                float(shares.mean()), _mean_interval(shares, rng, n_resamples, level)
            )
    return found


def _resample(values: np.ndarray, rng: np.random.Generator, n_resamples: int) -> np.ndarray:
    """Sums over people drawn with replacement: (n_people, ...) -> (n_resamples, ...)."""
    n_people = len(values)
    drawn = rng.multinomial(n_people, np.full(n_people, 1 / n_people), size=n_resamples)
    return np.tensordot(drawn.astype(np.float64), values, 1)


def _interval(values: np.ndarray, level: float) -> Interval:
    """Percentile interval of (n_resamples,) values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean_interval(values: np.ndarray, rng: np.random.Generator, n_resamples: int, level: float) -> Interval:
    """Percentile interval of the mean of one value a person."""
    return _interval(_resample(values, rng, n_resamples) / len(values), level)


def _class_rows(classes: Sequence[str], summed: np.ndarray, resampled: np.ndarray, level: float) -> dict[str, ClassRow]:
    precision, recall, f1, drawn = precisions(summed), recalls(summed), f_scores(summed), f_scores(resampled)
    there = occurs(resampled)
    return {
        name: ClassRow(
            precision=float(precision[at]),
            recall=float(recall[at]),
            f1=float(f1[at]),
            f1_interval=_interval(drawn[there[:, at], at], level) if there[:, at].any() else None,
            support=int(summed[at].sum()),
        )
        for at, name in enumerate(classes)
    }


def _person_rows(
    names: Sequence[str], matrices: np.ndarray, pairs: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, PersonRow]:
    accuracies, macro_f1 = accuracy(matrices), METRICS["macro_f1"](matrices)
    rows = {}
    for at, name in enumerate(names):
        n_transitions = None if pairs is None else int(pairs[0][at])
        rows[name] = PersonRow(
            n_windows=int(matrices[at].sum()),
            accuracy=float(accuracies[at]),
            macro_f1=float(macro_f1[at]),
            n_transitions=n_transitions,
            transition_accuracy=float(pairs[1][at] / n_transitions) if pairs is not None and n_transitions else None,
        )
    return rows


def _transitions(
    n_transitions: np.ndarray, n_right: np.ndarray, rng: np.random.Generator, n_resamples: int, level: float
) -> Transitions | None:
    some = n_transitions > 0
    if not some.any():
        return None
    shares = n_right[some] / n_transitions[some]
    return Transitions(
        n_transitions=int(n_transitions.sum()),
        n_people=len(shares),
        n_people_at_zero=int((shares == 0).sum()),
        mean=float(shares.mean()),
        std=float(shares.std()),
        interval=_mean_interval(shares, rng, n_resamples, level),
    )


def _checked_transitions(
    truth: np.ndarray, predicted: np.ndarray, owners: np.ndarray, sequences: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if sequences.shape != truth.shape:
        raise ValueError(f"sequence numbers have the shape {sequences.shape}, expected {truth.shape}: one a window")
    runs(sequences)  # raises where the windows of a sequence are scattered
    return transitions_by_person(truth, predicted, owners, sequences)
