"""Lay samples of any rate on one grid, by their mean within each interval."""

import numpy as np

_NS = 1_000_000_000


def grid_origin(times_ns: np.ndarray, interval_s: float, day_start_ns: int) -> int:
    """Where the grid begins: at the first sample when they lie on a grid already, else in step with the day.

    Args:
        times_ns: (n,), int64, rising: nanoseconds since 1970 UTC; at least one.
        interval_s: Seconds from one sample of the grid to the next.
        day_start_ns: Midnight before the first sample, in local time; intervals are counted from it.

    Returns:
        Nanoseconds since 1970 UTC, at or before the first sample by less than one interval.
    """
    interval_ns = round(interval_s * _NS)
    first = int(times_ns[0])
    if not ((times_ns - first) % interval_ns).any():
        return first
    return first - (first - day_start_ns) % interval_ns


def resample(
    times_ns: np.ndarray, samples: np.ndarray, *, interval_s: float, origin_ns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the samples within each interval [start, start + interval_s), labelled by its start.

    Samples that lie one to an interval come out unchanged, bit for bit. The mean of each channel is over its own
    valid samples; an interval without one is NaN.

    Args:
        times_ns: (n,), int64, rising: nanoseconds since 1970 UTC.
        samples: (n, n_channels), float64, NaN where missing.
        interval_s: Seconds from one sample of the grid to the next.
        origin_ns: Start of the first interval, at or before the first sample.

    Returns:
        (n_grid, n_channels), float64: the means, from the interval at `origin_ns` to that of the last sample; and
        (n_grid, n_channels), int64: how many valid samples each is the mean of.

    Raises:
        ValueError: times fall, or begin before the origin, or do not fit the samples.
    """
    if samples.ndim != 2 or len(times_ns) != len(samples):
        raise ValueError(f"resample: {len(times_ns)} times for samples of shape {samples.shape}; one for each row")
    n_channels = samples.shape[1]
    if len(times_ns) == 0:
        return np.empty((0, n_channels)), np.empty((0, n_channels), np.int64)
    if (np.diff(times_ns) < 0).any():
        raise ValueError("resample: times must rise; sort the rows first")
    if times_ns[0] < origin_ns:
        raise ValueError(f"resample: first time {times_ns[0]} ns lies before the origin {origin_ns} ns")
    bins = (times_ns - origin_ns) // round(interval_s * _NS)
    begins = np.flatnonzero(np.r_[True, bins[1:] != bins[:-1]])
    valid = ~np.isnan(samples)
    sums = np.add.reduceat(np.where(valid, samples, 0.0), begins, axis=0)
    counts = np.add.reduceat(valid.astype(np.int64), begins, axis=0)
    n_grid = int(bins[-1]) + 1
    means = np.full((n_grid, n_channels), np.nan)
    grid_counts = np.zeros((n_grid, n_channels), np.int64)
    grid_counts[bins[begins]] = counts
    means[bins[begins]] = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means, grid_counts
