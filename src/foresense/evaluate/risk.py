"""Which channel of which machine is at risk: shares of hours outside of a band, and readings that stand still.

Every rule here is a share of hours, so a person can check it by counting. The plain rule looks at the forecast alone:
at risk when 30 % of the horizon lie outside of what the context has shown. Ours looks at what was measured since: at
risk when, of the newest hours, a share lies outside of the interval that normal behaviour left around the forecasts
made for those hours. `share_outside` judges a forecast against any band.

Planned stops are normal life: a forecaster that has seen a week knows them, and four hours are no half of two days. An
unplanned stop of a few hours is an event, not a fault, and seldom long enough; benchmarks/risk.py counts the alarms of
stops apart.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Severity = Literal["low", "medium", "high"]
PLAIN_SHARE = 0.3


@dataclass(frozen=True)
class RiskRule:
    """When a channel is at risk; chosen on other machines and fault shapes than those judged (benchmarks/risk.py).

    Attributes:
        newest: Measured samples that are looked at.
        share: Smallest share of them outside of the interval for an alarm to begin.
        clear: Share below which it ends, so that a fault is one alarm and not twenty.
        lead: How many samples before a measured one its forecast was made, at least: a forecast that has seen the fault
            agrees with it.
        n_equal: So many equal readings in a row are a sensor that stands still; 0: never, for coarse sensors.
    """

    newest: int = 48
    share: float = 0.5
    clear: float = 0.1
    lead: int = 24
    n_equal: int = 6


def severity_of(share: float) -> Severity:
    """Low below 0.5, medium to 0.8, high above."""
    return "low" if share < 0.5 else "medium" if share <= 0.8 else "high"


def share_outside(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Share of the time outside of a band; any unit, the same for all three.

    Args:
        values: (..., n_times, n_channels), NaN where not measured.
        low: Broadcasts to `values`.
        high: Broadcasts to `values`.

    Returns:
        (..., n_channels), of what was measured; NaN where that is less than half.
    """
    known = ~(np.isnan(values) | np.isnan(low) | np.isnan(high))
    outside = ((values < low) | (values > high)) & known
    n_known = known.sum(axis=-2)
    enough = 2 * n_known >= values.shape[-2]
    share: np.ndarray = np.where(enough, outside.sum(axis=-2) / np.maximum(n_known, 1), np.nan)
    return share


def plain_shares(contexts: np.ndarray, forecasts: np.ndarray) -> np.ndarray:
    """The plain rule: share of each forecast outside of the range of its context; at risk from `PLAIN_SHARE` on.

    Args:
        contexts: (n, context, n_channels), any unit.
        forecasts: (n, horizon, n_channels), the same unit.

    Returns:
        (n, n_channels).
    """
    return share_outside(forecasts, contexts.min(axis=1, keepdims=True), contexts.max(axis=1, keepdims=True))


def forecasts_made_before(
    origins: np.ndarray, forecasts: np.ndarray, *, n_rows: int, lead: int
) -> tuple[np.ndarray, np.ndarray]:
    """For every row its newest forecast that is at least `lead` steps old.

    Args:
        origins: (n,), int64, ascending: row of the last sample that each forecast has seen.
        forecasts: (n, horizon, n_channels).
        n_rows: Rows of the recording.
        lead: Steps from a forecast's origin to the row, at least; 1 to horizon.

    Returns:
        (n_rows, n_channels) forecasts, NaN where there is none, and (n_rows,) steps ahead, 0 where there is none.

    Raises:
        ValueError: a lead that no forecast reaches.
    """
    _, horizon, n_channels = forecasts.shape
    if not 1 <= lead <= horizon:
        raise ValueError(
            f"lead: a forecast of {horizon} steps is 1 to {horizon} steps old when it is judged, found {lead}"
        )
    found, steps = np.full((n_rows, n_channels), np.nan), np.zeros(n_rows, np.int64)
    for step in range(horizon, lead - 1, -1):  # newer forecasts overwrite older ones
        rows = origins + step
        inside = rows < n_rows
        found[rows[inside]] = forecasts[inside, step - 1]
        steps[rows[inside]] = step
    return found, steps


def shares_of_newest(
    actual: np.ndarray, predicted: np.ndarray, steps: np.ndarray, half_width: np.ndarray, rule: RiskRule
) -> np.ndarray:
    """Our rule, hour by hour: share of the newest measured samples outside of the interval around their forecasts.

    Args:
        actual: (n_rows, n_channels), scaled units, NaN where not measured.
        predicted: (n_rows, n_channels), scaled units, NaN where there was no forecast.
        steps: (n_rows,), steps ahead of each forecast, 0 where there was none.
        half_width: (horizon, n_channels), scaled units: `Conformal.half_width`.
        rule: How many samples.

    Returns:
        (n_rows, n_channels): of the `rule.newest` rows up to each one; NaN where less than half of them can be judged.
    """
    width = np.where(steps[:, None] > 0, half_width[np.maximum(steps, 1) - 1], np.nan)
    padding = np.full((rule.newest - 1, actual.shape[1]), np.nan)
    departures = np.concatenate([padding, (actual - predicted) / width])
    newest = np.lib.stride_tricks.sliding_window_view(departures, rule.newest, axis=0).swapaxes(1, 2)
    one = np.ones(1)
    return share_outside(newest, -one, one)


def still_for(actual: np.ndarray) -> np.ndarray:
    """How many measured readings up to each row are equal, in a row; a missing one neither counts nor breaks it.

    Args:
        actual: (n_rows, n_channels), NaN where not measured.

    Returns:
        (n_rows, n_channels), int: 1 for a reading that differs from the one before, 0 before the first reading.
    """
    run, last = np.zeros(actual.shape[1], np.int64), np.full(actual.shape[1], np.nan)
    found = np.zeros(actual.shape, np.int64)
    for row, values in enumerate(actual):
        known = ~np.isnan(values)
        run = np.where(known, np.where(values == last, run + 1, 1), run)
        last = np.where(known, values, last)
        found[row] = run
    return found


def at_risk(shares: np.ndarray, still: np.ndarray, rule: RiskRule) -> np.ndarray:
    """When a channel is at risk, from when the share reaches `rule.share` until it falls below `rule.clear`.

    Args:
        shares: (n_rows, n_channels), of `shares_of_newest`; NaN where unknown: what was said before stays.
        still: (n_rows, n_channels), of `still_for`.
        rule: The limits.

    Returns:
        (n_rows, n_channels), bool.
    """
    found = np.zeros(shares.shape, bool)
    for column in range(shares.shape[1]):
        is_on = False
        for row, share in enumerate(shares[:, column].tolist()):
            if share == share:  # not NaN
                is_on = share >= (rule.clear if is_on else rule.share)
            found[row, column] = is_on
    if rule.n_equal > 0:
        found |= still >= max(rule.n_equal, 2)
    return found


def alarms_of(flags: np.ndarray) -> list[tuple[int, int, int]]:
    """Runs of flagged rows: one alarm each.

    Args:
        flags: (n_rows, n_channels), bool.

    Returns:
        (first row, row after the last, channel) of every alarm, by channel, then in order of time.
    """
    edges = np.diff(flags.astype(np.int8), axis=0, prepend=0, append=0)
    return [
        (int(first), int(end), column)
        for column in range(flags.shape[1])
        for first, end in zip(
            np.flatnonzero(edges[:, column] == 1), np.flatnonzero(edges[:, column] == -1), strict=True
        )
    ]
