"""Samples about to be deleted, in a Parquet file (zstd): complete or absent, read back before it has its name."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foresense.signals.folders import flush_folder
from foresense.stores.batch import Batch, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = ("asset", "sensor_type", "time_ns")


class Stretch(NamedTuple):
    """Samples of one asset in one series, in order of time.

    Attributes:
        sensor_type: The series' tag; "" where it has none, None where the store has no tags.
        batch: Of one asset.
    """

    sensor_type: str | None
    batch: Batch


class Backup(NamedTuple):
    """A finished file.

    Attributes:
        path: Where.
        n_rows: Samples in it.
        sha256: Of assets, series, times and values, as they were read from the store and again from the file.
    """

    path: Path
    n_rows: int
    sha256: str


def write_backup(path: Path, channels: Sequence[str], stretches: Iterable[Stretch]) -> Backup:
    """Write every stretch as a row group of its own, read the file back, compare, and only then give it its name.

    Args:
        path: A file that is not there yet.
        channels: Of every stretch.
        stretches: None of them empty.

    Raises:
        StoreError: the file reads back as something else; it stays beside as `.<name>.unfinished`.
        OSError: no place, no right to write, or the file is there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        raise FileExistsError(f"{path}: is there already, and a backup is never overwritten; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.unfinished")
    fields = [("asset", pa.string()), ("sensor_type", pa.string()), ("time_ns", pa.int64())]
    schema = pa.schema([*fields, *((name, pa.float64()) for name in channels)])
    written = _Digest()
    with beside.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for stretch in stretches:
                written.add(stretch)
                writer.write_table(_table(stretch, schema), row_group_size=len(stretch.batch))
        file.flush()
        os.fsync(file.fileno())
    found = _Digest()
    for stretch in read_backup(beside):
        found.add(stretch)
    if (found.n_rows, found.sha256) != (written.n_rows, written.sha256):
        raise StoreError(
            f"{beside}: reads back as {found.n_rows} samples with SHA-256 {found.sha256}, written were "
            f"{written.n_rows} with {written.sha256}; nothing was deleted. Check the disk, or choose another --folder"
        )
    os.replace(beside, path)
    flush_folder(path.parent)
    return Backup(path, written.n_rows, written.sha256)


def read_backup(path: Path) -> Iterator[Stretch]:
    """Every stretch of a backup, one at a time, in the order of writing."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        channels = tuple(name for name in file.schema_arrow.names if name not in _KEYS)
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            asset, sensor_type = (table.column(key)[0].as_py() for key in _KEYS[:2])
            values = np.empty((len(table), len(channels)))
            for at, name in enumerate(channels):
                values[:, at] = table.column(name).to_numpy()
            times_ns = np.asarray(table.column("time_ns").to_numpy(), np.int64)
            yield Stretch(sensor_type, Batch.of_asset(asset, times_ns, channels, values))


class _Digest:
    """SHA-256 over stretches; a missing value has one form, whatever bits its NaN had."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._hash = hashlib.sha256()

    def add(self, stretch: Stretch) -> None:
        batch = stretch.batch
        self.n_rows += len(batch)
        self._hash.update(repr((batch.assets[0], stretch.sensor_type, batch.channels, len(batch))).encode())
        self._hash.update(np.ascontiguousarray(batch.times_ns, "<i8").data)
        self._hash.update(np.ascontiguousarray(np.where(np.isnan(batch.values), np.nan, batch.values), "<f8").data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _table(stretch: Stretch, schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    batch = stretch.batch
    columns = [
        pa.array([batch.assets[0]] * len(batch), pa.string()),
        pa.array([stretch.sensor_type] * len(batch), pa.string()),
        pa.array(batch.times_ns),
        *(pa.array(np.ascontiguousarray(batch.values[:, at]), from_pandas=True) for at in range(len(batch.channels))),
    ]
    return pa.table(columns, schema=schema)
