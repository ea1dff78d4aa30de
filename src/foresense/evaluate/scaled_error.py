"""The scale of the mean absolute scaled error: what a forecast by the same hour of the day before would have missed."""

import numpy as np


def naive_scale(samples: np.ndarray, recording: np.ndarray, season: int) -> np.ndarray:
    """In-sample error of the seasonal naive forecast, as it was known at every row.

    The mean absolute scaled error (MASE) is the mean of |truth - forecast| / scale, with the scale of the row at which
    the forecast was made: below 1 it beats the in-sample seasonal naive forecast on average. Unlike the mean absolute
    percentage error it has no truth in the denominator, which at a stopped machine (current and vibration near 0), or
    on a scale with an arbitrary zero (degrees Celsius), makes any percentage.

    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, International Journal of Forecasting
    22 (2006), section 3; with season m the denominator is that of Hyndman and Athanasopoulos, Forecasting: Principles
    and Practice, 3rd ed., section 5.8.

    Args:
        samples: (n_rows, n_channels), physical units, NaN where missing.
        recording: (n_rows,), int: number of the recording of each row; no difference is taken over a seam.
        season: m, rows.

    Returns:
        (n_rows, n_channels), physical units: mean of |y[t] - y[t - m]| over all t up to each row where both are
        measured; NaN where there is none yet, or where it is 0 (a constant channel has no scale).
    """
    differences = np.full(samples.shape, np.nan)
    if len(samples) > season:
        together = recording[season:] == recording[:-season]
        differences[season:][together] = np.abs(samples[season:] - samples[:-season])[together]
    known = ~np.isnan(differences)
    sums, counts = np.cumsum(np.where(known, differences, 0.0), axis=0), np.cumsum(known, axis=0)
    scale = np.divide(sums, counts, out=np.full(samples.shape, np.nan), where=counts > 0)
    return np.where(scale > 0, scale, np.nan)


def error_ratio(mse: float, naive_mse: float) -> float:
    """Error over that of a naive forecast; infinite where the naive one is perfect: a machine stands still."""
    return mse / naive_mse if naive_mse > 0 else float("inf")
