"""What candidates and rivals say of people, fold by fold, and what is known of it at the end."""

from dataclasses import dataclass

import numpy as np

from foresense.evaluate.classification import ClassScores, Difference
from foresense.evaluate.hmm import Hmm
from foresense.steps.people_data import Fold, PeopleData
from foresense.training.wrist import macro_f1_and_kappa


@dataclass(frozen=True, eq=False)
class Said:
    """What one candidate or rival says.

    Attributes:
        validation: For each fold, (k, n_classes) of the people that choose.
        test: For each fold, (k, n_classes) of the people held out.
        macro_f1: For each fold, of `validation`.
    """

    validation: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    macro_f1: tuple[float, ...]

    @property
    def classes(self) -> np.ndarray:
        """(n,), int64: the most likely class for everyone held out, folds one after the other."""
        return np.asarray(np.concatenate(self.test).argmax(1))


def said_of(data: PeopleData, folds: list[Fold], found: list[tuple[np.ndarray, np.ndarray]]) -> Said:
    """Of what is said in each fold, (k, n_classes) of the people that choose and of those held out, to one's saying."""
    n_classes = len(data.windows.classes)
    return Said(
        validation=tuple(validation for validation, _ in found),
        test=tuple(test for _, test in found),
        macro_f1=tuple(
            macro_f1_and_kappa(data.labels[fold.validation], validation.argmax(1), n_classes)[0]
            for fold, (validation, _) in zip(folds, found, strict=True)
        ),
    )


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known at the end of a training.

    Attributes:
        rows: (n,), int64: rows of everyone held out, as in `Said.classes`.
        said: Candidate or rival -> what it says; CHOSEN -> in each fold, the candidate that was chosen there.
        choices: For each fold, the candidate that is best on the people that choose; that of the first one ships.
        rival: The rival that is best on the people held out: the hardest one to beat.
        scores: Candidate, rival or CHOSEN -> its scores.
        difference: Metric -> CHOSEN minus that rival, by person.
        smoothed: Scores of CHOSEN and of the forest after smoothing; None where nothing smooths.
        hmm: What ships beside the first fold's model; None where nothing smooths.
    """

    rows: np.ndarray
    said: dict[str, Said]
    choices: tuple[str, ...]
    rival: str
    scores: dict[str, ClassScores]
    difference: dict[str, Difference]
    smoothed: dict[str, ClassScores] | None
    hmm: Hmm | None
