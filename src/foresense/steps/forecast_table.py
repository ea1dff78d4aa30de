"""Forecasts on disk: `forecasts/<pipeline>/<made_at>.parquet`, one row for each asset, channel and target time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foresense.signals import Layout, write_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z\.parquet")
_TIME_FORMAT = "%Y-%m-%dT%H-%M-%SZ"
_TEXTS = ("asset", "channel", "unit", "version")


@dataclass(frozen=True, eq=False)
class AssetForecast:
    """The forecast of one asset.

    Attributes:
        asset: Name.
        version: Label of the version that made it: a number, or `latest-<digest>` for one that nobody promoted.
        channels: Names.
        units: Of each channel.
        times_s: (horizon,), int64, rising: target times, seconds since 1970 UTC.
        predicted: (horizon, n_channels), physical units.
        lower: The same shape: lower bound of the interval.
        upper: The same shape.
    """

    asset: str
    version: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    times_s: np.ndarray
    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def forecasts_folder(layout: Layout, pipeline: str) -> Path:
    """Where the forecasts of a pipeline are; never a DVC output."""
    return layout.root / "forecasts" / pipeline


def forecast_files(folder: Path) -> dict[int, Path]:
    """Every file of forecasts by the time at which it was made (seconds since 1970 UTC), in that order."""
    if not folder.is_dir():
        return {}
    named = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return {int(datetime.strptime(path.stem, _TIME_FORMAT).replace(tzinfo=UTC).timestamp()): path for path in named}


def write_forecasts(folder: Path, made_at_s: int, forecasts: Iterable[AssetForecast]) -> Path:
    """Write what was forecast at one time; of an asset that is in the file already, the new forecast holds.

    Equal forecasts give equal bytes.

    Args:
        folder: `forecasts/<pipeline>`, made where it is missing.
        made_at_s: Seconds since 1970 UTC; names the file.
        forecasts: One for each asset.

    Returns:
        The file, complete.
    """
    import pyarrow.parquet as pq

    path = folder / f"{datetime.fromtimestamp(made_at_s, UTC).strftime(_TIME_FORMAT)}.parquet"
    known = read_forecasts(path) if path.is_file() else {}
    known |= {forecast.asset: forecast for forecast in forecasts}
    written = BytesIO()
    pq.write_table(_table(made_at_s, known), written, compression="zstd")
    write_bytes(path, written.getvalue())
    return path


def read_forecasts(path: Path) -> dict[str, AssetForecast]:
    """Read what `write_forecasts` wrote, by asset.

    Raises:
        ValueError: the file is no Parquet, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, read_dictionary=list(_TEXTS))
        _require(table, path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: no forecasts can be read: {error}; remove it, and forecast again") from error
    if not len(table):
        return {}
    numbers = {name: table[name].to_numpy() for name in ("predicted", "lower", "upper")}
    times_s = seconds_of(table["time"]).to_numpy()
    texts = {name: table[name].combine_chunks() for name in _TEXTS}
    codes = {name: column.indices.to_numpy() for name, column in texts.items()}
    words = {name: column.dictionary.to_pylist() for name, column in texts.items()}
    begins = np.flatnonzero(np.r_[True, np.diff(codes["asset"]) != 0])
    found = {}
    for begin, end in zip(begins, [*begins[1:], len(table)], strict=True):
        starts = begin + np.flatnonzero(np.r_[True, np.diff(codes["channel"][begin:end]) != 0])
        horizon = (end - begin) // len(starts)
        asset = words["asset"][codes["asset"][begin]]
        matrices = {name: column[begin:end].reshape(len(starts), horizon).T for name, column in numbers.items()}
        found[asset] = AssetForecast(
            asset=asset,
            version=words["version"][codes["version"][begin]],
            channels=tuple(words["channel"][codes["channel"][row]] for row in starts),
            units=tuple(words["unit"][codes["unit"][row]] for row in starts),
            times_s=times_s[begin : begin + horizon],
            **matrices,
        )
    return found


def seconds_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as seconds since 1970 UTC; Parquet keeps no unit coarser than milliseconds."""
    import pyarrow as pa

    return column.cast(pa.timestamp("s", tz="UTC")).cast(pa.int64())


def _require(table: pa.Table, path: Path) -> None:
    if table.schema.names != _schema().names:
        raise ValueError(
            f"{path}: columns {table.schema.names}, expected {_schema().names}; written by another release: move it "
            "away, and forecast again"
        )


def _schema() -> pa.Schema:
    import pyarrow as pa

    time, text, number = pa.timestamp("s", tz="UTC"), pa.string(), pa.float64()
    return pa.schema(
        {
            "made_at": time,
            "asset": text,
            "channel": text,
            "step": pa.int32(),
            "time": time,
            "predicted": number,
            "lower": number,
            "upper": number,
            "unit": text,
            "version": text,
        }
    )


def _table(made_at_s: int, forecasts: Mapping[str, AssetForecast]) -> pa.Table:
    """Rows by asset, then channel in the order of training, then time."""
    import pyarrow as pa

    return pa.concat_tables([_schema().empty_table(), *(_rows(made_at_s, one) for _, one in sorted(forecasts.items()))])


def _rows(made_at_s: int, forecast: AssetForecast) -> pa.Table:
    import pyarrow as pa

    horizon, n_channels = forecast.predicted.shape
    n_rows = horizon * n_channels
    columns = {
        "made_at": np.full(n_rows, made_at_s),
        "asset": [forecast.asset] * n_rows,
        "channel": np.repeat(np.array(forecast.channels, object), horizon),
        "step": np.tile(np.arange(1, horizon + 1, dtype=np.int32), n_channels),
        "time": np.tile(forecast.times_s, n_channels),
        **{name: getattr(forecast, name).T.ravel() for name in ("predicted", "lower", "upper")},
        "unit": np.repeat(np.array(forecast.units, object), horizon),
        "version": [forecast.version] * n_rows,
    }
    schema = _schema()
    return pa.table({name: pa.array(values, type=schema.field(name).type) for name, values in columns.items()}, schema)
