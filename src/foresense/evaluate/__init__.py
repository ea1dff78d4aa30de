"""Metrics, baselines, confidence intervals and plots."""

from foresense.evaluate.baselines import Forecast, last_value, ridge_on_features, seasonal_naive
from foresense.evaluate.errors import ErrorSums, errors_of, sum_errors
from foresense.evaluate.intervals import block_bootstrap

__all__ = [
    "ErrorSums",
    "Forecast",
    "block_bootstrap",
    "errors_of",
    "last_value",
    "ridge_on_features",
    "seasonal_naive",
    "sum_errors",
]
