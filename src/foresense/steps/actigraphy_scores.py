"""How well people are told apart: what is said of a person's weeks, turn by turn, becomes one number of each person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from foresense.evaluate.binary import compare_binary, judge_binary
from foresense.evaluate.classification import Difference, Interval
from foresense.signals.weeks import TEST, VALIDATION, WeekWindows

#: Metrics of a report; the first one chooses.
METRICS = ("auroc", "auprc", "brier", "sensitivity", "specificity")
#: Metrics that look at the order of probabilities alone.
RANKING = ("auroc", "auprc")
CHOOSES = "auroc"
#: Yes from here on: classes weigh the same in every training.
THRESHOLD = 0.5
SEED_OF_INTERVALS = 20_261_122  # of every bootstrap: intervals are a function of the predictions alone


@dataclass(frozen=True, eq=False)
class Said:
    """What one candidate or rival says of people.

    Attributes:
        validation: For each turn, (k,): probability of each person who chooses, mean of the person's weeks.
        chosen_by: For each turn, the AUROC of these.
        held_out: (n_people,): mean probability over the turns that hold a person out; NaN where none does.
        ranks: (n_people,): likewise of the rank among the people of the turn, 0 .. 1: turns have a model each, whose
            probabilities are not on one scale.
        by_turn: For each turn, AUROC of the people who are held out.
    """

    validation: tuple[np.ndarray, ...]
    chosen_by: tuple[float, ...]
    held_out: np.ndarray
    ranks: np.ndarray
    by_turn: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """Metrics over the people who were held out, with 95 % intervals by person."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]


def said_of(windows: WeekWindows, by_turn: Sequence[np.ndarray]) -> Said:
    """Of probabilities (n_weeks,) for each turn to what is said of people."""
    turns = range(len(by_turn))
    validation = tuple(of_people(windows, by_turn[turn], turn, VALIDATION) for turn in turns)
    test = [of_people(windows, by_turn[turn], turn, TEST) for turn in turns]
    held, ranks = (np.full((len(by_turn), len(windows.people)), np.nan) for _ in range(2))
    for turn in turns:
        people = windows.people_of(turn, TEST)
        held[turn, people] = test[turn]
        ranks[turn, people] = (rankdata(test[turn]) - 0.5) / len(people)
    return Said(
        validation=validation,
        chosen_by=tuple(_auroc(windows, validation[turn], turn, VALIDATION) for turn in turns),
        held_out=_mean(held),
        ranks=_mean(ranks),
        by_turn=tuple(_auroc(windows, test[turn], turn, TEST) for turn in turns),
    )


def turn_by_turn(windows: WeekWindows, said: Mapping[str, Sequence[np.ndarray]], names: Sequence[str]) -> Said:
    """What is said where each turn has its own choice of who speaks."""
    return said_of(windows, [said[name][turn] for turn, name in enumerate(names)])


def of_people(windows: WeekWindows, of_weeks: np.ndarray, turn: int, role: int) -> np.ndarray:
    """(k,): mean over the weeks of each person with a role, people in rising order."""
    sums = np.bincount(windows.owners, weights=of_weeks, minlength=len(windows.people))
    people = windows.people_of(turn, role)
    return np.asarray((sums / np.bincount(windows.owners, minlength=len(windows.people)))[people])


def judge(windows: WeekWindows, said: Said) -> Scores:
    """Every metric over the people who were held out at least once."""
    known = ~np.isnan(said.held_out)
    truth = windows.labels[known]
    whole = judge_binary(truth, said.held_out[known], threshold=THRESHOLD, rng=_rng())
    ranking = judge_binary(truth, said.ranks[known], threshold=THRESHOLD, rng=_rng())
    return Scores(
        {name: (ranking if name in RANKING else whole).metrics[name] for name in METRICS},
        {name: (ranking if name in RANKING else whole).intervals[name] for name in METRICS},
    )


def differences(windows: WeekWindows, first: Said, second: Said) -> dict[str, Difference]:
    """Metric -> first minus second over the same people, with the paired interval."""
    known = ~np.isnan(first.held_out)
    truth, halves = windows.labels[known], (THRESHOLD, THRESHOLD)
    whole = compare_binary(truth, first.held_out[known], second.held_out[known], thresholds=halves, rng=_rng())
    ranking = compare_binary(truth, first.ranks[known], second.ranks[known], thresholds=halves, rng=_rng())
    return {name: (ranking if name in RANKING else whole)[name] for name in METRICS}


def is_surely_ahead(windows: WeekWindows, turn: int, first: Said, second: Said) -> bool:
    """Whether the first is ahead on the people who choose in a turn, by more than chance."""
    truth = windows.labels[windows.people_of(turn, VALIDATION)]
    found = compare_binary(
        truth, first.validation[turn], second.validation[turn], thresholds=(THRESHOLD, THRESHOLD), rng=_rng()
    )
    return found[CHOOSES].interval[0] > 0


def _auroc(windows: WeekWindows, probabilities: np.ndarray, turn: int, role: int) -> float:
    truth = windows.labels[windows.people_of(turn, role)]
    found = judge_binary(truth, probabilities, threshold=THRESHOLD, rng=_rng(), n_resamples=1)
    return found.metrics[CHOOSES]


def _mean(by_turn: np.ndarray) -> np.ndarray:
    """Mean over the turns that know of a person; NaN where none does."""
    known = ~np.isnan(by_turn)
    sums = np.where(known, by_turn, 0.0).sum(axis=0)
    n = known.sum(axis=0)
    return np.asarray(np.divide(sums, n, out=np.full(len(n), np.nan), where=n > 0))


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED_OF_INTERVALS)
