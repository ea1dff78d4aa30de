"""Forecasts judged by station, season or any other grouping, with intervals by blocks of time.

Errors of one hour resemble those of the next, and stations of one city share their weather. What is drawn with
replacement is therefore time: runs of neighbouring periods (weeks, say), each with the rows of ALL groups in it
(Künsch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17, 1989; around the
end of the series: Politis and Romano, A circular block-resampling procedure for stationary data, 1992). Every metric is
a function of sums over rows, so a resample is a weighted sum of the periods' sums.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foresense.evaluate.classification import LEVEL, N_RESAMPLES, Difference, Interval

#: Names of the metrics. `mae`, `rmse`, `bias` in the unit of the truth; bias > 0: forecasts are too high.
ERROR_METRICS = ("mae", "rmse", "bias", "r2")
#: Those in which one forecast can be better than another.
COMPARED = ("mae", "rmse", "r2")
WEEK_S = 7 * 86400
_SEASONS = np.array(["winter", "spring", "summer", "autumn"])
_N_SUMS = 6


class GroupedError(ValueError):
    """Forecasts that cannot be judged; the message says what, expected, found, and what to do."""


class UnusableForecastError(GroupedError):
    """A forecast is not finite."""


class TooFewBlocksError(GroupedError):
    """Rows span less than two blocks of time, or none has a truth."""


@dataclass(frozen=True)
class ErrorRow:
    """One group.

    Attributes:
        n: Judged rows.
        n_without_truth: Rows that were left out, because nobody knows what happened.
        n_periods: Periods that hold a judged row.
        metrics: Name in ERROR_METRICS -> value; None without a row, and for `r2` where the truth is constant.
        intervals: Name in ERROR_METRICS -> percentile interval by blocks of time; None where there is no value, or
            fewer periods than two blocks.
    """

    n: int
    n_without_truth: int
    n_periods: int
    metrics: dict[str, float | None]
    intervals: dict[str, Interval | None]


@dataclass(frozen=True)
class ErrorScores:
    """How well one forecast did.

    Attributes:
        block: Periods drawn together.
        overall: All rows.
        groups: Grouping -> label -> its row.
    """

    block: int
    overall: ErrorRow
    groups: dict[str, dict[str, ErrorRow]]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, for a report."""
        return asdict(self)


@dataclass(frozen=True)
class ErrorComparison:
    """One forecast minus another on the same rows.

    Attributes:
        block: Periods drawn together.
        overall: Name in COMPARED -> difference; None where `ErrorRow.intervals` has none.
        groups: Grouping -> label -> the same.
    """

    block: int
    overall: dict[str, Difference | None]
    groups: dict[str, dict[str, dict[str, Difference | None]]]

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, for a report."""
        return asdict(self)


def judge_errors(
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    periods: np.ndarray,
    groups: Mapping[str, np.ndarray],
    block: int,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> ErrorScores:
    """MAE, RMSE, bias and R² of one forecast, over all rows and by every grouping, with intervals by blocks of time.

    Args:
        truth: (n,), floating; NaN: not known, left out and counted.
        predicted: (n,), finite.
        periods: (n,), int: number of the period, rising with time, the same for all groups (`weeks_of`). Periods
            without a judged row are skipped: their neighbours become neighbours.
        groups: Grouping -> (n,) labels (`seasons_of`, `crossed`).
        block: Periods drawn together; at least as long as errors resemble each other.
        rng: Draws the blocks.
        n_resamples: How many series are drawn.
        level: Share of the resampled values inside an interval.

    Raises:
        GroupedError: shapes that differ; `UnusableForecastError`, `TooFewBlocksError`.
    """
    known, weights = _drawn_periods(truth, (predicted,), periods, groups, block, rng, n_resamples)

    def rows(labels: np.ndarray) -> dict[str, ErrorRow]:
        names, sums, n_unknown = _sums(truth, predicted, periods, labels, known)
        n_periods = (sums[..., 0] > 0).sum(axis=0)
        values, drawn = _metrics(sums.sum(axis=0)), _metrics(np.tensordot(weights, sums, 1))
        return {
            str(name): ErrorRow(
                n=int(sums[:, at, 0].sum()),
                n_without_truth=int(n_unknown[at]),
                n_periods=int(n_periods[at]),
                metrics={metric: _value(values[metric][at]) for metric in ERROR_METRICS},
                intervals={
                    metric: _interval(values[metric][at], drawn[metric][:, at], n_periods[at] >= 2 * block, level)
                    for metric in ERROR_METRICS
                },
            )
            for at, name in enumerate(names)
        }

    return ErrorScores(
        block=block,
        overall=rows(np.zeros(len(truth), np.int64))["0"],
        groups={grouping: rows(labels) for grouping, labels in groups.items()},
    )


def compare_errors(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    periods: np.ndarray,
    groups: Mapping[str, np.ndarray],
    block: int,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> ErrorComparison:
    """First minus second, over all rows and by every grouping, with paired intervals: both get the same blocks.

    Args:
        truth: (n,), floating; NaN: not known, left out.
        first: (n,), finite: a forecast.
        second: (n,), finite: another one of the same rows.
        periods: As in `judge_errors`.
        groups: Likewise.
        block: Likewise.
        rng: Draws the blocks, the same for both.
        n_resamples: How many series are drawn.
        level: Share of the resampled differences inside an interval.

    Raises:
        GroupedError: as `judge_errors`.
    """
    known, weights = _drawn_periods(truth, (first, second), periods, groups, block, rng, n_resamples)

    def rows(labels: np.ndarray) -> dict[str, dict[str, Difference | None]]:
        names, mine, _ = _sums(truth, first, periods, labels, known)
        _, theirs, _ = _sums(truth, second, periods, labels, known)
        is_enough = (mine[..., 0] > 0).sum(axis=0) >= 2 * block
        of_first, of_second = (_metrics(sums.sum(axis=0)) for sums in (mine, theirs))
        drawn_first, drawn_second = (_metrics(np.tensordot(weights, sums, 1)) for sums in (mine, theirs))
        found: dict[str, dict[str, Difference | None]] = {str(name): {} for name in names}
        for metric in COMPARED:
            values, drawn = of_first[metric] - of_second[metric], drawn_first[metric] - drawn_second[metric]
            for at, name in enumerate(names):
                interval = _interval(values[at], drawn[:, at], is_enough[at], level)
                found[str(name)][metric] = None if interval is None else Difference(float(values[at]), interval)
        return found

    return ErrorComparison(
        block=block,
        overall=rows(np.zeros(len(truth), np.int64))["0"],
        groups={grouping: rows(labels) for grouping, labels in groups.items()},
    )


def weeks_of(times_s: np.ndarray) -> np.ndarray:
    """(n,), int64: whole weeks since the first of the times (seconds since 1970 UTC)."""
    times = np.asarray(times_s, np.int64)
    return np.asarray((times - times.min(initial=np.iinfo(np.int64).max)) // WEEK_S)


def seasons_of(months: np.ndarray) -> np.ndarray:
    """(n,), text: the northern meteorological season of months 1..12; winter is December to February.

    Raises:
        GroupedError: a month outside of 1..12.
    """
    if ((months < 1) | (months > 12)).any():
        raise GroupedError(f"months: expected 1..12, found {months.min()} to {months.max()}")
    return np.asarray(_SEASONS[months % 12 // 3])


def crossed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,), text: labels `<first> x <second>`."""
    return np.array([f"{one} x {other}" for one, other in zip(first, second, strict=True)], dtype=np.str_)


def blocks_drawn(n_periods: int, block: int, rng: np.random.Generator, n_resamples: int) -> np.ndarray:
    """(n_resamples, n_periods), float64: how often each period is in a series of `n_periods` made of whole blocks.

    Blocks begin anywhere and go on around the end; the last one is cut, so that every series is as long as the first.
    """
    n_blocks = -(-n_periods // block)
    starts = rng.integers(0, n_periods, (n_resamples, n_blocks, 1))
    series = ((starts + np.arange(block)) % n_periods).reshape(n_resamples, -1)[:, :n_periods]
    numbered = series + n_periods * np.arange(n_resamples)[:, None]
    counts = np.bincount(numbered.ravel(), minlength=n_resamples * n_periods)
    return counts.reshape(n_resamples, n_periods).astype(np.float64)


def _drawn_periods(
    truth: np.ndarray,
    forecasts: tuple[np.ndarray, ...],
    periods: np.ndarray,
    groups: Mapping[str, np.ndarray],
    block: int,
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are judged (n,), and how often each period with such a row is drawn (n_resamples, n_periods)."""
    columns = {"truth": truth, "periods": periods, **groups} | {f"forecast {n}": one for n, one in enumerate(forecasts)}
    shapes = {name: column.shape for name, column in columns.items()}
    if truth.ndim != 1 or len(set(shapes.values())) != 1:
        raise GroupedError(f"expected columns of one length, one value a row, found {shapes}")
    if not np.issubdtype(periods.dtype, np.integer):
        raise GroupedError(f"periods: expected whole numbers that rise with time, found {periods.dtype}")
    if block < 1 or n_resamples < 1:
        raise GroupedError(f"block and n_resamples: expected at least 1, found {block} and {n_resamples}")
    if np.isinf(truth).any():
        raise GroupedError("truth: infinite; expected finite values, NaN where it is not known")
    for forecast in forecasts:
        bad = np.flatnonzero(~np.isfinite(forecast))
        if len(bad):
            raise UnusableForecastError(
                f"forecasts: {len(bad)} of {len(forecast)} are not finite (row {bad[0]}: {forecast[bad[0]]}); a model "
                "must answer for every row; leave rows out of truth and forecast alike, and count them"
            )
    known = ~np.isnan(truth)
    n_periods = len(np.unique(periods[known]))
    if n_periods < 2 * block:
        raise TooFewBlocksError(
            f"{int(known.sum())} rows with a truth lie in {n_periods} period(s); expected at least two blocks of "
            f"{block}; judge a longer stretch, or draw shorter blocks"
        )
    return known, blocks_drawn(n_periods, block, rng, n_resamples)


def _sums(
    truth: np.ndarray, predicted: np.ndarray, periods: np.ndarray, labels: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (g,), sums (n_periods, g, 6) of the judged rows, and rows without a truth (g,)."""
    names, group = np.unique(labels, return_inverse=True)
    _, period = np.unique(periods[known], return_inverse=True)
    n_cells = (period.max() + 1) * len(names)
    cell = period * len(names) + group[known]
    value = truth[known].astype(np.float64)
    n = np.bincount(group[known], minlength=len(names))
    centres = np.bincount(group[known], value, minlength=len(names)) / np.maximum(n, 1)
    departure = value - centres[group[known]]  # from the group's mean: its squares do not cancel
    error = predicted[known].astype(np.float64) - value
    parts = (np.ones_like(error), np.abs(error), error**2, error, departure, departure**2)
    sums = np.stack([np.bincount(cell, part, minlength=n_cells) for part in parts], axis=-1)
    return names, sums.reshape(-1, len(names), _N_SUMS), np.bincount(group[~known], minlength=len(names))


def _metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
    """(..., 6) to (...) each; NaN where there is no row, or the truth is constant."""
    n, absolute, squared, signed, departure, departure_squared = np.moveaxis(sums, -1, 0)
    n = np.where(n > 0, n, np.nan)
    spread = departure_squared - departure**2 / n
    is_constant = spread <= 1e-12 * departure_squared
    return {
        "mae": absolute / n,
        "rmse": np.sqrt(squared / n),
        "bias": signed / n,
        "r2": 1 - squared / np.where(is_constant, np.nan, spread),
    }


def _value(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(value: float, drawn: np.ndarray, is_enough: bool, level: float) -> Interval | None:
    """Over the resamples in which the group occurs."""
    if not is_enough or np.isnan(value):
        return None
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
