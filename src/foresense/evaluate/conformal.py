"""Intervals around forecasts that need no distribution: split conformal prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from foresense.signals import read_json, write_json


@dataclass(frozen=True, eq=False)
class Conformal:
    """Half widths of intervals around forecasts.

    Attributes:
        level: Share of the truth that is to lie inside.
        half_width: (horizon, n_channels), scaled units: by steps ahead.
        n_windows: Validation windows that the widths are from.
        channels: Name of each column.
    """

    level: float
    half_width: np.ndarray
    n_windows: int
    channels: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write as JSON."""
        write_json(
            path,
            {
                "level": self.level,
                "n_windows": self.n_windows,
                "channels": list(self.channels),
                "half_width": self.half_width.tolist(),
            },
        )


def read_conformal(path: Path) -> Conformal:
    """Read what `Conformal.write` wrote."""
    content = read_json(path)
    return Conformal(
        level=content["level"],
        half_width=np.asarray(content["half_width"], np.float64),
        n_windows=content["n_windows"],
        channels=tuple(content["channels"]),
    )


def fit_conformal(residuals: np.ndarray, *, channels: Sequence[str], level: float = 0.9) -> Conformal:
    """Half widths from residuals that the model was not trained on, by steps ahead and channel.

    Of n absolute residuals the ceil((n + 1) level)-th smallest is taken. Were the windows exchangeable, a new one
    would lie inside with a probability of at least `level`. Windows of one machine are not: neighbours overlap, and
    machines age. So coverage is no promise; measure it on test windows (`coverage`).

    Args:
        residuals: (n_windows, horizon, n_channels), truth - forecast on VALIDATION windows, scaled units.
        channels: Name of each column.
        level: Share of the truth that is to lie inside, between 0 and 1.

    Raises:
        ValueError: too few windows for the level, residuals that are no numbers or do not fit the channels, or a level
            outside of (0, 1).

    Source: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, Distribution-Free Predictive Inference for Regression, 2018,
    section 2.2.
    """
    _check(residuals, channels)
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, found {level:g}")
    n_windows = len(residuals)
    rank = rank_of(n_windows, level)
    if rank > n_windows:
        raise ValueError(
            f"an interval of level {level:g} needs {windows_needed(level)} validation windows, found {n_windows}; make "
            "window.split.validation larger, window.stride_evaluation smaller, or lower the level"
        )
    half_width = np.partition(np.abs(residuals), rank - 1, axis=0)[rank - 1].astype(np.float64)
    return Conformal(level, half_width, n_windows, tuple(channels))


def coverage(conformal: Conformal, residuals: np.ndarray) -> np.ndarray:
    """Share of the truth inside the interval, by channel.

    Args:
        conformal: From validation windows.
        residuals: (n_windows, horizon, n_channels), truth - forecast on TEST windows, scaled units.

    Returns:
        (n_channels,), over windows and steps ahead alike.

    Raises:
        ValueError: no windows, residuals that are no numbers, another horizon, or other channels.
    """
    _check(residuals, conformal.channels)
    if residuals.shape[1:] != conformal.half_width.shape or not len(residuals):
        raise ValueError(
            f"coverage: expected residuals of shape (1 or more, {conformal.half_width.shape[0]}, "
            f"{conformal.half_width.shape[1]}), found {residuals.shape}"
        )
    inside: np.ndarray = (np.abs(residuals) <= conformal.half_width).mean(axis=(0, 1))
    return inside


def rank_of(n: int, level: float) -> int:
    """Which of n absolute residuals, counted from the smallest, is the half width; more than n: none is enough."""
    return ceil(round((n + 1) * level, 9))  # 10 x 0.9 is 9.000000000000002 in other orders of arithmetic


def windows_needed(level: float) -> int:
    """Fewest windows from which an interval of this level can be taken: level / (1 - level), rounded up."""
    return ceil(round(level / (1 - level), 9))


def _check(residuals: np.ndarray, channels: Sequence[str]) -> None:
    if residuals.ndim != 3 or residuals.shape[2] != len(channels):
        raise ValueError(
            f"expected residuals of shape (n_windows, horizon, {len(channels)}) for the channels {list(channels)}, "
            f"found {residuals.shape}"
        )
    if not np.isfinite(residuals).all():
        raise ValueError(
            f"{int((~np.isfinite(residuals)).sum())} residuals are no numbers; take windows without missing samples, "
            "and look at the model's forecasts"
        )
