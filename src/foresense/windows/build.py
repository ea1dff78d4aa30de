"""From recordings to the windows of one group: split, impute, scale, index, in this order."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import WindowConfig
from foresense.signals import PARTS, Part, Recording, Scaler, SignalError, Windows, write_json
from foresense.windows.impute import Imputed, interpolate_short_gaps
from foresense.windows.index import Starts, count_blocks, window_starts
from foresense.windows.scale import constant_channels, fit_scaler
from foresense.windows.split import Cuts, cut_rows

_NPY_ALIGNED = (1, 0)  # fixed version of the .npy header, so that equal windows are equal bytes


@dataclass(frozen=True, eq=False)
class _Asset:
    """The used rows of one asset, in order of time, split and imputed but not yet scaled."""

    name: str
    cuts: Cuts
    raw: np.ndarray  # (n_rows, n_channels), physical units, before imputation
    imputed: Imputed
    recording: np.ndarray  # (n_rows,), int64
    times_s: np.ndarray  # (n_rows,), int64
    n_unused: int

    @property
    def train(self) -> np.ndarray:
        return self.raw[: self.cuts.train_end]


def build_windows(group: str, recordings: Sequence[Recording], config: WindowConfig) -> tuple[Windows, dict[str, Any]]:
    """Build the windows of one group, in memory.

    The recordings of an asset are laid end to end in order of time and cut as one, so that nothing of a part is
    older than the part before it; no window crosses the seam of two recordings or of two assets.

    Args:
        group: Asset name, or `all`.
        recordings: Of one asset, or of all of them; same channels, units, rate and time zone.
        config: Section `window`.

    Returns:
        The windows, and the group's entry in the report: `rows` and `windows` by part, `n_unused_rows`,
        `n_blocks`, `n_long_gaps`, `n_interpolated` and `n_mean_filled` (values), `n_left_out` (windows) with its
        reasons in `left_out`, `constant_channels`.

    Raises:
        SignalError: recordings that do not fit together, too few rows, or a part without any window; the problems
            of all assets together.
    """
    _require_alike(group, recordings)
    first = recordings[0]
    assets = _prepare_all(recordings, config)
    train = np.concatenate([asset.train for asset in assets])
    scaler = fit_scaler(train, first.channels, config.scaler, group=group)
    found = {part: [_starts(asset, part, config) for asset in assets] for part in PARTS}
    offsets = np.cumsum([0, *(len(asset.raw) for asset in assets)])
    starts = {
        part: np.concatenate([one.rows + offset for one, offset in zip(found[part], offsets[:-1], strict=True)])
        for part in PARTS
    }
    _require_windows(group, starts, found, config)
    windows = Windows(
        group=group,
        samples=np.concatenate([_scaled(asset, scaler) for asset in assets]),
        channels=first.channels,
        units=first.units,
        context=config.context,
        horizon=config.horizon,
        starts=starts,
        row_times_s=np.concatenate([asset.times_s for asset in assets]),
        asset_of_row=np.repeat(np.arange(len(assets), dtype=np.int32), np.diff(offsets)),
        assets=tuple(asset.name for asset in assets),
        interval_s=first.interval_s,
        time_zone=first.time_zone,
        scaler=scaler,
        imputed=np.concatenate([asset.imputed.interpolated | asset.imputed.at_edge for asset in assets]),
    )
    return windows, _facts(assets, starts, found, constant_channels(train, first.channels))


def write_windows(folder: Path, windows: Windows) -> None:
    """Write one group as `open_windows` reads it; equal windows give equal bytes.

    Args:
        folder: Created; holds samples, times, assets, starts by part, imputed values, scaler and index.
        windows: The group.
    """
    folder.mkdir(parents=True)
    arrays = {
        "samples": windows.samples,
        "row_times_s": windows.row_times_s,
        "asset_of_row": windows.asset_of_row,
        **{f"starts_{part}": windows.starts[part] for part in PARTS},
    }
    if windows.imputed is not None:
        arrays["imputed"] = windows.imputed
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), version=_NPY_ALIGNED, allow_pickle=False)
    windows.scaler.write(folder / "scaler.json")
    write_json(
        folder / "index.json",
        {
            "group": windows.group,
            "channels": list(windows.channels),
            "units": list(windows.units),
            "context": windows.context,
            "horizon": windows.horizon,
            "assets": list(windows.assets),
            "interval_s": windows.interval_s,
            "time_zone": windows.time_zone,
        },
    )


def _require_alike(group: str, recordings: Sequence[Recording]) -> None:
    first = recordings[0]
    for other in recordings[1:]:
        for name in ("channels", "units", "interval_s", "time_zone"):
            if getattr(other, name) != getattr(first, name):
                raise SignalError(
                    f"group {group!r}: {name} of {other.asset!r} is {getattr(other, name)!r}, of {first.asset!r} "
                    f"{getattr(first, name)!r}; one group needs one layout: set window.group: asset, or ingest alike"
                )


def _prepare_all(recordings: Sequence[Recording], config: WindowConfig) -> list[_Asset]:
    """Split and impute every asset, by name; the problems of all of them in one error."""
    prepared: list[_Asset] = []
    problems: list[str] = []
    for name in sorted({recording.asset for recording in recordings}):
        own = sorted((found for found in recordings if found.asset == name), key=lambda found: found.start)
        try:
            prepared.append(_prepare(name, own, config))
        except SignalError as error:
            problems.append(str(error))
    if problems:
        raise SignalError("\n".join(problems))
    return prepared


def _prepare(name: str, recordings: Sequence[Recording], config: WindowConfig) -> _Asset:
    times = [recording.times().to_numpy("datetime64[s]").astype(np.int64) for recording in recordings]
    for earlier, later in pairwise(times):
        if len(earlier) and len(later) and later[0] <= earlier[-1]:
            raise SignalError(
                f"asset {name!r}: two recordings overlap: one begins at {np.datetime64(int(later[0]), 's')} UTC, "
                f"but the one before it ends at {np.datetime64(int(earlier[-1]), 's')} UTC; join them in ingest"
            )
    samples = np.concatenate([recording.samples for recording in recordings])
    cuts = cut_rows(len(samples), config.split, context=config.context, horizon=config.horizon, asset=name)
    raw = samples[: cuts.test_end]
    recording = np.repeat(np.arange(len(recordings)), [len(one) for one in times])[: cuts.test_end]
    part = np.searchsorted([cuts.train_end, cuts.validation_end], np.arange(len(raw)), side="right")
    return _Asset(
        name=name,
        cuts=cuts,
        raw=raw,
        imputed=interpolate_short_gaps(
            raw, recording=recording, piece=len(PARTS) * recording + part, max_gap=config.max_gap
        ),
        recording=recording,
        times_s=np.concatenate(times)[: cuts.test_end],
        n_unused=len(samples) - cuts.test_end,
    )


def _starts(asset: _Asset, part: Part, config: WindowConfig) -> Starts:
    return window_starts(
        asset.cuts,
        part,
        context=config.context,
        horizon=config.horizon,
        stride=1 if part == "train" else config.stride_evaluation,
        broken=asset.imputed.broken,
        recording=asset.recording,
        interpolated=np.asarray(asset.imputed.interpolated.any(axis=1)),
    )


def _scaled(asset: _Asset, scaler: Scaler) -> np.ndarray:
    filled = np.where(asset.imputed.at_edge, scaler.mean, asset.imputed.samples)
    return scaler.transform(filled, scaler.channels).astype(np.float32)


def _require_windows(
    group: str, starts: dict[Part, np.ndarray], found: dict[Part, list[Starts]], config: WindowConfig
) -> None:
    problems = [
        f"group {group!r}: no window of {config.context} + {config.horizon} rows in the {part} part: "
        f"{sum(one.n_over_gap for one in found[part])} candidates hold a long gap, "
        f"{sum(one.n_unmeasured_origin for one in found[part])} end their context in an interpolated sample; raise "
        f"window.max_gap ({config.max_gap}), make window.split.{part} larger, or window.context shorter"
        for part in PARTS
        if not len(starts[part])
    ]
    if problems:
        raise SignalError("\n".join(problems))


def _facts(
    assets: Sequence[_Asset],
    starts: dict[Part, np.ndarray],
    found: dict[Part, list[Starts]],
    constant: list[str],
) -> dict[str, Any]:
    every = [one for part in PARTS for one in found[part]]
    left_out = {
        "over_gap": sum(one.n_over_gap for one in every),
        "unmeasured_origin": sum(one.n_unmeasured_origin for one in every),
    }
    rows = {part: [asset.cuts.rows(part) for asset in assets] for part in PARTS}
    return {
        "rows": {part: sum(end - first for first, end in rows[part]) for part in PARTS},
        "windows": {part: len(starts[part]) for part in PARTS},
        "n_unused_rows": sum(asset.n_unused for asset in assets),
        "n_blocks": sum(count_blocks(asset.imputed.broken, asset.recording) for asset in assets),
        "n_long_gaps": sum(asset.imputed.n_long_gaps for asset in assets),
        "n_interpolated": sum(int(asset.imputed.interpolated.sum()) for asset in assets),
        "n_mean_filled": sum(int(asset.imputed.at_edge.sum()) for asset in assets),
        "n_left_out": sum(left_out.values()),
        "left_out": left_out,
        "constant_channels": constant,
    }
