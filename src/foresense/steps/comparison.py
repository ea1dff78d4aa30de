"""Two versions on the same windows that neither has seen: paired differences with an interval, in one common scale."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.evaluate import block_bootstrap, seasonal_naive, sum_errors
from foresense.evaluate.errors import in_batches
from foresense.registry import CHALLENGER, CHAMPION, Manifest, verify_version
from foresense.signals import Scaler, Windows, read_json, read_scaler

Forecast = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PromotionRule:
    """What promotion asks for.

    The defaults of `level` and `min_blocks` go together. A percentile interval from few blocks is too narrow: of 3000
    pairs of equally good versions (errors of overlapping windows, normal and t3), "upper bound below 0" called the
    challenger better in 15 % at 95 % and 4 blocks, in 10 % at 95 % and 8, and in 4 % at 99 % and 12.

    Attributes:
        margin: Least share by which the MSE must be below the champion's.
        level: Of the intervals.
        min_blocks: Least number of blocks of windows without a common target; with fewer there is no interval.
        seed: Of the bootstrap.
    """

    margin: float = 0.01
    level: float = 0.99
    min_blocks: int = 12
    seed: int = 0


@dataclass(frozen=True, eq=False)
class OpenVersion:
    """A verified version, ready to forecast.

    Attributes:
        folder: Where it lies.
        manifest: Digests, and until when it was trained.
        windowing: Its signature: channels, units, context, horizon, interval, time zone.
        forecast: From contexts (n, context, n_channels) and starts (n,) to (n, horizon, n_channels), physical units.
        scaler: Of the version.
    """

    folder: Path
    manifest: Manifest
    windowing: dict[str, Any]
    forecast: Forecast
    scaler: Scaler


@dataclass(frozen=True)
class Difference:
    """MSE of the challenger minus MSE of a rival, window by window.

    Attributes:
        rival: `champion`, or `seasonal naive <season>`.
        mse: Mean difference; below 0 the challenger is better.
        relative: The same as a share of the rival's MSE.
        interval: By the paired block bootstrap; None where the windows are too few.
    """

    rival: str
    mse: float
    relative: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured on the windows that no version has seen.

    All errors are in the windows' own scale: physical error divided by `windows.scaler.scale` (range or deviation of
    each channel in the training part of the windows on disk), a function of the data that are judged on and of neither
    version, so that every channel counts alike and swapping the versions only flips the sign.

    Attributes:
        asset: The machine, or `all`.
        starts: (n_windows,), int64: the windows that were used.
        n_left_out: Windows of the test part with a target that a version was trained on.
        cut_s: The later `trained_until_s` of the two; every target is younger.
        span_s: First and last time of a target, seconds since 1970 UTC; None where no window was left.
        block: Neighbouring windows that share a target.
        errors: Name -> (n_windows, n_channels), mean squared error of each window.
        forecasts: Name -> the forecast, physical units: the challenger first.
        mae: Name -> channel -> mean absolute error, physical units.
        against_champion: None where there is none, or it cannot read these windows.
        against_naive: None where no window was left.
    """

    asset: str
    starts: np.ndarray
    n_left_out: int
    cut_s: int
    span_s: tuple[int, int] | None
    block: int
    errors: Mapping[str, np.ndarray]
    forecasts: Mapping[str, Forecast]
    mae: Mapping[str, Mapping[str, float]]
    against_champion: Difference | None
    against_naive: Difference | None

    @property
    def n_blocks(self) -> float:
        """Blocks of windows without a common target."""
        return len(self.starts) / self.block


def open_version(folder: Path) -> OpenVersion:
    """Verify a version's files, then load it.

    Raises:
        VersionError: a file is altered, missing or too much.
    """
    manifest = verify_version(folder)
    from foresense.models import load_model
    from foresense.training.forecast import forecaster

    scaler, run = read_scaler(folder / "scaler.json"), forecaster(load_model(folder / "model"))

    def forecast(context: np.ndarray, starts: np.ndarray) -> np.ndarray:
        scaled = scaler.transform(context, scaler.channels).astype(np.float32)
        return scaler.inverse(run(scaled, starts).astype(np.float64), scaler.channels)

    return OpenVersion(folder, manifest, read_json(folder / "windowing.json"), forecast, scaler)


def compare(
    champion: OpenVersion | None,
    challenger: OpenVersion,
    windows: Windows,
    *,
    seasons: Sequence[int] = (24, 168),
    rule: PromotionRule | None = None,
) -> Comparison:
    """Compare two versions, and the challenger with seasonal naive, on the test windows younger than either's data.

    Args:
        champion: None where there is none. One with another signature cannot read the windows, and is left out.
        challenger: Must have the signature of the windows.
        windows: Tonight's windows of the asset.
        seasons: Samples; the best seasonal naive forecast on the validation part is the rival.
        rule: Level, least number of blocks and seed of the intervals; absent: the defaults.

    Raises:
        ValueError: the challenger is of other windows, no season fits, or a version forecasts what is not a number.

    Source of the interval: Politis and Romano, A circular block-resampling procedure for stationary data, 1992; the
    pairing removes what both versions find equally hard (Diebold and Mariano, Comparing Predictive Accuracy, 1995).
    """
    rule = rule or PromotionRule()
    _require_signature(challenger, windows)
    rivals = {CHALLENGER: challenger.forecast}
    cut_s = challenger.manifest.cut_s
    if champion is not None:
        cut_s = max(cut_s, champion.manifest.cut_s)
        if champion.windowing == challenger.windowing:
            rivals[CHAMPION] = champion.forecast
    naive, season = _best_naive(windows, seasons)
    rivals[f"seasonal naive {season}"] = naive
    test = windows.starts["test"]
    starts = test[windows.row_times_s[test + windows.context] > cut_s]
    block = _block_of(test, windows.horizon)
    squared, absolute = _errors(windows, starts, rivals)
    differences = {
        name: _difference(squared, name, block, rule) if len(starts) else None for name in rivals if name != CHALLENGER
    }
    return Comparison(
        asset=windows.group,
        starts=starts,
        n_left_out=len(test) - len(starts),
        cut_s=cut_s,
        span_s=_span(windows, starts),
        block=block,
        errors=squared,
        forecasts=rivals,
        mae={
            name: {
                channel: float(values[:, number].mean() * windows.scaler.scale[number])
                for number, channel in enumerate(windows.channels)
            }
            for name, values in absolute.items()
            if len(starts)
        },
        against_champion=differences.get(CHAMPION),
        against_naive=differences[f"seasonal naive {season}"],
    )


def signature_of(windows: Windows) -> dict[str, Any]:
    """What a forecaster of these windows takes and gives: content of a version's `windowing.json`."""
    return {
        "channels": list(windows.channels),
        "units": list(windows.units),
        "context": windows.context,
        "horizon": windows.horizon,
        "interval_s": windows.interval_s,
        "time_zone": windows.time_zone,
    }


def _require_signature(challenger: OpenVersion, windows: Windows) -> None:
    found = challenger.windowing
    differing = [
        f"{name}: {expected!r} expected, {found.get(name)!r} found"
        for name, expected in signature_of(windows).items()
        if found.get(name) != expected
    ]
    if differing:
        raise ValueError(
            f"{challenger.folder}: the challenger is not of the windows of {windows.group!r} ({'; '.join(differing)}); "
            "train again on them"
        )


def _best_naive(windows: Windows, seasons: Sequence[int]) -> tuple[Forecast, int]:
    """The seasonal naive forecast with the least error on the validation part, and its season."""
    fitting = [season for season in seasons if season <= windows.context]
    if not fitting:
        raise ValueError(
            f"train.season_lengths: none of {list(seasons)} fits into a context of {windows.context} samples; "
            "promotion compares with a seasonal naive forecast"
        )
    validation = windows.starts["validation"]
    scores = {
        season: sum_errors(windows, validation, seasonal_naive(windows.horizon, season)).summary()["mse"]
        for season in fitting
    }
    best = min(scores, key=lambda season: scores[season])
    return seasonal_naive(windows.horizon, best), best


def _block_of(test: np.ndarray, horizon: int) -> int:
    """Neighbouring windows that share a target: never fewer, whatever the number of windows."""
    stride = int(np.diff(test).min()) if len(test) > 1 else horizon
    return max(1, -(-horizon // stride))


def _errors(
    windows: Windows, starts: np.ndarray, rivals: Mapping[str, Forecast]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Squared and absolute error of each rival by window and channel, in the windows' scale."""
    n_channels = len(windows.channels)
    squared = {name: np.empty((len(starts), n_channels)) for name in rivals}
    absolute = {name: np.empty((len(starts), n_channels)) for name in rivals}
    done = 0
    for chosen in in_batches(starts):
        here = slice(done, done + len(chosen))
        physical = windows.scaler.inverse(windows.gather(chosen).astype(np.float64), windows.channels)
        context, truth = physical[:, : windows.context], physical[:, windows.context :]
        for name, forecast in rivals.items():
            missed = (forecast(context, chosen) - truth) / windows.scaler.scale
            squared[name][here], absolute[name][here] = (missed**2).mean(1), np.abs(missed).mean(1)
        done += len(chosen)
    for name, values in squared.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{windows.group}: the {name} forecasts what is not a number; nothing can be compared")
    return squared, absolute


def _difference(squared: Mapping[str, np.ndarray], rival: str, block: int, rule: PromotionRule) -> Difference:
    paired = squared[CHALLENGER].mean(1) - squared[rival].mean(1)
    interval = None
    if len(paired) >= rule.min_blocks * block:
        interval = block_bootstrap(paired, block=block, rng=np.random.default_rng(rule.seed), level=rule.level)
    mean, of_rival = float(paired.mean()), float(squared[rival].mean())
    relative = mean / of_rival if of_rival > 0 else float(np.sign(mean))
    return Difference(rival, mean, relative, interval)


def _span(windows: Windows, starts: np.ndarray) -> tuple[int, int] | None:
    if not len(starts):
        return None
    times = windows.row_times_s
    return int(times[starts + windows.context].min()), int(times[starts + windows.length - 1].max())
