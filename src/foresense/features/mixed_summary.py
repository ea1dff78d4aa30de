"""Features of windows of mixed recordings, for models that take a row of numbers: summaries, and lagged values.

What was not measured stays NaN in a feature: trees take it; a linear model imputes it from its training rows. Every
feature is a function of measured values only; infinite counts as not measured.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foresense.signals import SignalError
from foresense.signals.mixed import CategoricalChannel
from foresense.signals.mixed_columns import MISSING
from foresense.signals.mixed_schema import MixedSchema

#: Hours before the newest step at which `lagged_features` looks.
LAGS_H = (0, 1, 2, 3, 6, 12, 24, 48, 72, 167)
#: Hours over which it takes means.
MEANS_H = (24, 168)
#: Statistics of a numeric channel in `summary_features`, in their order -> unit; {} is that of the channel.
STATISTICS = {
    "first": "{}",
    "last": "{}",
    "hours_since_last": "h",
    "mean": "{}",
    "deviation": "{}",
    "min": "{}",
    "max": "{}",
    "slope": "{}/h",
    "count": "1",
    "share_missing": "1",
}
_CHUNK_VALUES = 2**21  # windows x channels x steps at once: bounds the memory


@dataclass(frozen=True, eq=False)
class MixedWindows:
    """Windows of mixed recordings as the models take them.

    Attributes:
        schema: What the channels are; codes are numbers of its vocabularies.
        numbers: (n, n_numeric, n_steps), floating, physical units; NaN: not measured.
        categories: (n, n_categorical, n_steps), int codes.
        static_numbers: (n, n_static_numeric), floating; NaN: not known.
        static_categories: (n, n_static_categorical), int codes.
        lengths: (n,), int: steps of each window; those at or after it are padding. None: all.

    Raises:
        SignalError: shapes that do not fit each other or the schema, codes outside of it, or lengths of no step.
    """

    schema: MixedSchema
    numbers: np.ndarray
    categories: np.ndarray
    static_numbers: np.ndarray
    static_categories: np.ndarray
    lengths: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, _, n_steps = self.numbers.shape if self.numbers.ndim == 3 else (-1, -1, -1)
        schema = self.schema
        expected = {
            "numbers": (n, len(schema.numeric), n_steps),
            "categories": (n, len(schema.categorical), n_steps),
            "static_numbers": (n, len(schema.static_numeric)),
            "static_categories": (n, len(schema.static_categorical)),
        }
        found = {name: getattr(self, name).shape for name in expected}
        if found != expected or n_steps < 1:
            raise SignalError(
                f"windows: found {found}, expected (n, n_numeric, n_steps) with at least one step, and the channels of "
                f"the schema: {expected}; cut the windows with the schema that encoded them"
            )
        _check_codes(self.categories.transpose(1, 0, 2), schema.categorical)
        _check_codes(self.static_categories.T, schema.static_categorical)
        if self.lengths is not None and (
            self.lengths.shape != (n,) or ((self.lengths < 1) | (self.lengths > n_steps)).any()
        ):
            raise SignalError(f"lengths: expected ({n},) of 1..{n_steps} steps, found {self.lengths.shape}")

    @property
    def n_steps(self) -> int:
        """Steps of the longest window."""
        return int(self.numbers.shape[2])

    @property
    def interval_h(self) -> float:
        """Hours from one step to the next."""
        return self.schema.interval_s / 3600


@dataclass(frozen=True, eq=False)
class MixedFeatures:
    """Named numbers, one row a window.

    Attributes:
        names: (n_features), each once.
        units: Unit of each name.
        values: (n, n_features), float64, never infinite; NaN: not measured.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray


def summary_features(windows: MixedWindows) -> MixedFeatures:
    """What a whole window says, for windows of any length.

    Of each numeric channel: `first` and `last` measured value, `hours_since_last` (from the last measured step to the
    last step), `mean`, population `deviation`, `min`, `max`, `slope` (least squares over the measured steps, unit per
    hour; NaN for fewer than two), `count` of measured steps, `share_missing`. Without a measured value all are NaN but
    `count` (0) and `share_missing` (1). Of each categorical channel: the `share` of the steps with each code, and
    whether it is the `last` one that was measured (`<missing>`: none was). Static numbers as they are, static
    categories as one 0 or 1 for each code.

    Returns:
        `<channel>__<statistic>`, then `<channel>=<value>__share` and `__last`, then `<static>` and `<static>=<value>`.
    """
    schema = windows.schema
    names = [f"{channel.name}__{name}" for channel in schema.numeric for name in STATISTICS]
    units = [unit.format(channel.unit) for channel in schema.numeric for unit in STATISTICS.values()]
    lengths = np.full(len(windows.numbers), windows.n_steps) if windows.lengths is None else windows.lengths
    parts = [_numeric_summary(windows, rows, lengths[rows]) for rows in _chunks(windows.numbers.shape)]
    columns = [np.concatenate(parts) if parts else np.zeros((0, len(names)))]
    is_step = np.arange(windows.n_steps) < lengths[:, None]
    for at, channel in enumerate(schema.categorical):
        codes = windows.categories[:, at]
        shares = [(is_step & (codes == code)).sum(axis=1) / lengths for code in range(channel.n_codes)]
        columns += [np.stack(shares, axis=1), _one_hot(_last_code(codes, is_step), channel.n_codes)]
        for statistic in ("share", "last"):
            names += [f"{name}__{statistic}" for name in _code_names(channel)]
        units += ["1"] * (2 * channel.n_codes)
    return _joined(windows, names, units, columns)


def lagged_features(
    windows: MixedWindows,
    *,
    hour: np.ndarray,
    month: np.ndarray,
    channels: Sequence[str] | None = None,
    lags_h: Sequence[int] = LAGS_H,
    means_h: Sequence[int] = MEANS_H,
) -> MixedFeatures:
    """What the newest steps of a window say, for forecasts from windows of one length.

    The value of each channel at each lag before the newest step; its mean over the newest `means_h` hours (over the
    measured steps); the last measured value of each category as one 0 or 1 for each code; hour of day and month as
    sine and cosine, one turn in 24 hours and in 12 months from January; statics as in `summary_features`.

    Args:
        windows: Without padding.
        hour: (n,), LOCAL hour of the newest step, 0 to below 24.
        month: (n,), LOCAL month of the newest step, 1..12.
        channels: Numeric channels that are looked at; None: all.
        lags_h: Hours, each a whole number of steps within the window.
        means_h: Hours, likewise.

    Returns:
        `<channel>__lag_<hours>h`, `<channel>__mean_<hours>h`, `<channel>=<value>__last`, `hour_sin`, `hour_cos`,
        `month_sin`, `month_cos`, statics.

    Raises:
        SignalError: padding, a lag or a mean that the window does not hold, an unknown channel, hours or months that
            cannot be.
    """
    schema = windows.schema
    if windows.lengths is not None and (windows.lengths != windows.n_steps).any():
        raise SignalError("lagged features: windows have padding; expected windows of one length; give full ones")
    _check_clock(hour, month, len(windows.numbers))
    known = [channel.name for channel in schema.numeric]
    unknown = [name for name in channels or () if name not in known]
    if unknown:
        raise SignalError(f"lagged features: no channel {', '.join(map(repr, unknown))}; known: {known}")
    chosen = [known.index(name) for name in (known if channels is None else channels)]
    lags = [_steps(windows, lag, windows.n_steps - 1, "lag") for lag in lags_h]
    spans = [_steps(windows, span, windows.n_steps, "mean over") for span in means_h]
    if any(span == 0 for span in spans):
        raise SignalError(f"lagged features: a mean over no step; expected hours above 0, found {tuple(means_h)}")
    of_channel = [f"lag_{lag}h" for lag in lags_h] + [f"mean_{span}h" for span in means_h]
    names = [f"{known[at]}__{name}" for at in chosen for name in of_channel]
    units = [schema.numeric[at].unit for at in chosen for _ in of_channel]
    rows = [_lags_and_means(windows.numbers[rows][:, chosen], lags, spans) for rows in _chunks(windows.numbers.shape)]
    columns = [np.concatenate(rows) if rows else np.zeros((0, len(names)))]
    is_step = np.ones((len(windows.numbers), windows.n_steps), bool)
    for at, channel in enumerate(schema.categorical):
        columns.append(_one_hot(_last_code(windows.categories[:, at], is_step), channel.n_codes))
        names += [f"{name}__last" for name in _code_names(channel)]
        units += ["1"] * channel.n_codes
    turns = (np.asarray(hour, np.float64) / 24, (np.asarray(month, np.float64) - 1) / 12)
    columns.append(np.stack([wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)], axis=1))
    names += ["hour_sin", "hour_cos", "month_sin", "month_cos"]
    units += ["1"] * 4
    return _joined(windows, names, units, columns)


def _joined(windows: MixedWindows, names: list[str], units: list[str], columns: list[np.ndarray]) -> MixedFeatures:
    """The features of a family, and those of what never changes after them."""
    schema = windows.schema
    static = windows.static_numbers.astype(np.float64)
    columns.append(np.where(np.isfinite(static), static, np.nan))
    names += [channel.name for channel in schema.static_numeric]
    units += [channel.unit for channel in schema.static_numeric]
    for at, channel in enumerate(schema.static_categorical):
        columns.append(_one_hot(windows.static_categories[:, at], channel.n_codes))
        names += _code_names(channel)
        units += ["1"] * channel.n_codes
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SignalError(f"features: the names {twice[:3]} stand for two things; rename a channel or a category")
    return MixedFeatures(tuple(names), tuple(units), np.concatenate(columns, axis=1))


def _numeric_summary(windows: MixedWindows, rows: slice, lengths: np.ndarray) -> np.ndarray:
    """(n, n_numeric * n_statistics), channel after channel."""
    numbers = windows.numbers[rows].astype(np.float64)
    n_steps = windows.n_steps
    is_measured = np.isfinite(numbers) & (np.arange(n_steps) < lengths[:, None])[:, None]
    count = is_measured.sum(axis=2)
    some, at_least_one = count > 0, np.maximum(count, 1)
    values = np.where(is_measured, numbers, 0.0)
    first, last = is_measured.argmax(axis=2), n_steps - 1 - is_measured[..., ::-1].argmax(axis=2)
    mean = values.sum(axis=2) / at_least_one
    centred = np.where(is_measured, numbers - mean[..., None], 0.0)
    hours = np.arange(n_steps) * windows.interval_h
    mean_hour = (is_measured @ hours) / at_least_one
    from_mean = np.where(is_measured, hours - mean_hour[..., None], 0.0)
    spread = np.einsum("nct,nct->nc", from_mean, from_mean)
    slope = np.einsum("nct,nct->nc", from_mean, centred) / np.where(count > 1, spread, np.nan)
    found = {
        "first": np.take_along_axis(values, first[..., None], 2)[..., 0],
        "last": np.take_along_axis(values, last[..., None], 2)[..., 0],
        "hours_since_last": (lengths[:, None] - 1 - last) * windows.interval_h,
        "mean": mean,
        "deviation": np.sqrt(np.einsum("nct,nct->nc", centred, centred) / at_least_one),
        "min": np.where(is_measured, numbers, np.inf).min(axis=2),
        "max": np.where(is_measured, numbers, -np.inf).max(axis=2),
        "slope": slope,
    }
    measured = [np.where(some, found[name], np.nan) for name in STATISTICS if name in found]
    columns = np.stack([*measured, count, 1 - count / lengths[:, None]], axis=2)
    return columns.reshape(len(numbers), -1)


def _lags_and_means(numbers: np.ndarray, lags: Iterable[int], spans: Iterable[int]) -> np.ndarray:
    """(n, n_chosen * (n_lags + n_spans)), channel after channel."""
    is_measured = np.isfinite(numbers)
    values = np.where(is_measured, numbers, 0.0).astype(np.float64)
    newest = numbers.shape[2] - 1
    columns = [np.where(is_measured[..., newest - lag], values[..., newest - lag], np.nan) for lag in lags]
    for span in spans:
        count = is_measured[..., -span:].sum(axis=2)
        columns.append(values[..., -span:].sum(axis=2) / np.where(count > 0, count, np.nan))
    n_columns = numbers.shape[1] * len(columns)
    return np.stack(columns, axis=2).reshape(len(numbers), n_columns) if columns else np.zeros((len(numbers), 0))


def _last_code(codes: np.ndarray, is_step: np.ndarray) -> np.ndarray:
    """(n, n_steps) to (n,): the last code that was measured, MISSING where none was."""
    is_measured = (codes != MISSING) & is_step
    last = codes.shape[1] - 1 - is_measured[:, ::-1].argmax(axis=1)
    newest = np.take_along_axis(codes, last[:, None], 1)[:, 0]
    return np.where(is_measured.any(axis=1), newest, MISSING)


def _one_hot(codes: np.ndarray, n_codes: int) -> np.ndarray:
    return np.asarray(codes[:, None] == np.arange(n_codes), np.float64)


def _code_names(channel: CategoricalChannel) -> list[str]:
    return [f"{channel.name}={value}" for value in ("<missing>", "<unseen>", *channel.values)]


def _chunks(shape: tuple[int, ...]) -> list[slice]:
    n, n_channels, n_steps = shape
    size = max(1, _CHUNK_VALUES // max(1, n_channels * n_steps))
    return [slice(first, first + size) for first in range(0, n, size)]


def _steps(windows: MixedWindows, hours: float, most: int, what: str) -> int:
    steps = hours / windows.interval_h
    if steps != int(steps) or not 0 <= steps <= most:
        raise SignalError(
            f"lagged features: {what} {hours} h is {steps:g} steps of {windows.interval_h:g} h; expected a whole "
            f"number of 0 to {most} in windows of {windows.n_steps}; ask for less, or cut longer windows"
        )
    return int(steps)


def _check_clock(hour: np.ndarray, month: np.ndarray, n: int) -> None:
    if hour.shape != (n,) or month.shape != (n,):
        raise SignalError(f"hour and month: expected ({n},) each, one a window, found {hour.shape} and {month.shape}")
    if not ((hour >= 0) & (hour < 24)).all() or not ((month >= 1) & (month <= 12)).all():
        raise SignalError("hour and month: expected local hours 0 to below 24 and months 1..12; found others, or NaN")


def _check_codes(codes: np.ndarray, channels: Sequence[CategoricalChannel]) -> None:
    """(n_channels, ...) codes against their vocabularies."""
    for found, channel in zip(codes, channels, strict=True):
        if found.size and not 0 <= found.min() <= found.max() < channel.n_codes:
            raise SignalError(
                f"{channel.name!r} has codes {found.min()} to {found.max()}, expected 0 to {channel.n_codes - 1} "
                f"({len(channel.values)} values); encode it with the schema"
            )
