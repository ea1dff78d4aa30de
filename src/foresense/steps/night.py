"""One night of a pipeline: what it looks at before anything is trained, and what it forgets."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from foresense.config import read_pipeline
from foresense.evaluate.drift import DriftRule, Reference, fleet_of, is_alarm, measure_drift, read_reference
from foresense.evaluate.moves import FleetMoves
from foresense.registry import Registry, open_registry
from foresense.signals import Layout, Recording, read_json, read_recordings, write_json
from foresense.steps.night_name import night_of
from foresense.steps.promotion import night_folder
from foresense.steps.versions import reference_file

LOG = logging.getLogger(__name__)

#: Nights in a row on which a channel must have moved before it is an alarm; one night may be chance.
N_CONSECUTIVE = 2
LOOK_BACK = 7  # nights before tonight that are looked at for a row
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


def forget_trainings(layout: Layout, pipeline: str) -> str:
    """Remove what a fleet's earlier trainings keep outside of DVC; says what was done."""
    kept = layout.cache / "fleet" / pipeline
    if not kept.is_dir():
        return f"{pipeline}: nothing is kept of earlier trainings"
    shutil.rmtree(kept)
    return f"{pipeline}: what earlier trainings kept is gone; the next one trains every machine"


def watch(layout: Layout, pipeline: str, *, rule: DriftRule | None = None) -> dict[str, Any]:
    """Check the newest data of every machine, and compare them with what its champion was trained on.

    What a usual night is like, the champions of all machines say together (`fleet_of`).

    Args:
        layout: Where the project is.
        pipeline: Its name.
        rule: When a channel has moved; absent: the defaults.

    Returns:
        What is written to `nights/<pipeline>/<night>/drift.json`: `problems` of the data, and for each asset its
        champion, what each channel's drift is, which `moved` tonight, which are an `alarm`, and the `error` that kept
        it from a verdict: one machine's error never stops the others.

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
    machines = _by_asset(recordings)
    shared = read_pipeline(layout.project / "params.yaml", pipeline).window.group == "all"
    champions: dict[str, _Champion | None] = {}
    found: dict[str, dict[str, Any]] = {}
    for asset in machines:
        try:
            champions[asset] = _champion(registry, asset, "all" if shared else asset)
        except (ValueError, OSError) as error:
            found[asset] = _told(asset, error)
    fleet = fleet_of(one.reference for one in champions.values() if one and one.reference)
    for asset, champion in champions.items():
        try:
            found[asset] = _drift_of(asset, machines[asset], champion, fleet, before, rule)
        except (ValueError, OSError) as error:
            found[asset] = _told(asset, error)
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


def _told(asset: str, error: Exception) -> dict[str, Any]:
    LOG.error("%s: its drift is not known: %s", asset, error)
    return _unjudged(None, str(error).partition("\n")[0])


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


@dataclass(frozen=True)
class _Champion:
    """What a machine's nights are compared with; `reference` is None where its training rows were too few for one."""

    number: int
    reference: Reference | None


def _champion(registry: Registry, asset: str, group: str) -> _Champion | None:
    """The champion that forecasts `asset`; None where nobody promoted one."""
    champion = registry.champion(group)
    if champion is None:
        return None
    folder = registry.fetch(group, champion.number)
    for name in (reference_file(asset, (asset,)), reference_file(asset, ())):
        if (folder / name).is_file():
            return _Champion(champion.number, read_reference(folder / name))
    return _Champion(champion.number, None)


def _drift_of(
    asset: str,
    recordings: Sequence[Recording],
    champion: _Champion | None,
    fleet: FleetMoves,
    before: Sequence[Mapping[str, Any]],
    rule: DriftRule | None,
) -> dict[str, Any]:
    if champion is None or champion.reference is None:
        return _unjudged(None if champion is None else champion.number)
    if recordings[0].channels != champion.reference.channels:
        raise ValueError(
            f"{asset}: channels {list(recordings[0].channels)}, its champion was trained on "
            f"{list(champion.reference.channels)}; promote a version of these channels by hand"
        )
    samples = np.concatenate([one.samples for one in recordings])
    times_s = np.concatenate([one.times().as_unit("s").asi8 for one in recordings])
    drifts = measure_drift(champion.reference, samples, times_s, rule, fleet=fleet)
    moved = [drift.channel for drift in drifts if drift.moved]
    rows = {channel: [*(_said(night, asset, channel) for night in before), True] for channel in moved}
    return {
        "champion": champion.number,
        "channels": [_plain(asdict(drift)) for drift in drifts],
        "moved": moved,
        "alarm": [channel for channel, row in rows.items() if is_alarm(row, N_CONSECUTIVE)],
        "error": None,
    }


def _unjudged(champion: int | None, error: str | None = None) -> dict[str, Any]:
    return {"champion": champion, "channels": [], "moved": [], "alarm": [], "error": error}


def _said(night: Mapping[str, Any], asset: str, channel: str) -> bool | None:
    """What a night said of a channel: moved, not moved, or None where it did not know."""
    for drift in night["assets"].get(asset, {}).get("channels", []):
        if drift["channel"] == channel:
            return None if drift["verdict"] == "unknown" else drift["verdict"] == "moved"
    return None


def _plain(drift: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what is not known is null."""
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in drift.items()}


def _earlier_nights(layout: Layout, pipeline: str, night: str) -> list[Mapping[str, Any]]:
    """The nights of the week before, the oldest first; one that did not run neither counts nor breaks a row."""
    days = [(pd.Timestamp(night) - pd.Timedelta(days=n)).strftime("%Y-%m-%d") for n in range(LOOK_BACK, 0, -1)]
    files = [night_folder(layout, pipeline, day) / "drift.json" for day in days]
    return [read_json(file) for file in files if file.is_file()]
