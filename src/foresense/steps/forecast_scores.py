"""Forecasts against what really happened: errors and coverage by channel, alarms per operating hour."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foresense.evaluate.scaled_error import naive_scale
from foresense.steps.anomalies import Anomaly
from foresense.steps.forecast_context import Measured, told
from foresense.steps.forecast_table import AssetForecast, read_forecasts

#: Earlier forecasts are looked at for so long.
DAYS = 30
SEASON_H = 24
#: Tells whether a machine runs: a stopped motor draws (nearly) no current.
RUNNING_CHANNEL = "current"
RUNNING_SHARE = 0.1
_DAY_S, _HOUR_S = 86_400, 3_600.0


@dataclass
class _Sums:
    """Sums over the samples of one channel that were both forecast and measured."""

    unit: str
    n: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    n_inside: int = 0
    scaled: float = 0.0
    n_scaled: int = 0

    def mean(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "n_samples": self.n,
            "mae": self.absolute / self.n,
            "rmse": float(np.sqrt(self.squared / self.n)),
            "mase": self.scaled / self.n_scaled if self.n_scaled else None,
            "coverage": self.n_inside / self.n,
        }


@dataclass
class _Scores:
    measured: Mapping[str, Measured]
    scales: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, _Sums] = field(default_factory=dict)

    def add(self, forecast: AssetForecast) -> bool:
        """Count a forecast as far as its target times have been measured; whether any has."""
        measured = self.measured[forecast.asset]
        if forecast.channels != measured.channels:
            return False
        actual = measured.at(forecast.times_s)
        known = ~np.isnan(actual)
        scale = self._scale(measured, int(forecast.times_s[0]))
        error = np.abs(actual - forecast.predicted)
        is_inside = (actual >= forecast.lower) & (actual <= forecast.upper)
        for number, channel in enumerate(forecast.channels):
            here = known[:, number]
            if not here.any():
                continue
            sums = self.sums.setdefault(channel, _Sums(forecast.units[number]))
            sums.n += int(here.sum())
            sums.absolute += float(error[here, number].sum())
            sums.squared += float((error[here, number] ** 2).sum())
            sums.n_inside += int(is_inside[here, number].sum())
            if not np.isnan(scale[number]):
                sums.scaled += float(error[here, number].sum() / scale[number])
                sums.n_scaled += int(here.sum())
        return bool(known.any())

    def _scale(self, measured: Measured, first_target_s: int) -> np.ndarray:
        """(n_channels,): in-sample error of the seasonal naive forecast before the first target."""
        if measured.asset not in self.scales:
            season = round(SEASON_H * _HOUR_S / measured.interval_s)
            self.scales[measured.asset] = naive_scale(measured.samples, measured.recording, max(season, 1))
        row = int(np.searchsorted(measured.times_s, first_target_s)) - 1
        return self.scales[measured.asset][row] if row >= 0 else np.full(len(measured.channels), np.nan)


def score(files: Mapping[int, Path], measured: Mapping[str, Measured], *, now_s: int) -> dict[str, Any]:
    """Errors of the forecasts of the last 30 days where their target times have been measured by now.

    The mean absolute percentage error is left out on purpose: it divides by the truth, and a stopped machine's current
    and vibration are near 0, a temperature's zero is arbitrary. MASE (see `evaluate.scaled_error`) divides by what
    the forecast "as yesterday at this hour" missed in the samples that were known when the forecast was made.

    Args:
        files: Of forecasts by the time they were made.
        measured: By asset, up to now.
        now_s: Seconds since 1970 UTC.

    Returns:
        `since`, `n_forecasts` (of assets, with a measured target), `n_files`, and `channels`: channel to unit,
        n_samples, mae, rmse, mase (None where there is no scale) and coverage of the interval.
    """
    scores = _Scores(measured)
    n_forecasts = 0
    looked_at = [made_at_s for made_at_s in sorted(files) if now_s - DAYS * _DAY_S <= made_at_s < now_s]
    for made_at_s in looked_at:
        known = [one for asset, one in read_forecasts(files[made_at_s]).items() if asset in measured]
        n_forecasts += sum([scores.add(forecast) for forecast in known])
    return {
        "since": told(looked_at[0]) if looked_at else None,
        "n_files": len(looked_at),
        "n_forecasts": n_forecasts,
        "channels": {channel: sums.mean() for channel, sums in scores.sums.items()},
    }


def alarm_rates(
    anomalies: Sequence[Anomaly],
    made_s: Collection[int],
    measured: Mapping[str, Measured],
    *,
    rules: Sequence[str],
    now_s: int,
) -> dict[str, Any]:
    """Alarms per 1000 operating hours, by rule, over the last 30 days.

    Findings of one asset, channel and rule in forecasts that follow each other are one alarm. A machine runs in the
    hours in which its channel `current` is above a tenth of the 95th percentile of all its hours; of a machine
    without such a channel every measured hour counts, and the report says so.

    Args:
        anomalies: What is kept.
        made_s: When forecasts were made, now included: seconds since 1970 UTC.
        measured: By asset, up to now.
        rules: Names of the rules that were asked.
        now_s: Seconds since 1970 UTC.

    Returns:
        `operating_hours`, `known_by` (how) and `rules`: rule to n_alarms and per_1000_h, None where no hour has passed
        since the first forecast.
    """
    looked_at = sorted(made_at_s for made_at_s in made_s if now_s - DAYS * _DAY_S <= made_at_s <= now_s)
    since_s = looked_at[0] if looked_at else now_s
    hours = sum(running_hours(one, since_s, now_s) for one in measured.values())
    without = sorted(asset for asset, one in measured.items() if RUNNING_CHANNEL not in one.channels)
    counts = _count_alarms(anomalies, looked_at, rules)
    return {
        "since": told(since_s),
        "operating_hours": hours,
        "known_by": f"{RUNNING_CHANNEL} above {RUNNING_SHARE:g} of its 95th percentile"
        + (f"; every measured hour of {', '.join(without)}, which has no such channel" if without else ""),
        "rules": {
            rule: {"n_alarms": n_alarms, "per_1000_h": 1000 * n_alarms / hours if hours else None}
            for rule, n_alarms in counts.items()
        },
    }


def running_hours(measured: Measured, since_s: int, until_s: int) -> float:
    """Hours in (since, until] in which the machine ran; see `alarm_rates`."""
    inside = (measured.times_s > since_s) & (measured.times_s <= until_s)
    if RUNNING_CHANNEL not in measured.channels:
        runs = ~np.isnan(measured.samples[inside]).all(axis=1)
    else:
        current = measured.samples[:, measured.channels.index(RUNNING_CHANNEL)]
        if np.isnan(current).all():
            return 0.0
        runs = current[inside] > RUNNING_SHARE * np.nanquantile(current, 0.95)
    return float(runs.sum()) * measured.interval_s / _HOUR_S


def _count_alarms(anomalies: Sequence[Anomaly], looked_at: Sequence[int], rules: Sequence[str]) -> dict[str, int]:
    """Rule to runs of findings in forecasts that follow each other."""
    place = {made_at_s: number for number, made_at_s in enumerate(looked_at)}
    seen = {(row.rule, row.asset, row.channel, place[row.made_at_s]) for row in anomalies if row.made_at_s in place}
    counts = dict.fromkeys(rules, 0)
    for rule, asset, channel, number in seen:
        counts[rule] = counts.get(rule, 0) + ((rule, asset, channel, number - 1) not in seen)
    return counts
