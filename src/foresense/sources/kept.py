"""What was read of a store the last time: one Parquet file per asset, which may always be deleted."""

import hashlib
import io
import json
import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from foresense.signals import write_bytes

_log = logging.getLogger(__name__)
_ABOUT = b"foresense"


@dataclass(frozen=True, eq=False)
class Reading:
    """Means over intervals of one asset.

    Attributes:
        times_ns: (n,), int64, rising: beginnings of the intervals, nanoseconds since 1970 UTC.
        values: (n, n_channels), float64; NaN where a channel has no sample in the interval.
    """

    times_ns: np.ndarray
    values: np.ndarray

    def between(self, begin_ns: int, end_ns: int) -> "Reading":
        """The intervals that begin in [begin_ns, end_ns)."""
        rows = slice(*np.searchsorted(self.times_ns, [begin_ns, end_ns]))
        return Reading(self.times_ns[rows], self.values[rows])

    def and_then(self, later: "Reading") -> "Reading":
        """These intervals, then those of `later`."""
        return Reading(np.concatenate([self.times_ns, later.times_ns]), np.concatenate([self.values, later.values]))


@dataclass(frozen=True, eq=False)
class Kept:
    """A reading, and what it is a reading of.

    Attributes:
        asked: Everything that decides the numbers besides the range: place of the store, asset, channels, intervals.
        begin_ns: All of [begin_ns, end_ns) was asked for.
        end_ns: The same.
        first_ns: Time of the asset's first sample in the store.
        whole_ns: When everything was last asked for at once; nanoseconds since 1970 UTC.
        settled_ns: What begins before this is asked for again only where the store has another number of samples there.
        n_settled: How many it had in [begin_ns, settled_ns), counted in the first channel.
        reading: What came.
    """

    asked: dict[str, object]
    begin_ns: int
    end_ns: int
    first_ns: int
    whole_ns: int
    settled_ns: int
    n_settled: int
    reading: Reading

    def write(self, path: Path) -> None:
        """Write to `path`, complete or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        about = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "reading"}
        columns = {"time_ns": pa.array(self.reading.times_ns)}
        columns |= {str(at): pa.array(column) for at, column in enumerate(self.reading.values.T)}
        table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about)})
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd")
        write_bytes(path, content.getvalue())


def read_kept(path: Path) -> Kept | None:
    """What lies at `path`; None where there is nothing, or (told as a warning) nothing that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
        times_ns, *columns = (column.to_numpy() for column in table.columns)
        return Kept(**about, reading=Reading(times_ns, np.column_stack(columns)))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s: cannot be read (%s); everything is asked of the store again", path, error)
        return None


def kept_path(folder: Path, asset: str) -> Path:
    """File of `asset`, whatever letters its name has."""
    return folder / f"{hashlib.sha256(asset.encode()).hexdigest()[:16]}.parquet"
