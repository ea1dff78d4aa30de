"""Runs of equal minutes in rows of minutes: where they begin and end, and rows painted from such places."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Runs:
    """Stretches of True in rows, by row, then in order.

    Attributes:
        rows: (n_runs,), int64: the row of each.
        begins: (n_runs,), int64: its first column.
        ends: (n_runs,), int64: the column after its last one.
    """

    rows: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(n_runs,), int64: columns of each."""
        return np.asarray(self.ends - self.begins)

    def taken(self, keep: np.ndarray) -> "Runs":
        """Only the runs `keep` (positions or a mask)."""
        return Runs(self.rows[keep], self.begins[keep], self.ends[keep])


def runs_of(mask: np.ndarray) -> Runs:
    """Find every longest stretch of True.

    Args:
        mask: (n_rows, n_columns), bool.
    """
    n_rows, n_columns = mask.shape
    edged = np.zeros((n_rows, n_columns + 2), np.int8)
    edged[:, 1:-1] = mask
    change = np.diff(edged, axis=1)
    rows, begins = np.nonzero(change == 1)
    _, ends = np.nonzero(change == -1)
    return Runs(rows, begins, ends)


def painted(runs: Runs, shape: tuple[int, int]) -> np.ndarray:
    """(n_rows, n_columns), bool: True inside of any of `runs`, which may overlap; the inverse of `runs_of`."""
    n_rows, n_columns = shape
    change = np.zeros((n_rows, n_columns + 1), np.int32)
    np.add.at(change, (runs.rows, runs.begins), 1)
    np.add.at(change, (runs.rows, runs.ends), -1)
    return np.asarray(np.cumsum(change[:, :-1], axis=1) > 0)


def counted_before(mask: np.ndarray) -> np.ndarray:
    """(n_rows, n_columns + 1), int64: how many True lie before each column; differences count any stretch."""
    n_rows, n_columns = mask.shape
    counts = np.zeros((n_rows, n_columns + 1), np.int64)
    np.cumsum(mask, axis=1, out=counts[:, 1:])
    return counts
