"""What was measured of an asset, and its newest context: filled as training fills it, or refused with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresense.signals import Recording, Scaler
from foresense.windows import interpolate_short_gaps


class SkippedForecastError(ValueError):
    """An asset cannot be forecast now, and nothing is broken; the text is the reason."""


@dataclass(frozen=True, eq=False)
class Measured:
    """All recordings of one asset, end to end in order of time.

    Attributes:
        asset: Name.
        samples: (n_rows, n_channels), physical units, NaN where missing.
        times_s: (n_rows,), int64, rising: seconds since 1970 UTC.
        recording: (n_rows,), int64: number of the recording of each row, never falling.
        channels: Name of each column.
        units: Unit of each column.
        interval_s: Seconds from one row of a recording to the next.
    """

    asset: str
    samples: np.ndarray
    times_s: np.ndarray
    recording: np.ndarray
    channels: tuple[str, ...]
    units: tuple[str, ...]
    interval_s: float

    @property
    def newest_s(self) -> int | None:
        """Time of the newest row in which any channel was measured; None where nothing ever was."""
        rows = np.flatnonzero(~np.isnan(self.samples).all(axis=1))
        return int(self.times_s[rows[-1]]) if len(rows) else None

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """(n, n_channels): what was measured at these times (n,), NaN where nothing was."""
        found = np.full((len(times_s), len(self.channels)), np.nan)
        if len(self.times_s):
            rows = np.minimum(np.searchsorted(self.times_s, times_s), len(self.times_s) - 1)
            there = self.times_s[rows] == times_s
            found[there] = self.samples[rows[there]]
        return found

    def until(self, end_s: int) -> "Measured":
        """The rows up to `end_s`, that one included."""
        n_rows = int(np.searchsorted(self.times_s, end_s, side="right"))
        return Measured(
            self.asset,
            self.samples[:n_rows],
            self.times_s[:n_rows],
            self.recording[:n_rows],
            self.channels,
            self.units,
            self.interval_s,
        )


def by_asset(recordings: Sequence[Recording]) -> dict[str, Measured]:
    """Join the recordings of each asset, in order of its name."""
    return {
        asset: _joined(asset, sorted((one for one in recordings if one.asset == asset), key=lambda one: one.start))
        for asset in sorted({recording.asset for recording in recordings})
    }


def _joined(asset: str, recordings: Sequence[Recording]) -> Measured:
    first = recordings[0]
    return Measured(
        asset=asset,
        samples=np.concatenate([one.samples for one in recordings]),
        times_s=np.concatenate([one.times().to_numpy("datetime64[s]").astype(np.int64) for one in recordings]),
        recording=np.repeat(np.arange(len(recordings)), [len(one.samples) for one in recordings]),
        channels=first.channels,
        units=first.units,
        interval_s=first.interval_s,
    )


@dataclass(frozen=True, eq=False)
class Context:
    """What a model sees.

    Attributes:
        samples: (context, n_channels), physical units, no NaN.
        times_s: (context,), int64: seconds since 1970 UTC.
        scaled: (context, n_channels), float32, as a model sees it; not clipped.
    """

    samples: np.ndarray
    times_s: np.ndarray
    scaled: np.ndarray

    @property
    def origin_s(self) -> int:
        """Time of its newest sample; the forecast begins one interval later."""
        return int(self.times_s[-1])


def newest_context(
    measured: Measured, *, n_rows: int, max_gap: int, scaler: Scaler, now_s: int, max_age_s: float
) -> Context:
    """Take the newest rows that a forecast can be made from.

    As in training, a context ends in a row in which every channel was measured, short gaps are interpolated, none of
    it crosses the seam of two recordings, and a gap at the very start of a recording is filled with the mean of the
    training part.

    Args:
        measured: Of the asset, up to now.
        n_rows: Length of the context.
        max_gap: Longest gap that is closed, in rows (`window.max_gap`).
        scaler: Of the version that will forecast.
        now_s: Seconds since 1970 UTC; what the context's age is counted from.
        max_age_s: An older context is refused.

    Raises:
        SkippedForecastError: nothing measured, too old, too short, or a long gap; says which and how much.
    """
    is_whole = ~np.isnan(measured.samples).any(axis=1)
    if not is_whole.any():
        raise SkippedForecastError(f"{_missing(measured)} in any of its {len(measured.samples)} rows")
    end = int(np.flatnonzero(is_whole)[-1]) + 1
    age_s = now_s - int(measured.times_s[end - 1])
    if age_s > max_age_s:
        raise SkippedForecastError(
            f"newest complete sample {told(int(measured.times_s[end - 1]))} is {age_s / 3600:g} h old, at most "
            f"{max_age_s / 3600:g} h asked{_silent(measured, end)}"
        )
    begin = int(np.searchsorted(measured.recording, measured.recording[end - 1]))
    if end - begin < n_rows:
        since = f" since the break before {told(int(measured.times_s[begin]))}" if begin else ""
        raise SkippedForecastError(f"{end - begin} of {n_rows} rows{since}")
    return _filled(measured, begin, end, n_rows, max_gap, scaler)


def _filled(measured: Measured, begin: int, end: int, n_rows: int, max_gap: int, scaler: Scaler) -> Context:
    """The last `n_rows` of the rows `begin` to `end`, which are of one recording."""
    one = np.zeros(end - begin, np.int64)
    imputed = interpolate_short_gaps(measured.samples[begin:end], recording=one, piece=one, max_gap=max_gap)
    broken = np.flatnonzero(imputed.broken[-n_rows:])
    times_s = measured.times_s[end - n_rows : end]
    if len(broken):
        held = np.isnan(measured.samples[end - n_rows : end][broken[-1]])
        names = [name for name, is_missing in zip(measured.channels, held, strict=True) if is_missing]
        raise SkippedForecastError(
            f"a gap in {', '.join(names)} until {told(int(times_s[broken[-1]]))} is longer than {max_gap} rows "
            f"(window.max_gap), and lies in the newest {n_rows}; {n_rows - 1 - int(broken[-1])} rows since then"
        )
    samples = np.where(imputed.at_edge, scaler.mean, imputed.samples)[-n_rows:]
    return Context(samples, times_s, scaler.transform(samples, measured.channels).astype(np.float32))


def _missing(measured: Measured) -> str:
    never = [name for name, column in zip(measured.channels, measured.samples.T, strict=True) if np.isnan(column).all()]
    return f"no value of {', '.join(never)}" if never else "no row with every channel"


def _silent(measured: Measured, end: int) -> str:
    """Which channels are missing while others go on."""
    later = measured.samples[end:]
    if np.isnan(later).all():
        return ""
    silent = [name for name, column in zip(measured.channels, later.T, strict=True) if np.isnan(column).all()]
    return f"; others go on, but {', '.join(silent)} has no value since" if silent else "; never all channels since"


def told(time_s: int) -> str:
    """A time as files and messages write it, UTC."""
    return f"{np.datetime64(time_s, 's')}Z"


def shown(time_s: int) -> str:
    """A time as tables for people write it, UTC, to the minute."""
    return told(time_s)[:16].replace("T", " ")
