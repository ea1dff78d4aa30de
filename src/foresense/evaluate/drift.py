"""Has a channel moved away from what the champion was trained on? Asked every night, of residuals by hour of the week.

A value is compared with what the training rows say of its hour of the week, so shifts, weekends and planned stops are
no drift; and with the two weeks before tonight, so season and wear, which come slowly, are none either. A shift is
called when it comes; where nobody acts, two weeks later it is what the machine is like.

Neighbouring samples depend on each other, so no table of p values holds. What a night may look like is measured on the
training part itself: each of its nights is judged as tonight is, by levels from other weeks (the null). One machine
has few nights, so where the fleet is known, its middle counts too (`fleet_of`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foresense.evaluate.distances import GAUSSIAN_MAD, ks_statistic, population_stability_index, robust_centre
from foresense.evaluate.moves import FleetMoves, Moves, middle_of, typical_moves
from foresense.evaluate.week import hours_of_week, levels, residuals_from_other_weeks
from foresense.signals import read_json, write_json

WINDOW_H, HISTORY_H = 24.0, 336.0
_N_QUANTILES = 201  # stored of each channel: a distribution function to within half a percent
_N_BINS = 10
_MIN_NIGHTS = 20  # of the training part, for a null
_MIN_SHARE = 0.5  # of the samples of a window or a history that must be measured
_FAR = 2.5  # deviations: what lies further (a stop, a fault) moves a mean and a spread no more than this
_H = 3600.0
_NAMES = ("psi", "ks", "shift", "log_spread")

Verdict = Literal["same", "moved", "unknown"]


class TooLittleError(ValueError):
    """Fewer training rows than a drift reference needs; says how many."""


@dataclass(frozen=True)
class DriftRule:
    """When a channel has moved: a night unlike those of training, by an amount that they hardly ever show.

    Chosen on other machines, seeds and shifts than those judged (benchmarks/drift.py): healthy machines called half as
    often as allowed, then as many shifts as possible. The amounts decide; the p value refuses little, because a day has
    too few independent hours for it: it is evidence for a person.

    Attributes:
        max_p: Largest p value of the index and of the two-sample statistic, the smaller of them, twice (Bonferroni).
        min_shift: Smallest move of the level that counts, in typical moves from night to night.
        min_narrowing: Smallest loss of spread that counts, in typical changes from night to night.
        min_widening: Smallest gain of spread that counts; stops widen a night, so it is larger.
    """

    max_p: float = 0.7
    min_shift: float = 2.8
    min_narrowing: float = 2.75
    min_widening: float = 5.0

    def says(self, p_value: float, shift: float, spread: float) -> bool:
        """Whether a night with these values has moved; the units are those of `ChannelDrift`."""
        by_amount = abs(shift) >= self.min_shift or not -self.min_narrowing < spread < self.min_widening
        return p_value <= self.max_p and by_amount


@dataclass(frozen=True)
class ChannelDrift:
    """What one night says of one channel; all but the counts are NaN where the verdict is `unknown`.

    Attributes:
        channel: Name.
        verdict: `unknown` where too little was measured, tonight or before, to say anything.
        n_samples: Measured samples of the window.
        psi: Population stability index of the window against the training rows.
        ks: Two-sample Kolmogorov-Smirnov statistic of the same.
        p_value: By the more telling of the two, from the nights of the training part, Bonferroni for two.
        shift: How far the level lies from the weeks before, in typical moves from night to night (`Moves`); signed.
        spread: Logarithm of the spread against training, in typical changes from night to night; signed.
        deviations: The same shift in deviations of the channel's residuals.
    """

    channel: str
    verdict: Verdict
    n_samples: int
    psi: float
    ks: float
    p_value: float
    shift: float
    spread: float
    deviations: float

    @property
    def moved(self) -> bool:
        """The verdict is `moved`. An unknown channel has not moved: count it apart."""
        return self.verdict == "moved"


@dataclass(frozen=True, eq=False)
class Reference:
    """What the training rows say of each channel; compact, as it travels with a version.

    Attributes:
        channels: Names.
        time_zone: IANA name: hours of the week are local.
        interval_s: Seconds from one row to the next.
        window_h: Hours that a night judges.
        history_h: Hours before them, whose level tonight's is compared with.
        level: (168, n_channels), physical units: median of each hour of the week since Monday 0:00, NaN where the
            training rows have none.
        deviation: (n_channels,), physical units: robust deviation of the residuals; 1 where a channel is constant.
        quantiles: (201, n_channels): of the residuals of the nights of training, in deviations, NaN where unknown.
        null: (4, n_nights, n_channels): psi, ks, shift in deviations and logarithm of the spread of the training
            part's own nights, NaN where unknown.
    """

    channels: tuple[str, ...]
    time_zone: str
    interval_s: float
    window_h: float
    history_h: float
    level: np.ndarray
    deviation: np.ndarray
    quantiles: np.ndarray
    null: np.ndarray

    def write(self, path: Path) -> None:
        """Write as JSON, five significant digits; NaN becomes null."""
        write_json(
            path,
            {
                "channels": list(self.channels),
                "time_zone": self.time_zone,
                "interval_s": self.interval_s,
                "window_h": self.window_h,
                "history_h": self.history_h,
                **{name: _listed(getattr(self, name)) for name in ("level", "deviation", "quantiles")},
                "null": {name: _listed(values) for name, values in zip(_NAMES, self.null, strict=True)},
            },
        )


def read_reference(path: Path) -> Reference:
    """Read what `Reference.write` wrote."""
    content = read_json(path)
    return Reference(
        channels=tuple(content["channels"]),
        time_zone=content["time_zone"],
        interval_s=content["interval_s"],
        window_h=content["window_h"],
        history_h=content["history_h"],
        level=_array(content["level"]),
        deviation=_array(content["deviation"]),
        quantiles=_array(content["quantiles"]),
        null=np.stack([_array(content["null"][name]) for name in _NAMES]),
    )


def fit_reference(
    samples: np.ndarray,
    times_s: np.ndarray,
    *,
    channels: Sequence[str],
    time_zone: str,
    interval_s: float,
    window_h: float = WINDOW_H,
    history_h: float = HISTORY_H,
) -> Reference:
    """Learn what nights are like from the training rows; faults among them are taken as life has them.

    Args:
        samples: (n_rows, n_channels), physical units, NaN where missing.
        times_s: (n_rows,), seconds since 1970 UTC, ascending.
        channels: Name of each column.
        time_zone: IANA name: hours of the week are local.
        interval_s: Seconds from one row to the next.
        window_h: Hours that a night judges.
        history_h: Hours before them that follow season and wear.

    Raises:
        ValueError: the rows do not fit together, or are too few for a null of 20 nights.
    """
    _check(samples, times_s, channels)
    needed_h = history_h + window_h + 24 * (_MIN_NIGHTS - 1)
    found_h = (times_s[-1] - times_s[0] + interval_s) / _H if len(times_s) else 0.0
    if found_h < needed_h:
        raise TooLittleError(
            f"a drift reference of {window_h:g} h nights after {history_h:g} h of history needs {needed_h:g} h of "
            f"training rows for {_MIN_NIGHTS} nights of its own, found {found_h:g} h; bring more rows, or shorten the "
            "history"
        )
    hours = hours_of_week(times_s, time_zone)
    level = levels(samples, hours)
    residuals = residuals_from_other_weeks(samples, hours, times_s)
    deviation = GAUSSIAN_MAD * _median(np.abs(residuals - _median(residuals)))
    deviation = np.where(deviation > 0, deviation, np.where(np.isnan(deviation), np.nan, 1.0))
    # Nights are counted back from the last row, so that the newest are whole.
    ends = np.arange(times_s[-1] + interval_s, times_s[0] + (history_h + window_h) * _H - 1, -24 * _H)[::-1]
    scaled = residuals / deviation
    nights = [_night(scaled, times_s, end, interval_s, window_h, history_h) for end in ends]
    quantiles = np.stack([_quantiles(nights, column) for column in range(len(channels))], axis=1)
    null = np.array(
        [[_statistics(one, known) for one, known in zip(night, quantiles.T, strict=True)] for night in nights]
    )
    return Reference(
        channels=tuple(channels),
        time_zone=time_zone,
        interval_s=float(interval_s),
        window_h=float(window_h),
        history_h=float(history_h),
        level=level,
        deviation=deviation,
        quantiles=quantiles,
        null=np.moveaxis(null, 2, 0),
    )


def measure_drift(
    reference: Reference,
    samples: np.ndarray,
    times_s: np.ndarray,
    rule: DriftRule | None = None,
    *,
    fleet: FleetMoves | None = None,
) -> tuple[ChannelDrift, ...]:
    """Compare the newest `reference.window_h` hours with the weeks before and with the nights of training.

    Args:
        reference: Of the champion's training rows.
        samples: (n_rows, n_channels), physical units, NaN where missing; the newest `window_h + history_h` hours, more
            are not looked at. The older of them may be training rows.
        times_s: (n_rows,), seconds since 1970 UTC, ascending; the last row ends the night.
        rule: When a channel has moved; absent: the default one.
        fleet: What `fleet_of` the champions' references says; absent: the machine's own nights alone say what is
            typical, and healthy machines are called more often.

    Returns:
        One entry for each channel.

    Raises:
        ValueError: no rows, or rows that do not fit together or to the reference.
    """
    _check(samples, times_s, reference.channels)
    if not len(times_s):
        raise ValueError("drift of no rows: give the newest ones, history included")
    level = reference.level[hours_of_week(times_s, reference.time_zone)]
    end = float(times_s[-1] + reference.interval_s)
    scaled = (samples - level) / reference.deviation
    night = _night(scaled, times_s, end, reference.interval_s, reference.window_h, reference.history_h)
    known = fleet.channels if fleet else {}
    return tuple(
        _judge(
            reference,
            column,
            window,
            rule or DriftRule(),
            known.get(reference.channels[column]),
            _n_measured(scaled[:, column], times_s, end, reference),
        )
        for column, window in enumerate(night)
    )


def fleet_of(references: Iterable[Reference]) -> FleetMoves:
    """What nights of a fleet are like, for `measure_drift`.

    Args:
        references: Of every machine's champion, the judged one's among them. Ten machines do as well as two hundred.
    """
    return middle_of(pair for reference in references for pair in moves_of(reference).items())


def moves_of(reference: Reference) -> dict[str, Moves]:
    """What one machine's nights are like: name of each channel that has nights enough, and its moves."""
    known = {name: _known_nights(reference, column) for column, name in enumerate(reference.channels)}
    return {
        name: typical_moves(nights[2], nights[3]) for name, nights in known.items() if nights.shape[1] >= _MIN_NIGHTS
    }


def is_alarm(nights: Sequence[bool | None], n_consecutive: int = 2) -> bool:
    """Whether the last `n_consecutive` nights of a channel that say anything all say that it has moved.

    Args:
        nights: In order of time; None for an unknown one, which neither counts nor breaks the row.
        n_consecutive: At least 1.

    Raises:
        ValueError: fewer than one night is asked for.
    """
    if n_consecutive < 1:
        raise ValueError(f"an alarm takes one night or more, found n_consecutive {n_consecutive}")
    said = [night for night in nights if night is not None]
    return len(said) >= n_consecutive and all(said[-n_consecutive:])


def _judge(
    reference: Reference, column: int, window: np.ndarray, rule: DriftRule, fleet: Moves | None, n_samples: int
) -> ChannelDrift:
    psi, ks, deviations, log_spread = _statistics(window, reference.quantiles[:, column])
    nights = _known_nights(reference, column)
    nan, name = float("nan"), reference.channels[column]
    if np.isnan(psi) or nights.shape[1] < _MIN_NIGHTS:
        return ChannelDrift(name, "unknown", n_samples, nan, nan, nan, nan, nan, nan)
    p_value = min(1.0, 2 * min(_p_value(psi, nights[0]), _p_value(ks, nights[1])))
    typical = typical_moves(nights[2], nights[3]).towards(fleet)
    shift = float(deviations / typical.shift)
    spread = float((log_spread - np.median(nights[3])) / typical.spread)
    verdict: Verdict = "moved" if rule.says(p_value, shift, spread) else "same"
    return ChannelDrift(name, verdict, n_samples, psi, ks, p_value, shift, spread, float(deviations))


def _known_nights(reference: Reference, column: int) -> np.ndarray:
    """(4, n_nights): the null of one channel without the nights that say nothing of it."""
    nights = reference.null[:, :, column]
    return nights[:, ~np.isnan(nights[0])]


def _p_value(found: float, nights: np.ndarray) -> float:
    """Share of nights that differ as much, tonight counted with them (Davison and Hinkley 1997, section 4.2)."""
    return float((1 + np.sum(nights >= found)) / (1 + len(nights)))


def _night(
    scaled: np.ndarray, times_s: np.ndarray, end_s: float, interval_s: float, window_h: float, history_h: float
) -> list[np.ndarray]:
    """Of each channel the measured residuals of the window, relative to the history; empty where too few."""
    begin_s = end_s - window_h * _H
    first, middle, last = np.searchsorted(times_s, [begin_s - history_h * _H, begin_s, end_s])
    found = []
    for values in scaled.T:
        window, history = (part[~np.isnan(part)] for part in (values[middle:last], values[first:middle]))
        enough = len(window) >= _MIN_SHARE * window_h * _H / interval_s
        enough &= len(history) >= _MIN_SHARE * history_h * _H / interval_s
        found.append(window - robust_centre(history) if enough else np.empty(0))
    return found


def _n_measured(values: np.ndarray, times_s: np.ndarray, end_s: float, reference: Reference) -> int:
    return int(np.sum(~np.isnan(values[times_s >= end_s - reference.window_h * _H])))


def _statistics(window: np.ndarray, quantiles: np.ndarray) -> tuple[float, float, float, float]:
    """Index, two-sample statistic, centre and logarithm of the spread of a window; NaN where it is empty."""
    if not len(window) or np.isnan(quantiles[0]):
        return (float("nan"),) * 4
    centre = robust_centre(window)
    step = (len(quantiles) - 1) // _N_BINS
    spread = np.std(np.clip(window - centre, -_FAR, _FAR))
    return (
        population_stability_index(window, quantiles[step:-1:step]),
        ks_statistic(window, quantiles),
        centre,
        float(np.log(max(float(spread), 1e-9))),
    )


def _quantiles(nights: Sequence[Sequence[np.ndarray]], column: int) -> np.ndarray:
    windows = [night[column] for night in nights if len(night[column])]
    if len(windows) < _MIN_NIGHTS:
        return np.full(_N_QUANTILES, np.nan)
    return np.asarray(np.quantile(np.concatenate(windows), np.linspace(0, 1, _N_QUANTILES)))


def _median(values: np.ndarray) -> np.ndarray:
    """(n_channels,): medians over rows of what was measured, NaN where nothing was."""
    present = ~np.isnan(values)
    return np.array(
        [np.median(column[known]) if known.any() else np.nan for column, known in zip(values.T, present.T, strict=True)]
    )


def _check(samples: np.ndarray, times_s: np.ndarray, channels: Sequence[str]) -> None:
    if samples.shape != (len(times_s), len(channels)):
        raise ValueError(
            f"drift: expected samples of shape ({len(times_s)}, {len(channels)}) for as many times and the channels "
            f"{list(channels)}, found {samples.shape}"
        )
    if len(times_s) and np.any(np.diff(times_s) <= 0):
        raise ValueError("drift: times must be ascending, one row for each; sort the rows, or ingest them first")


def _listed(values: np.ndarray) -> list[Any]:
    if values.ndim > 1:
        return [_listed(row) for row in values]
    return [None if np.isnan(value) else float(f"{value:.5g}") for value in values]


def _array(content: list[Any]) -> np.ndarray:
    return np.asarray(content, np.float64)  # None becomes NaN
