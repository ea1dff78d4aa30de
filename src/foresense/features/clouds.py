"""From windows of the wrist to clouds of points: magnitude, fewer samples, delays, landmarks.

numpy only, over all windows at once, and element by element: a window has the same bits in every batch.
"""

import math
from functools import cache

import numpy as np

MOST_HZ = 50.0  #: a window's magnitude is brought to at most this rate
DELAY_S = 0.1  #: between two coordinates of a point
DIMENSION = 3  #: coordinates of a point


def magnitudes(windows: np.ndarray) -> np.ndarray:
    """Euclidean length of each sample: (n, length, 3) -> (n, length), the same bits in whatever order the axes are."""
    squares = np.sort(np.square(windows, dtype=np.float64), axis=2)
    return np.asarray(np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2]))


def decimation(rate_hz: float) -> int:
    """The smallest whole factor that brings `rate_hz` to at most 50 Hz: 1 up to there, else to above 25 Hz."""
    return max(1, math.ceil(rate_hz / MOST_HZ))


def decimated(signals: np.ndarray, factor: int) -> np.ndarray:
    """Every `factor`-th sample of signals that were low-passed before, without a shift in time.

    Filter: `low_pass`. Each end is continued by the straight line through the first and the last sample.

    Args:
        signals: (n, length), float64.
        factor: 1 leaves the signals as they are.

    Returns:
        (n, ceil(length / factor)).
    """
    if factor == 1:
        return signals
    length = signals.shape[1]
    taps = low_pass(factor)
    share = np.linspace(0, 1, length)
    line = signals[:, :1] * (1 - share) + signals[:, -1:] * share
    padded = np.pad(signals - line, ((0, 0), (len(taps) // 2, len(taps) // 2)))
    found = line[:, ::factor].copy()
    for first, tap in enumerate(taps):
        found += tap * padded[:, first : first + length : factor]
    return found


@cache
def low_pass(factor: int) -> np.ndarray:
    """Symmetric FIR filter for every `factor`-th sample: (20 `factor` + 1,) taps with the sum 1; read only.

    A sinc that is 6 dB down at 0.8 of the new Nyquist frequency, in a Kaiser window of beta 5 (Kaiser 1974): 50 dB down
    from 0.96 of it on.
    """
    steps = np.arange(-10 * factor, 10 * factor + 1)
    taps = np.sinc(0.8 / factor * steps) * np.kaiser(len(steps), 5.0)
    found: np.ndarray = taps / taps.sum()
    found.setflags(write=False)
    return found


def delay_samples(rate_hz: float) -> int:
    """Samples of the delay of 100 ms at `rate_hz`, at least one."""
    return max(1, round(DELAY_S * rate_hz))


def embed(signals: np.ndarray, delay: int) -> np.ndarray:
    """Takens embedding (1981): the point of sample t is (x[t], x[t + delay], x[t + 2 delay]).

    Args:
        signals: (n, length).
        delay: In samples.

    Returns:
        (n, 3, length - 2 delay): coordinates before points, so that each coordinate is one stretch of memory.
    """
    n_points = signals.shape[1] - (DIMENSION - 1) * delay
    return np.stack([signals[:, axis * delay : axis * delay + n_points] for axis in range(DIMENSION)], axis=1)


def farthest_points(clouds: np.ndarray, n_landmarks: int) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks of each cloud by farthest-point sampling (Gonzalez 1985), and how well they cover it.

    The first landmark is the cloud's first point, each next one the point that is farthest from all before (the first
    of several). One pass for each landmark over all clouds at once. The covering radius is at most twice the best that
    so many landmarks could have.

    Args:
        clouds: (n, dimension, n_points).
        n_landmarks: Of each cloud; all points where there are not more.

    Returns:
        Indices of the landmarks, (n, n_landmarks), int64, and the covering radii, (n,): largest distance of a point
        from its nearest landmark, 0 where every point is one.
    """
    n, _, n_points = clouds.shape
    size = min(n_landmarks, n_points)
    if size == n_points:
        return np.tile(np.arange(n_points), (n, 1)), np.zeros(n)
    rows = np.arange(n)
    found = np.zeros((n, size), np.int64)
    nearest = np.full((n, n_points), np.inf)
    away, squared = np.empty(clouds.shape), np.empty((n, n_points))
    for step in range(size):
        chosen = nearest.argmax(axis=1)
        found[:, step] = chosen
        np.subtract(clouds, clouds[rows, :, chosen][:, :, None], out=away)
        np.square(away, out=away)
        np.add.reduce(away, axis=1, out=squared)
        np.minimum(nearest, squared, out=nearest)
    return found, np.sqrt(nearest.max(axis=1))


def distances(points: np.ndarray) -> np.ndarray:
    """Euclidean distance of every two points of one cloud: (dimension, n_points) -> (n_points, n_points)."""
    total = sum(np.square(axis[:, None] - axis) for axis in points)
    return np.asarray(np.sqrt(total))
