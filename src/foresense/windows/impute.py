"""Close short gaps without looking over a cut; mark long ones, which nothing bridges."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Imputed:
    """Rows of one asset with their short gaps interpolated, and what was done to them.

    Attributes:
        samples: (n_rows, n_channels), physical units; NaN where `at_edge`, and all through `broken` rows.
        interpolated: (n_rows, n_channels), bool: linear between the neighbours in the same part.
        at_edge: (n_rows, n_channels), bool: a short gap without a neighbour on both sides in the same part of the
            same recording; to be filled with the mean of the training part.
        broken: (n_rows,), bool: rows of a long gap in any channel; no window holds one.
        n_long_gaps: Long gaps, counted once per channel.
    """

    samples: np.ndarray
    interpolated: np.ndarray
    at_edge: np.ndarray
    broken: np.ndarray
    n_long_gaps: int


def interpolate_short_gaps(samples: np.ndarray, *, recording: np.ndarray, piece: np.ndarray, max_gap: int) -> Imputed:
    """Interpolate runs of NaN up to `max_gap` rows, inside one part of one recording.

    A gap that touches a cut is not interpolated: its training side would be drawn from values after the cut. It
    is left to the mean of the training part, as a short gap at the start or end of a recording is. How long a gap
    is counts over the cut, so a long gap on a cut stays a long gap.

    Args:
        samples: (n_rows, n_channels), physical units, NaN where missing.
        recording: (n_rows,), int: number of the recording of each row, never falling.
        piece: (n_rows,), int: number of the part of the recording of each row, never falling.
        max_gap: Longest gap that is closed, in rows.
    """
    n_rows, n_channels = samples.shape
    filled = samples.copy()
    interpolated = np.zeros(samples.shape, bool)
    at_edge = np.zeros(samples.shape, bool)
    broken = np.zeros(n_rows, bool)
    n_long_gaps = 0
    for channel in range(n_channels):
        missing = np.isnan(samples[:, channel])
        first, end = _runs(missing, recording)
        is_long = end - first > max_gap
        left, right = np.maximum(first - 1, 0), np.minimum(end, n_rows - 1)
        is_inside = (first > 0) & (end < n_rows) & (piece[left] == piece[right])
        broken |= _rows_of(first[is_long], end[is_long], n_rows)
        interpolated[:, channel] = _rows_of(first[~is_long & is_inside], end[~is_long & is_inside], n_rows)
        at_edge[:, channel] = _rows_of(first[~is_long & ~is_inside], end[~is_long & ~is_inside], n_rows)
        n_long_gaps += int(is_long.sum())
        rows, known = np.flatnonzero(interpolated[:, channel]), np.flatnonzero(~missing)
        if len(rows):
            filled[rows, channel] = np.interp(rows, known, samples[known, channel])
    filled[broken] = np.nan
    interpolated[broken] = False
    at_edge[broken] = False
    return Imputed(filled, interpolated, at_edge, broken, n_long_gaps)


def _runs(missing: np.ndarray, recording: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of every run of `missing` inside one recording, and the first row after it."""
    follows = np.zeros(len(missing), bool)
    follows[1:] = missing[1:] & missing[:-1] & (recording[1:] == recording[:-1])
    first = np.flatnonzero(missing & ~follows)
    is_followed = np.append(follows[1:], False)
    return first, np.flatnonzero(missing & ~is_followed) + 1


def _rows_of(first: np.ndarray, end: np.ndarray, n_rows: int) -> np.ndarray:
    """(n_rows,), bool: the rows of the runs [first, end)."""
    steps = np.zeros(n_rows + 1, np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, end, -1)
    return np.asarray(np.cumsum(steps[:-1]) > 0)
