"""The best linear forecast, in closed form: what a network has to beat to be worth its weights."""

from dataclasses import dataclass

import numpy as np

from foresense.signals import Windows

#: Newest samples of the context that are tried; the whole context always is.
CONTEXTS = (168, 336, 512, 720)
#: Ridge penalties that are tried, as shares of the mean square of an input.
PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_BATCH = 64  # windows at once: bounds the memory


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A forecast of each channel from its own past, by one matrix for all channels.

    Attributes:
        weights: (n_samples, horizon): departures of the newest samples from the last one, to those of the forecast.
        penalty: Share of the mean square of an input that was added to the diagonal.
        validation_mse: Squared scaled units.
    """

    weights: np.ndarray
    penalty: float
    validation_mse: float

    def __call__(self, context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(n, context, n_channels) to (n, horizon, n_channels), scaled units."""
        last = context[:, -1:].astype(np.float64)
        departures = context[:, -len(self.weights) :] - last
        course = np.einsum("ntc,th->nhc", departures, self.weights, optimize=True)
        return np.asarray(last + course)


def linear_map(windows: Windows, *, train: np.ndarray, validation: np.ndarray) -> LinearMap:
    """Ridge regression of a horizon on its context, both relative to the last sample, all channels alike.

    Length of context and penalty are chosen on validation. All that is needed are the second moments of the two parts,
    gathered once: the moments of a shorter context are a corner of those of the longest.

    Args:
        windows: Scaled samples.
        train: (n,), starts of training windows.
        validation: (n,), starts of validation windows.

    Source: Toner and Darlow, An Analysis of Linear Time Series Forecasting Models, ICML 2024: the closed form does as
    well as DLinear and its kin, or better.
    """
    xx, xy, _ = _moments(windows, train)
    held_xx, held_xy, held_yy = _moments(windows, validation)
    n_held = len(validation) * len(windows.channels) * windows.horizon
    best: LinearMap | None = None
    for length in sorted({windows.context, *(length for length in CONTEXTS if length < windows.context)}):
        newest = slice(windows.context - length, None)
        values, vectors = np.linalg.eigh(xx[newest, newest])
        turned = vectors.T @ xy[newest]
        for penalty in PENALTIES:
            damped = np.maximum(values, 0.0) + penalty * values.mean() + np.finfo(float).tiny
            weights = vectors @ (turned / damped[:, None])
            missed = (
                held_yy - 2 * np.vdot(weights, held_xy[newest]) + np.vdot(weights, held_xx[newest, newest] @ weights)
            )
            if best is None or missed / n_held < best.validation_mse:
                best = LinearMap(weights, penalty, float(missed / n_held))
    if best is None:
        raise AssertionError("unreachable: the whole context is always tried")
    return best


def _moments(windows: Windows, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Sums over windows and channels of x xT (context, context), x yT (context, horizon) and |y|²."""
    context = windows.context
    xx, xy, yy = np.zeros((context, context)), np.zeros((context, windows.horizon)), 0.0
    for first in range(0, len(starts), _BATCH):
        batch = windows.gather(starts[first : first + _BATCH]).astype(np.float64)
        departures = batch - batch[:, context - 1 : context]
        rows = departures.transpose(0, 2, 1).reshape(-1, batch.shape[1])  # one for each window and channel
        x, y = rows[:, :context], rows[:, context:]
        xx += x.T @ x
        xy += x.T @ y
        yy += float(np.vdot(y, y))
    return xx, xy, yy
