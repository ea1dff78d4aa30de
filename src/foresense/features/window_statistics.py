"""Statistics of each channel of a context: level, spread, trend, last value, cycles, holes."""

import numpy as np

from foresense.features.contexts import Contexts, Features

VERSION = 1
#: Name of the autocorrelation -> its lag in hours.
CYCLES_H = {"daily_autocorrelation": 24, "weekly_autocorrelation": 168}


def window_statistics(contexts: Contexts) -> Features:
    """Level, spread, slope, last value, daily and weekly autocorrelation and share missing of each channel.

    - `level`: mean; `spread`: population deviation; `last`: newest sample. All in the unit of the channel.
    - `slope`: least-squares line over the context, unit per hour; 0 for a context of one sample.
    - `daily_autocorrelation`, `weekly_autocorrelation`: at the whole lag nearest to 24 h and 168 h, the biased
      estimate sum((x[t] - mean) (x[t+lag] - mean)) / sum((x[t] - mean)^2) (Box and Jenkins), in -1..1; 0 for a
      constant context. Absent where the context is not longer than the lag, or the lag is shorter than a sample.
    - `share_missing`: share of samples that were filled in, 0..1.

    Args:
        contexts: (n, context, n_channels), physical units.

    Returns:
        Features named `<channel>__<statistic>`, channel after channel.
    """
    samples = contexts.samples
    length = samples.shape[1]
    level = samples.mean(axis=1)
    centred = samples - level[:, None]
    power = np.einsum("nlc,nlc->nc", centred, centred)
    is_flat = (np.ptp(samples, axis=1) == 0) | (power == 0)
    hours = (np.arange(length) - (length - 1) / 2) * (contexts.interval_s / 3600)
    found = {
        "level": level,
        "spread": np.sqrt(power / length),
        "slope": np.einsum("l,nlc->nc", hours, centred) / max(float(hours @ hours), np.finfo(float).tiny),
        "last": samples[:, -1],
    }
    for name, cycle_h in CYCLES_H.items():
        lag = round(cycle_h * 3600 / contexts.interval_s)
        if 1 <= lag < length:
            shared = np.einsum("nlc,nlc->nc", centred[:, :-lag], centred[:, lag:])
            found[name] = np.where(is_flat, 0.0, shared / np.where(is_flat, 1.0, power))
    found["share_missing"] = contexts.imputed.mean(axis=1)
    n_channels = len(contexts.channels)
    return Features(
        names=tuple(f"{channel}__{name}" for channel in contexts.channels for name in found),
        units=tuple(_unit(name, unit) for unit in contexts.units for name in found),
        values=np.stack(list(found.values()), axis=2).reshape(len(samples), n_channels * len(found)),
    )


def _unit(name: str, unit: str) -> str:
    if name in CYCLES_H or name == "share_missing":
        return "1"
    return f"{unit}/h" if name == "slope" else unit
