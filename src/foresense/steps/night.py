"""One night of a pipeline: its name, where its record lies, and what it looks at before anything is trained."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from foresense.evaluate.drift import DriftRule, is_alarm, measure_drift, read_reference
from foresense.registry import Registry, open_registry
from foresense.signals import Layout, Recording, read_json, read_recordings, write_json
from foresense.steps.promotion import night_folder

LOG = logging.getLogger(__name__)

#: Nights in a row on which a channel must have moved before it is an alarm; one night may be chance.
N_CONSECUTIVE = 2
#: Samples of the newest day of which so many may be missing before the machine's data are called incomplete.
MAX_MISSING = 0.5
#: A machine whose newest sample is so much older than the fleet's newest is silent.
SILENT_H = 6.0
_DAY_S = 86_400.0

Kind = Literal["silent", "incomplete", "stuck"]


@dataclass(frozen=True)
class DataProblem:
    """One thing that is wrong with the newest data of a machine.

    Attributes:
        asset: The machine.
        kind: `silent`, `incomplete`, or `stuck`: a channel repeats one value while the others move.
        text: For a person.
    """

    asset: str
    kind: Kind
    text: str


def night_of(layout: Layout, pipeline: str) -> str:
    """The local date of the newest sample of a pipeline, `YYYY-MM-DD`: a night that runs again keeps its name.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
    """
    folder = layout.of(pipeline).recordings
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense ingest {pipeline}` first")
    ends = [
        (pd.Timestamp(one["start"]) + pd.Timedelta(seconds=(one["n_samples"] - 1) * one["interval_s"])).tz_convert(
            one["time_zone"]
        )
        for one in read_json(manifest)["recordings"]
    ]
    return max(ends).strftime("%Y-%m-%d")


def forget_trainings(layout: Layout, pipeline: str) -> str:
    """Remove what a fleet's earlier trainings keep outside of DVC; says what was done."""
    kept = layout.cache / "fleet" / pipeline
    if not kept.is_dir():
        return f"{pipeline}: nothing is kept of earlier trainings"
    shutil.rmtree(kept)
    return f"{pipeline}: what earlier trainings kept is gone; the next one trains every machine"


def watch(layout: Layout, pipeline: str, *, rule: DriftRule | None = None) -> dict[str, Any]:
    """Check the newest data of every machine, and compare them with what its champion was trained on.

    Args:
        layout: Where the project is.
        pipeline: Its name.
        rule: When a channel has moved; absent: the defaults.

    Returns:
        What is written to `nights/<pipeline>/<night>/drift.json`: `problems` of the data, and for each asset its
        champion, what each channel's drift is, which `moved` tonight, and which are an `alarm`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
    """
    night = night_of(layout, pipeline)
    recordings = read_recordings(layout.of(pipeline).recordings)
    registry = open_registry(layout, pipeline)
    before = _earlier_nights(layout, pipeline, night)
    problems = check_data(recordings)
    for problem in problems:
        LOG.warning("%s: %s: %s", problem.asset, problem.kind, problem.text)
    found = {
        asset: _drift_of(registry, asset, own, before, rule or DriftRule())
        for asset, own in _by_asset(recordings).items()
    }
    for asset, drift in found.items():
        if drift["alarm"]:
            LOG.warning("%s: DRIFT of %s, night %d in a row", asset, ", ".join(drift["alarm"]), N_CONSECUTIVE)
    content = {
        "schema_version": 1,
        "pipeline": pipeline,
        "night": night,
        "n_consecutive": N_CONSECUTIVE,
        "problems": [asdict(one) for one in problems],
        "assets": found,
    }
    write_json(night_folder(layout, pipeline, night) / "drift.json", content)
    return content


def check_data(recordings: Sequence[Recording]) -> tuple[DataProblem, ...]:
    """What is wrong with the newest day of every machine.

    Args:
        recordings: Of all machines.
    """
    newest_s = {asset: _newest_s(own) for asset, own in _by_asset(recordings).items()}
    latest_s = max(newest_s.values())
    problems = []
    for asset, own in _by_asset(recordings).items():
        behind_h = (latest_s - newest_s[asset]) / 3600
        if behind_h > SILENT_H:
            problems.append(
                DataProblem(asset, "silent", f"newest sample {behind_h:.0f} h older than the fleet's newest")
            )
            continue
        last = own[-1]
        n_day = max(2, round(_DAY_S / last.interval_s))
        day = last.samples[-n_day:]
        share = float(np.isnan(day).mean())
        if share > MAX_MISSING:
            problems.append(DataProblem(asset, "incomplete", f"{share:.0%} of the newest day is missing"))
        problems += [DataProblem(asset, "stuck", text) for text in _stuck(last, day)]
    return tuple(problems)


def _stuck(recording: Recording, day: np.ndarray) -> list[str]:
    """Channels that repeat one value all day while another one moves: a stopped machine repeats them all."""
    spans = np.array(
        [np.ptp(column[~np.isnan(column)]) if (~np.isnan(column)).sum() > 1 else np.nan for column in day.T]
    )
    if not (spans > 0).any():
        return []
    return [
        f"{name} repeats one value all day" for name, span in zip(recording.channels, spans, strict=True) if span == 0
    ]


def _newest_s(recordings: Sequence[Recording]) -> float:
    """Time of the newest row with a value, seconds since 1970 UTC."""
    for recording in reversed(recordings):
        measured = np.flatnonzero(~np.isnan(recording.samples).all(axis=1))
        if len(measured):
            return float(recording.start.timestamp() + measured[-1] * recording.interval_s)
    return float(recordings[0].start.timestamp())


def _by_asset(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    found: dict[str, list[Recording]] = {}
    for recording in sorted(recordings, key=lambda one: (one.asset, one.start)):
        found.setdefault(recording.asset, []).append(recording)
    return found


def _drift_of(
    registry: Registry,
    asset: str,
    recordings: Sequence[Recording],
    before: Sequence[Mapping[str, Any]],
    rule: DriftRule,
) -> dict[str, Any]:
    champion = registry.champion(asset)
    if champion is None:
        return {"champion": None, "channels": [], "moved": [], "alarm": []}
    reference = read_reference(registry.fetch(asset, champion.number) / "reference.json")
    times_s = np.concatenate([one.times().as_unit("s").asi8 for one in recordings])
    drifts = measure_drift(reference, np.concatenate([one.samples for one in recordings]), times_s, rule)
    moved = [drift.channel for drift in drifts if drift.moved]
    alarm = [
        channel
        for channel in moved
        if is_alarm(
            [*(channel in night["assets"].get(asset, {}).get("moved", []) for night in before), True], N_CONSECUTIVE
        )
    ]
    return {
        "champion": champion.number,
        "channels": [_plain(asdict(drift)) for drift in drifts],
        "moved": moved,
        "alarm": alarm,
    }


def _plain(drift: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what is not known is null."""
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in drift.items()}


def _earlier_nights(layout: Layout, pipeline: str, night: str) -> list[Mapping[str, Any]]:
    """The nights before, the oldest first: only the one directly before counts as in a row with tonight, and so on."""
    found: list[Mapping[str, Any]] = []
    wanted = pd.Timestamp(night)
    for _ in range(N_CONSECUTIVE - 1):
        wanted -= pd.Timedelta(days=1)
        file = night_folder(layout, pipeline, wanted.strftime("%Y-%m-%d")) / "drift.json"
        found.insert(0, read_json(file) if file.is_file() else {"assets": {}})
    return found
