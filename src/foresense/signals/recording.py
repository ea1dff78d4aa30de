"""A recording: one continuous stretch of samples of one asset.

pandas and pyarrow are imported where they are used: they would more than double the start of every command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foresense.signals.files import read_json, replaced_folder, write_json

if TYPE_CHECKING:
    import pandas as pd


class SignalError(ValueError):
    """Samples, channels or times do not fit together; the message says what, where, and what to do."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples of one asset at one rate; missing samples are NaN rows or NaN values.

    Attributes:
        asset: Name of the machine, person or station.
        samples: (n_samples, n_channels), float64, in `units`; NaN where missing, never infinite.
        channels: Name of each column of `samples`.
        units: Unit of each column of `samples`.
        interval_s: Seconds from one sample to the next.
        start: Time of the first sample, with a zone (UTC).
        time_zone: IANA name of the asset's local time, for calendar features.

    Raises:
        SignalError: shapes, names, units or the start time do not fit together.
    """

    asset: str
    samples: np.ndarray
    channels: tuple[str, ...]
    units: tuple[str, ...]
    interval_s: float
    start: pd.Timestamp
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.shape[1] != len(self.channels):
            raise SignalError(
                f"recording {self.asset!r}: samples must be (n_samples, {len(self.channels)}) for channels "
                f"{list(self.channels)}, found shape {self.samples.shape}"
            )
        if len(self.units) != len(self.channels):
            raise SignalError(f"recording {self.asset!r}: {len(self.units)} units for {len(self.channels)} channels")
        if self.start.tzinfo is None:
            raise SignalError(f"recording {self.asset!r}: start {self.start} has no time zone; localise it first")
        if self.interval_s <= 0:
            raise SignalError(f"recording {self.asset!r}: interval_s must be positive, found {self.interval_s}")
        if np.isinf(self.samples).any():
            row, column = np.argwhere(np.isinf(self.samples))[0]
            raise SignalError(f"recording {self.asset!r}: channel {self.channels[column]!r} is infinite at row {row}")

    def times(self) -> pd.DatetimeIndex:
        """Time of every sample, UTC."""
        import pandas as pd

        return pd.date_range(
            self.start.tz_convert("UTC"), periods=len(self.samples), freq=pd.Timedelta(seconds=self.interval_s)
        )


def write_recordings(folder: Path, recordings: Sequence[Recording], *, facts: dict[str, object]) -> None:
    """Write one Parquet file per recording and `manifest.json`, the manifest last; the folder is complete or absent.

    Args:
        folder: Replaced as a whole.
        recordings: In any order; files are named by asset, with a number where an asset has several.
        facts: Deterministic facts for the manifest (source, digest of the raw files); no clock times.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replaced_folder(folder) as beside:
        entries = []
        for number, recording in enumerate(sorted(recordings, key=lambda found: (found.asset, found.start))):
            file = f"{number:03d}-{_safe(recording.asset)}.parquet"
            columns = {name: pa.array(recording.samples[:, index]) for index, name in enumerate(recording.channels)}
            pq.write_table(pa.table(columns), beside / file, compression="zstd")
            entries.append(
                {
                    "file": file,
                    "asset": recording.asset,
                    "n_samples": len(recording.samples),
                    "channels": list(recording.channels),
                    "units": list(recording.units),
                    "interval_s": recording.interval_s,
                    "start": recording.start.tz_convert("UTC").isoformat(),
                    "time_zone": recording.time_zone,
                }
            )
        write_json(beside / "manifest.json", {"schema_version": 1, **facts, "recordings": entries})


def read_recordings(folder: Path) -> list[Recording]:
    """Read what `write_recordings` wrote, in its order.

    Raises:
        FileNotFoundError: no manifest: the step `ingest` has not finished.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense ingest {folder.name}` first")
    return [
        Recording(
            asset=entry["asset"],
            samples=pq.read_table(folder / entry["file"], columns=entry["channels"]).to_pandas().to_numpy(np.float64),
            channels=tuple(entry["channels"]),
            units=tuple(entry["units"]),
            interval_s=entry["interval_s"],
            start=pd.Timestamp(entry["start"]),
            time_zone=entry["time_zone"],
        )
        for entry in read_json(manifest)["recordings"]
    ]


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
