"""Which channels of a machine are at risk: the rules of `evaluate.risk` on what was forecast and what was measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresense.evaluate.risk import PLAIN_SHARE, RiskRule, severity_of, share_outside, still_for
from foresense.steps.forecast_context import Context, Measured
from foresense.steps.forecast_table import AssetForecast, read_forecasts

#: The rules' limits; chosen on other machines and fault shapes than those judged (benchmarks/risk.py).
RISK_RULE = RiskRule()


@dataclass(frozen=True, eq=False)
class Earlier:
    """The newest measured samples of an asset beside the forecasts that were made for them before they were measured.

    Attributes:
        times_s: (n,), int64: seconds since 1970 UTC.
        actual: (n, n_channels), physical units, NaN where missing.
        predicted: The same shape; NaN where no forecast was made for that time.
        lower: The same: lower bound of the forecast's interval.
        upper: The same.
    """

    times_s: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def n_judged(self) -> int:
        """Values that were both forecast and measured."""
        return int((~np.isnan(self.predicted) & ~np.isnan(self.actual)).sum())


def earlier_forecasts(
    files: Mapping[int, Path], measured: Mapping[str, Measured], *, now_s: int, rule: RiskRule | None = None
) -> dict[str, Earlier]:
    """Lay each asset's newest samples beside the newest forecast that was made long enough before each of them.

    Where none was made so long before (a horizon of a day, and one forecast a night), the newest one made before it.

    Args:
        files: Of earlier forecasts by the time they were made; one made at `now_s` or later is left out.
        measured: By asset, up to now.
        now_s: Seconds since 1970 UTC.
        rule: How many samples, and how long before a forecast was made; absent: RISK_RULE.
    """
    rule = rule or RISK_RULE
    found = {asset: _empty(one, now_s, rule.newest * one.interval_s) for asset, one in measured.items()}
    made_before = [made_at_s for made_at_s in sorted(files, reverse=True) if made_at_s < now_s]
    for lead in dict.fromkeys((rule.lead, 1)):
        for made_at_s in made_before:
            forecasts = read_forecasts(files[made_at_s])
            known = [asset for asset in forecasts if asset in found]
            is_of_use = [_fill(found[asset], measured[asset].channels, forecasts[asset], lead) for asset in known]
            is_full = all(not np.isnan(one.predicted).all(axis=1).any() for one in found.values())
            if is_full or not any(is_of_use):  # older files reach less far
                break
    return found


def _empty(measured: Measured, now_s: int, look_back_s: float) -> Earlier:
    inside = (measured.times_s > now_s - look_back_s) & (measured.times_s <= now_s)
    actual = measured.samples[inside]
    return Earlier(measured.times_s[inside], actual, *(np.full(actual.shape, np.nan) for _ in range(3)))


def _fill(earlier: Earlier, channels: tuple[str, ...], forecast: AssetForecast, lead: int) -> bool:
    """Write a forecast into the rows that have none yet; whether it reaches any of these times."""
    _, rows, steps = np.intersect1d(earlier.times_s, forecast.times_s, assume_unique=True, return_indices=True)
    if forecast.channels != channels or not len(rows):
        return False
    is_taken = np.isnan(earlier.predicted[rows]).all(axis=1) & (steps + 1 >= lead)
    rows, steps = rows[is_taken], steps[is_taken]
    for name in ("predicted", "lower", "upper"):
        getattr(earlier, name)[rows] = getattr(forecast, name)[steps]
    return True


@dataclass(frozen=True, eq=False)
class Watched:
    """All that a rule may look at.

    Attributes:
        context: What the model saw.
        forecast: What it says.
        earlier: The newest samples beside what was forecast for them.
    """

    context: Context
    forecast: AssetForecast
    earlier: Earlier


@dataclass(frozen=True)
class Finding:
    """One channel at risk by one rule.

    Attributes:
        channel: Name.
        rule: A name in `RULES`.
        time_s: Of the sample that lies furthest outside, seconds since 1970 UTC.
        actual: What was measured then, physical units; None where it lies ahead.
        predicted: What was forecast for then; None where nothing was.
        lower: Lower bound of the interval of that forecast; None where there is none.
        upper: Upper bound.
        deviation: How far outside, signed: measured minus forecast, or forecast minus the bound of the range.
        share: Of the samples that were judged, those outside; 1 of a sensor that stands still.
        severity: `low`, `medium` or `high`, by the share.
    """

    channel: str
    rule: str
    time_s: int
    actual: float | None
    predicted: float | None
    lower: float | None
    upper: float | None
    deviation: float | None
    share: float
    severity: str


Rule = Callable[[Watched], list[Finding]]


def measured_interval(watched: Watched) -> list[Finding]:
    """At risk: too many of the newest samples lie outside of the interval around what was forecast for them."""
    earlier = watched.earlier
    if not len(earlier.times_s):
        return []
    share = share_outside(earlier.actual, earlier.lower, earlier.upper)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing was forecast
        departure = (earlier.actual - earlier.predicted) / (earlier.upper - earlier.lower)
    return [
        _of_earlier(watched, "measured-interval", channel, int(np.nanargmax(np.abs(departure[:, channel]))), share)
        for channel in np.flatnonzero(np.nan_to_num(share) >= RISK_RULE.share).tolist()
    ]


def standing_still(watched: Watched) -> list[Finding]:
    """At risk: the newest readings of a sensor are all equal, which no forecast has to tell."""
    earlier = watched.earlier
    if not RISK_RULE.n_equal or not len(earlier.times_s):
        return []
    n_equal = still_for(earlier.actual)[-1]
    newest = [int(np.flatnonzero(known)[-1]) if known.any() else 0 for known in ~np.isnan(earlier.actual.T)]
    return [
        _of_earlier(watched, "standing-still", channel, newest[channel], np.ones(len(n_equal)))
        for channel in np.flatnonzero(n_equal >= RISK_RULE.n_equal).tolist()
    ]


def forecast_range(watched: Watched) -> list[Finding]:
    """The plain rule: a channel is at risk when 30 % of its forecast lie outside of what its context reached."""
    forecast = watched.forecast
    low, high = watched.context.samples.min(axis=0), watched.context.samples.max(axis=0)
    excess = np.maximum(forecast.predicted - high, 0) + np.minimum(forecast.predicted - low, 0)
    share = share_outside(forecast.predicted, low, high)
    found = []
    for channel in np.flatnonzero(share >= PLAIN_SHARE).tolist():
        row = int(np.abs(excess[:, channel]).argmax())
        found.append(
            Finding(
                channel=forecast.channels[channel],
                rule="forecast-range",
                time_s=int(forecast.times_s[row]),
                actual=None,
                predicted=float(forecast.predicted[row, channel]),
                lower=float(forecast.lower[row, channel]),
                upper=float(forecast.upper[row, channel]),
                deviation=float(excess[row, channel]),
                share=float(share[channel]),
                severity=severity_of(float(share[channel])),
            )
        )
    return found


#: Name to rule, in the order in which they are asked.
RULES: dict[str, Rule] = {
    "measured-interval": measured_interval,
    "standing-still": standing_still,
    "forecast-range": forecast_range,
}


def _of_earlier(watched: Watched, rule: str, channel: int, row: int, share: np.ndarray) -> Finding:
    """A finding about one measured sample."""
    earlier = watched.earlier
    predicted, lower, upper = (
        None if np.isnan(column[row, channel]) else float(column[row, channel])
        for column in (earlier.predicted, earlier.lower, earlier.upper)
    )
    actual = float(earlier.actual[row, channel])
    return Finding(
        channel=watched.forecast.channels[channel],
        rule=rule,
        time_s=int(earlier.times_s[row]),
        actual=actual,
        predicted=predicted,
        lower=lower,
        upper=upper,
        deviation=None if predicted is None else actual - predicted,
        share=float(share[channel]),
        severity=severity_of(float(share[channel])),
    )
