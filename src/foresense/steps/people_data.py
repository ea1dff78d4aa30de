"""What a training of people reads: windows, features, labels; and which people train, choose and test in a fold."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.features import read_columns, read_features
from foresense.signals.labelled import LabelledWindows, open_labelled_windows
from foresense.steps.window_activity import GROUP
from foresense.training.wrist_items import WristItems

#: Family -> the input of a classifier that it is.
INPUTS = {"wrist_statistics": "statistics", "wrist_topology": "topology", "wrist_time": "times"}


@dataclass(frozen=True, eq=False)
class PeopleData:
    """Windows that have features, with those features.

    Attributes:
        windows: All windows.
        numbers: (n,), int64: which of them have features.
        features: (n, n_features), float64.
        names: Name of each feature.
        inputs: Input of a classifier -> its columns of `features`.
    """

    windows: LabelledWindows
    numbers: np.ndarray
    features: np.ndarray
    names: tuple[str, ...]
    inputs: dict[str, np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        """(n,), int64."""
        return np.asarray(self.windows.labels[self.numbers])

    @property
    def owners(self) -> np.ndarray:
        """(n,), int64."""
        return np.asarray(self.windows.owners[self.numbers])

    def rows(self, folds: list[int], *, judged: bool) -> np.ndarray:
        """(k,), int64: rows of the people of these groups; `judged`: only windows that lie end to end."""
        own = np.isin(self.windows.folds[self.owners], folds)
        return np.flatnonzero(own & self.windows.is_apart[self.numbers] if judged else own)

    def items(self, rows: np.ndarray) -> WristItems:
        """Rows as a training takes them."""
        beside = {
            name: self.features[rows[:, None], columns].astype(np.float32) for name, columns in self.inputs.items()
        }
        return WristItems(self.windows.gather(self.numbers[rows]), labels=self.labels[rows], **beside)


@dataclass(frozen=True, eq=False)
class Fold:
    """One turn: groups of people and their rows.

    Attributes:
        number: The group that is held out for the test.
        train: (k,), int64: rows of training people, all windows.
        validation: Rows of the people that choose, windows that are judged.
        test: Rows of the people held out, windows that are judged.
    """

    number: int
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def read_people(windows: Path, features: Path) -> PeopleData:
    """Open what the steps `window` and `features` wrote.

    Raises:
        FileNotFoundError: one of them has not finished.
    """
    opened = open_labelled_windows(windows / GROUP)
    table: pd.DataFrame = read_features(features)
    columns = read_columns(features)
    families = np.array([column.family for column in columns])
    return PeopleData(
        windows=opened,
        numbers=table["window"].to_numpy(np.int64),
        features=table[[column.name for column in columns]].to_numpy(np.float64),
        names=tuple(column.name for column in columns),
        inputs={
            INPUTS[family]: np.flatnonzero(families == family) for family in dict.fromkeys(families) if family in INPUTS
        },
    )


def fold_of(data: PeopleData, number: int) -> Fold:
    """Group `number` is held out, the next one chooses, all others train: no person is in two parts."""
    n = data.windows.n_folds
    chooses = (number + 1) % n
    others = [group for group in range(n) if group not in (number, chooses)]
    return Fold(
        number=number,
        train=data.rows(others, judged=False),
        validation=data.rows([chooses], judged=True),
        test=data.rows([number], judged=True),
    )
