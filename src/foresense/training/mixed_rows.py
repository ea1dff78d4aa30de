"""Rows that the rivals of a network for mixed recordings learn from and predict."""

from dataclasses import dataclass, replace

import numpy as np


class RivalError(ValueError):
    """Rows that a rival cannot learn from; the message says what, expected, found, and what to do."""


@dataclass(frozen=True, eq=False)
class ClassRows:
    """Rows of features with a class.

    Attributes:
        features: (n, n_features), floating; NaN: not measured; never infinite.
        target: (n,), floating: the number of the class, 0 to n_classes - 1; NaN: not known. Read in training only.
        n_classes: k.
        owners: (n,), int: rows of one owner (patient, week) are never on both sides of an inner split. None: each row
            has its own.

    Raises:
        RivalError: shapes that differ, infinite features, targets that are no class.
    """

    features: np.ndarray
    target: np.ndarray
    n_classes: int
    owners: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_rows(self.features, target=self.target, owners=self.owners)
        known = self.target[~np.isnan(self.target)]
        bad = known[(known != np.floor(known)) | (known < 0) | (known >= self.n_classes)]
        if len(bad):
            raise RivalError(f"target: expected classes 0 to {self.n_classes - 1}, NaN: not known; found {bad[0]}")

    def only(self, chosen: np.ndarray) -> "ClassRows":
        """Some of the rows: (n,), bool, or their numbers."""
        owners = None if self.owners is None else self.owners[chosen]
        return replace(self, features=self.features[chosen], target=self.target[chosen], owners=owners)


@dataclass(frozen=True, eq=False)
class ValueRows:
    """Rows of features with a value to forecast.

    Attributes:
        features: (n, n_features), floating; NaN: not measured; never infinite.
        target: (n,), floating; NaN: not known. Read in training only.
        history: (n, n_steps): what is forecast, up to now, newest last; NaN: not measured. A step is an hour.
        issued_h: (n,), int: hour of the newest step, counted from any one hour for all rows.
        horizon_h: Hours from the newest step to the target, at least 1.

    Raises:
        RivalError: shapes that differ, infinite features or targets, no history, a horizon below 1.
    """

    features: np.ndarray
    target: np.ndarray
    history: np.ndarray
    issued_h: np.ndarray
    horizon_h: int

    def __post_init__(self) -> None:
        _check_rows(self.features, target=self.target, issued_h=self.issued_h)
        if np.isinf(self.target).any():
            raise RivalError("target: infinite; expected finite values, NaN where it is not known")
        if self.history.ndim != 2 or len(self.history) != len(self.target) or self.history.shape[1] < 1:
            raise RivalError(f"history: expected ({len(self.target)}, n_steps), found {self.history.shape}")
        if np.isinf(self.history).any():
            raise RivalError("history: infinite; expected finite values, NaN where nothing was measured")
        if self.horizon_h < 1:
            raise RivalError(f"horizon_h: expected at least 1, found {self.horizon_h}")

    def only(self, chosen: np.ndarray) -> "ValueRows":
        """Some of the rows: (n,), bool, or their numbers."""
        return replace(
            self,
            features=self.features[chosen],
            target=self.target[chosen],
            history=self.history[chosen],
            issued_h=self.issued_h[chosen],
        )


def _check_rows(features: np.ndarray, **columns: np.ndarray | None) -> None:
    shapes = {name: column.shape for name, column in columns.items() if column is not None}
    if features.ndim != 2 or 0 in features.shape or set(shapes.values()) != {(len(features),)}:
        raise RivalError(
            f"rows: features {features.shape} and {shapes}; expected (n, n_features), at least one of each, and one "
            "value a row"
        )
    if np.isinf(features).any():
        row, column = np.argwhere(np.isinf(features))[0]
        raise RivalError(f"features[{row}, {column}] is infinite; expected finite values, NaN where nothing is known")
