"""What an hour of the week is usually like: shifts, weekends and planned stops are no drift."""

import numpy as np

HOURS_OF_WEEK = 168
_N_FOLDS = 4


def hours_of_week(times_s: np.ndarray, time_zone: str) -> np.ndarray:
    """(n,), int: hours of the local clock since Monday 0:00, 0 to 167."""
    import pandas as pd

    local = pd.to_datetime(np.asarray(times_s), unit="s", utc=True).tz_convert(time_zone)
    return np.asarray(local.dayofweek * 24 + local.hour)


def levels(samples: np.ndarray, hours: np.ndarray) -> np.ndarray:
    """(168, n_channels): median of each hour of the week, NaN where it was never measured."""
    import pandas as pd

    medians = pd.DataFrame(samples).groupby(hours).median().reindex(range(HOURS_OF_WEEK))
    return medians.to_numpy(np.float64)


def residuals_from_other_weeks(samples: np.ndarray, hours: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n_rows, n_channels): residuals of each week from levels that three of four other weeks gave."""
    fold = ((times_s - times_s[0]) // (HOURS_OF_WEEK * 3600)).astype(int) % _N_FOLDS
    residuals = np.empty_like(samples, dtype=np.float64)
    for number in range(_N_FOLDS):
        held = fold == number
        residuals[held] = samples[held] - levels(samples[~held], hours[~held])[hours[held]]
    return residuals
