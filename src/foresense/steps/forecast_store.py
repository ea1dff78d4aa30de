"""Forecasts and anomalies in a store, beside the measurements and never among them.

InfluxDB: buckets (1.x: databases) of their own, `Forecasts` and `Anomalies`; the tag `sensor_type` is the pipeline.
Embedded: folders beside the store's, `<store>-forecasts/<pipeline>` and `<store>-anomalies/<pipeline>`. So a step
`ingest` that reads the store cannot meet them. A store holds numbers only: a field is `<channel>.predicted`, and the
version is its number in the registry, absent where the model was never registered (the Parquet files have its name).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from foresense.steps.forecast_table import AssetForecast
from foresense.stores import Batch, SeriesStore, open_store, split_name

LOG = logging.getLogger(__name__)
Kind = Literal["Forecasts", "Anomalies"]
KINDS: tuple[Kind, ...] = ("Forecasts", "Anomalies")
NS = 1_000_000_000


def companion(store: str, kind: Kind, pipeline: str) -> str:
    """Name of the store that holds `kind` beside the measurements in `store`.

    Raises:
        ValueError: `store` is itself such a place.
    """
    kept, rest = split_name(store)
    if kept == "embedded":
        return f"embedded:{rest.rstrip('/')}-{kind.lower()}/{pipeline}"
    if rest in KINDS:
        raise ValueError(f"store {store!r} is where {rest.lower()} go; name the bucket of the measurements")
    return f"influx:{kind}"


@contextmanager
def opened(
    store: str, kind: Kind, pipeline: str, environment: Mapping[str, str], root: Path, retention_days: float | None
) -> Iterator[SeriesStore]:
    """Open it ready for writing; made where it is missing.

    Args:
        store: Where the measurements are.
        kind: What is kept.
        pipeline: Whose.
        environment: For InfluxDB.
        root: A relative folder lies below it.
        retention_days: The server forgets what is older; where its kind cannot be told so, a warning says how.

    Raises:
        StoreUnavailableError: no answer.
        StoreError: the bucket exists and keeps samples for another time.
    """
    with ExitStack() as stack:
        whole = open_store(companion(store, kind, pipeline), environment, root)
        stack.callback(whole.close)
        _prepare(whole, retention_days)
        yield whole.view(pipeline)


def _prepare(store: SeriesStore, retention_days: float | None) -> None:
    from foresense.stores.influx import InfluxStore

    if not isinstance(store, InfluxStore):
        store.prepare()
    elif store.flavour in ("v1", "v2"):
        store.prepare(retention_days)
    else:
        store.prepare()
        if retention_days is not None:
            LOG.warning(
                "%s: cannot be told from here to forget after %g days: for InfluxDB 3 give `influxdb3 create database "
                "--retention-period`, for VictoriaMetrics -retentionPeriod",
                store.place,
                retention_days,
            )


def store_forecasts(store: SeriesStore, forecasts: Sequence[AssetForecast]) -> None:
    """Write forecasts; for a target time that was forecast before, the one written last holds.

    Fields: `<channel>.predicted`, `.lower`, `.upper`, `step` and, of a registered version, `version`.

    Raises:
        StoreError: rows that the store will never take.
        StoreUnavailableError: no answer; write again later.
    """
    write(store, *(_rows_of(forecast) for forecast in forecasts))


def _rows_of(forecast: AssetForecast) -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
    columns = {
        f"{channel}.{name}": getattr(forecast, name)[:, number]
        for number, channel in enumerate(forecast.channels)
        for name in ("predicted", "lower", "upper")
    }
    n_steps = len(forecast.times_s)
    columns["step"] = np.arange(1.0, n_steps + 1)
    columns["version"] = np.full(n_steps, version_number(forecast.version))
    return forecast.asset, forecast.times_s * NS, columns


def version_number(label: str) -> float:
    """Number of a registered version, NaN (which no store keeps) where it is none."""
    return float(label) if label.isdecimal() else np.nan


def write(store: SeriesStore, *rows: tuple[str, np.ndarray, Mapping[str, np.ndarray]]) -> None:
    """Write rows of many assets as one batch.

    Args:
        store: Where.
        rows: Asset, (n,) int64 nanoseconds since 1970 UTC, and field to (n,) float64, for each asset.

    Raises:
        StoreError: rows that the store will never take; the others are written.
    """
    from foresense.stores import StoreError

    if not rows:
        return
    lengths = [len(times_ns) for _, times_ns, _ in rows]
    fields = tuple(dict.fromkeys(name for _, _, columns in rows for name in columns))
    values = [np.column_stack([columns.get(name, np.full(n, np.nan)) for name in fields])
              for n, (_, _, columns) in zip(lengths, rows, strict=True)]  # fmt: skip
    batch = Batch(
        assets=tuple(asset for asset, _, _ in rows),
        asset_index=np.repeat(np.arange(len(rows), dtype=np.int32), lengths),
        times_ns=np.concatenate([times_ns for _, times_ns, _ in rows]),
        channels=fields,
        values=np.concatenate(values),
    )
    refused = store.write(batch)
    if refused:
        raise StoreError(
            f"{store.place}: refused {len(refused)} of {len(batch)} rows, the first because: {refused[0].reason}; "
            "all others are written"
        )


def forget_older(store: SeriesStore, retention_days: float) -> None:
    """Remove from an embedded store what is older than the newest by more than so many days.

    An InfluxDB that was told at its creation forgets by itself.
    """
    from foresense.stores.embedded import EmbeddedStore

    if isinstance(store, EmbeddedStore):
        found = store.assets().values()
        oldest_kept_ns = max((last for _, last in found), default=0) - round(retention_days * 86_400 * NS)
        oldest_ns = min((first for first, _ in found), default=0)
        if oldest_ns < oldest_kept_ns:
            store.delete(oldest_ns, oldest_kept_ns)
