"""The name of a night: a date that a night which runs again finds again."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foresense.signals import Layout, TrainReport, read_json, read_report
from foresense.signals.labelled import read_labelled


def night_of(layout: Layout, pipeline: str) -> str:
    """The local date of the newest sample of a pipeline, `YYYY-MM-DD`: a night that runs again keeps its name.

    Images, sounds and recordings without a clock have no such date: theirs is the date (UTC) on which the newest model
    was trained, so a night that trains nothing is the night before once more.

    Raises:
        FileNotFoundError: the step `ingest` has not finished; without times, `train` has not.
    """
    folder = layout.of(pipeline).recordings
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; run `foresense ingest {pipeline}` first")
    manifest = read_json(path)
    if manifest.get("kind") == "conditions" or not manifest.get("has_time", True):
        return read_report(layout.of(pipeline).reports, TrainReport).created_utc[:10]
    return _newest(folder, manifest).strftime("%Y-%m-%d")


def _newest(folder: Path, manifest: dict[str, Any]) -> pd.Timestamp:
    """Time of the newest sample, in the zone of its recording."""
    kind = manifest.get("kind")
    if kind == "mixed":
        first, start_ns = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("first", "start_ns"))
        last_ns = start_ns + ((np.diff(first) - 1) * manifest["interval_s"] * 1e9).astype(np.int64)
        return _at(int(last_ns.max()), manifest["time_zone"])
    if kind == "labelled":
        found = read_labelled(folder)
        step_ns = 1e9 / found.rate_hz
        last_ns = [
            one.start_ns[-1] + round((len(one.samples) - 1 - int(one.stretches[-1])) * step_ns)
            for one in found.people
            if len(one.samples)
        ]
        return _at(max(last_ns), found.time_zone)
    return max(
        (pd.Timestamp(one["start"]) + pd.Timedelta(seconds=(one["n_samples"] - 1) * one["interval_s"])).tz_convert(
            one["time_zone"]
        )
        for one in manifest["recordings"]
    )


def _at(time_ns: int, zone: str) -> pd.Timestamp:
    return pd.Timestamp(time_ns, unit="ns", tz="UTC").tz_convert(zone)
