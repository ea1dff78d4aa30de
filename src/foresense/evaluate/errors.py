"""Forecast errors, summed window by window so that a test part of any size fits in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from foresense.signals import Windows

BATCH = 16  # windows at once: 64 of the asked network with seven channels took 5 GiB


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """Errors of a forecast over a set of windows, kept apart along every axis that a report shows.

    Attributes:
        squared: (n_windows, n_channels): mean squared error of each window and channel, squared scaled units.
        absolute: (n_windows, n_channels): mean absolute error, scaled units.
        squared_by_step: (horizon, n_channels): mean over the windows, by steps ahead.
    """

    squared: np.ndarray
    absolute: np.ndarray
    squared_by_step: np.ndarray

    def summary(self) -> dict[str, float]:
        """`mse` (squared scaled units) and `mae` (scaled units) over windows, steps and channels alike."""
        return {"mse": float(self.squared.mean()), "mae": float(self.absolute.mean())}


def errors_of(forecast: np.ndarray, truth: np.ndarray) -> ErrorSums:
    """Errors of (n, horizon, n_channels) forecasts against the truth of the same shape."""
    difference = forecast.astype(np.float64) - truth
    squared = difference**2
    return ErrorSums(squared.mean(1), np.abs(difference).mean(1), squared.mean(0))


def sum_errors(
    windows: Windows, starts: np.ndarray, forecast: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> ErrorSums:
    """Errors of `forecast` over the windows that begin at `starts`.

    Args:
        windows: Where the samples are.
        starts: (n,), int64.
        forecast: From contexts (m, context, n_channels) and their starts (m,) to forecasts (m, horizon, n_channels),
            scaled units.
    """
    squared, absolute = [], []
    by_step = np.zeros((windows.horizon, windows.samples.shape[1]))
    for chosen in in_batches(starts):
        batch = windows.gather(chosen)
        found = errors_of(forecast(batch[:, : windows.context], chosen), batch[:, windows.context :])
        squared.append(found.squared)
        absolute.append(found.absolute)
        by_step += found.squared_by_step * (len(chosen) / len(starts))
    return ErrorSums(np.concatenate(squared), np.concatenate(absolute), by_step)


def in_batches(starts: np.ndarray, size: int = BATCH) -> Iterator[np.ndarray]:
    """Consecutive slices of `starts` (n,), the last one shorter."""
    for first in range(0, len(starts), size):
        yield starts[first : first + size]
