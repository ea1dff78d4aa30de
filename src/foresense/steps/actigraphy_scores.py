"""How well people are told apart: what is said of a person's weeks, turn by turn, becomes one number of each person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from foresense.evaluate.binary import compare_binary, judge_binary
from foresense.evaluate.classification import Difference, Interval, Verdict, verdict_of
from foresense.signals.weeks import TEST, VALIDATION, WeekWindows

#: Metrics of a report; the first one chooses.
METRICS = ("auroc", "auprc", "brier", "sensitivity", "specificity")
#: Metrics that look at the order of probabilities alone.
RANKING = ("auroc", "auprc")
CHOOSES = "auroc"
#: Yes from here on: labels weigh the same in every training.
THRESHOLD = 0.5
#: What is judged beside candidates and rivals: in each turn what would ship, and the best network.
CHOSEN, NETWORK = "chosen", "best network"
SEED_OF_INTERVALS = 20_261_122  # of every bootstrap: intervals are a function of the predictions alone


@dataclass(frozen=True, eq=False)
class Said:
    """What one candidate or rival says of people.

    Attributes:
        validation: For each turn, (k,): probability of each person who chooses, mean of the person's weeks.
        chosen_by: For each turn, the AUROC of these.
        people: (k,): rows of the people who were held out in every dealing that is judged.
        held_out: (n_dealings, k): probability of each of them, of the one turn that held the person out.
        ranks: (n_dealings, k): likewise the rank among all people of the turn, 0 .. 1: turns have a model each, whose
            probabilities are not on one scale.
        by_turn: For each turn, AUROC of the people who are held out.
    """

    validation: tuple[np.ndarray, ...]
    chosen_by: tuple[float, ...]
    people: np.ndarray
    held_out: np.ndarray
    ranks: np.ndarray
    by_turn: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """Metrics over the people who were held out, of one model on average, with 95 % intervals by person."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]


def said_of(windows: WeekWindows, by_turn: Sequence[np.ndarray]) -> Said:
    """Of probabilities (n_weeks,) for each turn to what is said of people.

    A dealing that was broken off is left out, unless there is no whole one.
    """
    turns = range(len(by_turn))
    validation = tuple(of_people(windows, by_turn[turn], turn, VALIDATION) for turn in turns)
    test = [of_people(windows, by_turn[turn], turn, TEST) for turn in turns]
    dealings = dealings_of(windows.roles)
    held, ranks = (np.full((max(dealings) + 1, len(windows.people)), np.nan) for _ in range(2))
    for turn in turns:
        people = windows.people_of(turn, TEST)
        held[dealings[turn], people] = test[turn]
        ranks[dealings[turn], people] = (rankdata(test[turn]) - 0.5) / len(people)
    known = ~np.isnan(held)
    whole = known.all(axis=1)
    judged = whole if whole.any() else np.arange(len(held)) == 0
    everybody = np.flatnonzero(known[judged].all(axis=0))
    return Said(
        validation=validation,
        chosen_by=tuple(_auroc(windows, validation[turn], turn, VALIDATION) for turn in turns),
        people=everybody,
        held_out=held[judged][:, everybody],
        ranks=ranks[judged][:, everybody],
        by_turn=tuple(_auroc(windows, test[turn], turn, TEST) for turn in turns),
    )


def dealings_of(roles: np.ndarray) -> list[int]:
    """(n_turns, n_people) roles to the number of each turn's dealing: how often everybody was held out before."""
    before = (roles == TEST).cumsum(axis=0) - (roles == TEST)
    return [int(row.min()) for row in before]


def turn_by_turn(windows: WeekWindows, said: Mapping[str, Sequence[np.ndarray]], names: Sequence[str]) -> Said:
    """What is said where each turn has its own choice of who speaks."""
    return said_of(windows, [said[name][turn] for turn, name in enumerate(names)])


def of_people(windows: WeekWindows, of_weeks: np.ndarray, turn: int, role: int) -> np.ndarray:
    """(k,): mean over the weeks of each person with a role, people in rising order.

    Rounded to 12 digits: the mean of equal numbers is equal then, however many weeks there are.
    """
    sums = np.bincount(windows.owners, weights=of_weeks, minlength=len(windows.people))
    people = windows.people_of(turn, role)
    means = sums / np.bincount(windows.owners, minlength=len(windows.people))
    return np.asarray(means[people].round(12))


def judge(windows: WeekWindows, said: Said) -> Scores:
    """Every metric over the people who were held out, mean over the dealings."""
    truth = windows.labels[said.people]
    whole = judge_binary(truth, said.held_out, threshold=THRESHOLD, rng=_rng())
    ranking = judge_binary(truth, said.ranks, threshold=THRESHOLD, rng=_rng())
    return Scores(
        {name: (ranking if name in RANKING else whole).metrics[name] for name in METRICS},
        {name: (ranking if name in RANKING else whole).intervals[name] for name in METRICS},
    )


def differences(windows: WeekWindows, first: Said, second: Said) -> dict[str, Difference]:
    """Metric -> first minus second over the same people, with the paired interval."""
    truth = windows.labels[first.people]
    halves = (THRESHOLD, THRESHOLD)
    whole = compare_binary(truth, first.held_out, second.held_out, thresholds=halves, rng=_rng())
    ranking = compare_binary(truth, first.ranks, second.ranks, thresholds=halves, rng=_rng())
    return {name: (ranking if name in RANKING else whole)[name] for name in METRICS}


def is_surely_ahead(windows: WeekWindows, turn: int, first: Said, second: Said) -> bool:
    """Whether the first is ahead on the people who choose in a turn, by more than chance."""
    truth = windows.labels[windows.people_of(turn, VALIDATION)]
    found = compare_binary(
        truth, first.validation[turn], second.validation[turn], thresholds=(THRESHOLD, THRESHOLD), rng=_rng()
    )
    return verdict_of(CHOOSES, found[CHOOSES].interval) == "ahead"


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known at the end of a training.

    Attributes:
        windows: Weeks, people, turns.
        said: Candidate, rival, CHOSEN or NETWORK -> what it says of people.
        scores: Of everyone in `said`.
        choices: For each turn, the best candidate where it is surely ahead of the best rival that can ship, by the
            people who choose; else that rival. The choice of the first turn ships.
        networks: For each turn, the candidate that is best there.
        rivals: Names.
        rival: The one that is best on what is held out: the hardest one to beat.
        difference: Metric -> NETWORK minus `rival`.
    """

    windows: WeekWindows
    said: dict[str, Said]
    scores: dict[str, Scores]
    choices: tuple[str, ...]
    networks: tuple[str, ...]
    rivals: tuple[str, ...]
    rival: str
    difference: dict[str, Difference]

    @property
    def verdict(self) -> Verdict:
        """Whether NETWORK is ahead of `rival`."""
        return verdict_of(CHOOSES, self.difference[CHOOSES].interval)


def _auroc(windows: WeekWindows, probabilities: np.ndarray, turn: int, role: int) -> float:
    truth = windows.labels[windows.people_of(turn, role)]
    found = judge_binary(truth, probabilities, threshold=THRESHOLD, rng=_rng(), n_resamples=1)
    return found.metrics[CHOOSES]


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED_OF_INTERVALS)
