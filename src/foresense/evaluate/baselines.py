"""Forecasts that need no network: what a model has to beat."""

from typing import Protocol

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foresense.signals import Windows

ALPHAS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)


class Forecast(Protocol):
    """From contexts (n, context, n_channels) and window starts (n,) to forecasts (n, horizon, n_channels)."""

    def __call__(self, context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Scaled units in, scaled units out."""


def last_value(horizon: int) -> Forecast:
    """Repeat the last sample of the context."""

    def forecast(context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        return np.repeat(context[:, -1:], horizon, axis=1)

    return forecast


def seasonal_naive(horizon: int, season: int) -> Forecast:
    """Repeat the last whole season of the context.

    Args:
        horizon: Samples to forecast.
        season: Samples of one season (24 for a day of hours).

    Returns:
        The forecast; it raises ValueError for a context that is shorter than a season.
    """
    steps = np.arange(horizon) % season

    def forecast(context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        if season > context.shape[1]:
            raise ValueError(f"a season of {season} samples is longer than the context of {context.shape[1]}")
        found: np.ndarray = context[:, context.shape[1] - season + steps]
        return found

    return forecast


def ridge_on_features(
    windows: Windows, features: dict[int, np.ndarray], *, train: np.ndarray, validation: np.ndarray
) -> tuple[Forecast, float]:
    """Ridge regression from the features of a window to the course of its horizon relative to the last sample.

    Args:
        windows: Where targets are.
        features: Window start -> (n_features,) values.
        train: Starts of training windows, all with features.
        validation: Starts of validation windows, all with features; they choose the penalty.

    Returns:
        The forecast, and the penalty that validation chose.
    """

    def inputs(starts: np.ndarray) -> np.ndarray:
        return np.stack([features[int(start)] for start in starts])

    def departures(starts: np.ndarray) -> np.ndarray:
        batch = windows.gather(starts)
        last = batch[:, windows.context - 1 : windows.context]
        courses: np.ndarray = batch[:, windows.context :] - last
        return courses.reshape(len(starts), -1)

    x, y = inputs(train), departures(train)
    x_validation, y_validation = inputs(validation), departures(validation)
    fitted = [make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(x, y) for alpha in ALPHAS]
    errors = [float(np.mean((model.predict(x_validation) - y_validation) ** 2)) for model in fitted]
    best = int(np.argmin(errors))

    def forecast(context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        departure = fitted[best].predict(inputs(starts)).reshape(len(starts), windows.horizon, -1)
        found: np.ndarray = context[:, -1:] + departure
        return found

    return forecast, ALPHAS[best]
