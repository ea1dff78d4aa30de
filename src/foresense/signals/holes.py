"""Taking values away from numbers: at random, in one block of each course, or whole channels."""

from typing import Literal, get_args

import numpy as np

from foresense.signals.recording import SignalError

HoleKind = Literal["random", "block", "channel"]


def removed(numbers: np.ndarray, share: float, kind: HoleKind, rng: np.random.Generator) -> np.ndarray:
    """A copy with a share of its measured values set to NaN; what is NaN already stays and does not count.

    A course is one channel of one recording or window: the last axis. `random` and `block` remove exactly
    round(share * measured values): `random` anywhere; `block` one run of each course (of its measured values, in the
    order of time), at a random place, each course losing its share rounded up or down. `channel` removes exactly
    round(share * courses with a value), whole.

    Args:
        numbers: (..., n_steps), floating; the model's batches are (n_windows, n_numeric, n_steps).
        share: 0..1.
        kind: How.
        rng: Says which.

    Raises:
        SignalError: no share, an unknown kind, or an array that is not floating or has no axis.
    """
    if not 0 <= share <= 1:
        raise SignalError(f"share of values to remove: expected 0..1, found {share}")
    if kind not in get_args(HoleKind):
        raise SignalError(f"holes: no kind {kind!r}; known: {', '.join(get_args(HoleKind))}")
    if numbers.ndim == 0 or not np.issubdtype(numbers.dtype, np.floating):
        raise SignalError(f"holes: expected floating numbers with steps last, found {numbers.dtype} {numbers.shape}")
    found = np.array(numbers, order="C")  # a copy
    courses = found.reshape(-1, found.shape[-1]) if found.size else found.reshape(0, 1)
    {"random": _random, "block": _block, "channel": _channel}[kind](courses, share, rng)
    return found


def _random(courses: np.ndarray, share: float, rng: np.random.Generator) -> None:
    measured = np.flatnonzero(~np.isnan(courses))
    courses.reshape(-1)[rng.choice(measured, round(share * len(measured)), replace=False)] = np.nan


def _block(courses: np.ndarray, share: float, rng: np.random.Generator) -> None:
    measured = ~np.isnan(courses)
    n_measured = measured.sum(axis=1)
    wanted = share * n_measured
    n_lost = np.floor(wanted).astype(np.int64)
    partly = np.flatnonzero(wanted > n_lost)
    n_lost[rng.choice(partly, round(share * int(n_measured.sum())) - int(n_lost.sum()), replace=False)] += 1
    first = rng.integers(0, n_measured - n_lost, endpoint=True)
    rank = measured.cumsum(axis=1) - 1  # of a measured value among those of its course
    courses[measured & (rank >= first[:, None]) & (rank < (first + n_lost)[:, None])] = np.nan


def _channel(courses: np.ndarray, share: float, rng: np.random.Generator) -> None:
    with_value = np.flatnonzero(~np.isnan(courses).all(axis=1))
    courses[rng.choice(with_value, round(share * len(with_value)), replace=False)] = np.nan
