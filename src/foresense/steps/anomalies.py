"""Anomalies: what was found at risk, kept for 90 days in a Parquet file and beside the measurements in a store."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foresense.signals import write_bytes
from foresense.steps.forecast_context import shown
from foresense.steps.forecast_store import NS, forget_older, version_number, write
from foresense.steps.forecast_table import seconds_of
from foresense.steps.watch import Finding
from foresense.stores import SeriesStore
from foresense.stores.embedded import EmbeddedStore

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

LOG = logging.getLogger(__name__)
FILE = "anomalies.parquet"
#: spec/forecast.md, last section, point 7.
RETENTION_DAYS = 90.0
#: From the least to the most; a store holds 1, 2 and 3.
SEVERITIES = ("low", "medium", "high")
_DAY_S = 86_400


@dataclass(frozen=True)
class Anomaly(Finding):
    """A finding with whose it is, when it was found, and by which version's forecast.

    Attributes:
        asset: Name.
        made_at_s: When it was found, seconds since 1970 UTC.
        version: Label of the version.
    """

    asset: str
    made_at_s: int
    version: str

    @property
    def rank(self) -> tuple[int, float]:
        """Grows with severity, then with the share."""
        return SEVERITIES.index(self.severity), self.share


def of_finding(finding: Finding, asset: str, made_at_s: int, version: str) -> Anomaly:
    """Say of a finding whose it is."""
    return Anomaly(**asdict(finding), asset=asset, made_at_s=made_at_s, version=version)


def record(folder: Path, found: Sequence[Anomaly], *, made_at_s: int, judged: Collection[str]) -> list[Anomaly]:
    """Keep what was found at one time; what was found of the judged assets at that time before is replaced.

    Rows whose `made_at` is more than 90 days before the newest are dropped.

    Args:
        folder: `forecasts/<pipeline>`.
        found: Anomalies of `judged` assets, made at `made_at_s`.
        made_at_s: Seconds since 1970 UTC.
        judged: Assets that were looked at, also those without a finding.

    Returns:
        All that is kept, the newest last.
    """
    import pyarrow.parquet as pq

    known = read_anomalies(folder)
    kept = [row for row in known if not (row.made_at_s == made_at_s and row.asset in judged)] + list(found)
    newest_s = max([made_at_s, *(row.made_at_s for row in kept)])
    kept = [row for row in kept if row.made_at_s >= newest_s - RETENTION_DAYS * _DAY_S]
    kept.sort(key=lambda row: (row.made_at_s, row.asset, row.channel, row.rule))
    written = BytesIO()
    pq.write_table(_table(kept), written, compression="zstd")
    write_bytes(folder / FILE, written.getvalue())
    return kept


def read_anomalies(folder: Path) -> list[Anomaly]:
    """Read what `record` kept; none where nothing was recorded yet.

    Raises:
        ValueError: the file is damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / FILE
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: cannot be read: {error}; move it away, and forecast again") from error
    if table.schema.names != _schema().names:
        raise ValueError(
            f"{path}: columns {table.schema.names}, expected {_schema().names}; written by another release: move it "
            "away, and forecast again"
        )
    for name in ("time", "made_at"):
        table = table.set_column(table.schema.get_field_index(name), f"{name}_s", seconds_of(table[name]))
    return [Anomaly(**row) for row in table.to_pylist()]


def select(rows: Sequence[Anomaly], *, since_s: int | None = None, severity: str | None = None) -> list[Anomaly]:
    """Anomalies found since a time and at least so severe, the newest and most severe first.

    Raises:
        ValueError: no such severity.
    """
    if severity is not None and severity not in SEVERITIES:
        raise ValueError(f"no severity {severity!r}; known: {', '.join(SEVERITIES)}")
    least = SEVERITIES.index(severity) if severity else 0
    kept = [row for row in rows if (since_s is None or row.made_at_s >= since_s) and row.rank[0] >= least]
    return sorted(kept, key=lambda row: (row.made_at_s, row.rank), reverse=True)


def store_anomalies(store: SeriesStore, rows: Sequence[Anomaly]) -> None:
    """Write anomalies at the time that they were found; in an embedded store, forget what is older than 90 days.

    An InfluxDB counts the 90 days from its own clock, and refuses what it would forget at once: such anomalies (of
    nights that were simulated, or made up for) are left out, and the log says how many.

    Fields: `<channel>.<rule>.actual`, `.predicted`, `.lower`, `.upper`, `.deviation`, `.share`, `.severity` (1 low,
    2 medium, 3 high), `.time_s` (of the sample) and, of a registered version, `.version`.

    Raises:
        StoreError: rows that the store will never take.
        StoreUnavailableError: no answer; write again later.
    """
    by_asset: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for row in _not_expired(store, rows):
        columns = by_asset.setdefault((row.asset, row.made_at_s), {})
        columns |= {f"{row.channel}.{row.rule}.{name}": np.array([value]) for name, value in _numbers(row).items()}
    write(store, *((asset, np.array([made_at_s * NS]), columns) for (asset, made_at_s), columns in by_asset.items()))
    forget_older(store, RETENTION_DAYS)


def _not_expired(store: SeriesStore, rows: Sequence[Anomaly]) -> Sequence[Anomaly]:
    if isinstance(store, EmbeddedStore):
        return rows
    oldest_s = time.time() - RETENTION_DAYS * _DAY_S
    kept = [row for row in rows if row.made_at_s > oldest_s]
    if len(kept) < len(rows):
        LOG.warning(
            "%s: %d anomalies are not written: found more than %g days ago, they would be forgotten at once",
            store.place,
            len(rows) - len(kept),
            RETENTION_DAYS,
        )
    return kept


def _numbers(row: Anomaly) -> dict[str, float]:
    return {
        **{
            name: np.nan if getattr(row, name) is None else getattr(row, name)
            for name in ("actual", "predicted", "lower", "upper", "deviation", "share")
        },
        "severity": SEVERITIES.index(row.severity) + 1.0,
        "time_s": float(row.time_s),
        "version": version_number(row.version),
    }


def anomaly_table(pipeline: str, rows: Sequence[Anomaly]) -> Table:
    """A table for people, in the order of `rows`."""
    from rich.table import Table

    table = Table(title=f"{pipeline}: {len(rows)} anomalies", title_justify="left")
    numbers = ("actual", "forecast", "interval", "off by", "share")
    for column in ("found (UTC)", "asset", "channel", "severity", "rule", "at (UTC)", *numbers, "version"):
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(
            shown(row.made_at_s),
            row.asset,
            row.channel,
            row.severity,
            row.rule,
            shown(row.time_s),
            _number(row.actual),
            _number(row.predicted),
            "-" if row.lower is None else f"{_number(row.lower)}..{_number(row.upper)}",
            _number(row.deviation, sign="+"),
            f"{row.share:.0%}",
            row.version,
        )
    return table


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4g}"


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"time_s": pa.timestamp("s", tz="UTC"), "made_at_s": pa.timestamp("s", tz="UTC")}
    texts = ("asset", "channel", "rule", "severity", "version")
    kinds |= dict.fromkeys(texts, pa.string())
    names = [field.name for field in fields(Anomaly)]
    return pa.schema([(name.removesuffix("_s"), kinds.get(name, pa.float64())) for name in names])


def _table(rows: Sequence[Anomaly]) -> pa.Table:
    import pyarrow as pa

    schema = _schema()
    columns = {name.name.removesuffix("_s"): [getattr(row, name.name) for row in rows] for name in fields(Anomaly)}
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()}, schema)
