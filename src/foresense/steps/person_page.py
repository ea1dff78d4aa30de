"""`foresense person`: the page of one person's rest and activity, of a pipeline or from a file of one's own."""

import tempfile
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foresense.config import ConfigError, read_any
from foresense.config.actigraphy_pipeline import ActigraphyConfig
from foresense.config.pat import pat_size
from foresense.evaluate.actigraphy import Clinical, clinical_metrics
from foresense.evaluate.actigraphy_page import peers_of, write_person_page
from foresense.evaluate.actigraphy_plots import days_of, plot_actogram, plot_mean_day
from foresense.export.quiet import quieted
from foresense.signals import Layout, Recording, read_json, read_recordings
from foresense.signals.actigraphy import MINUTE_S, MINUTES_PER_DAY, gather_minutes
from foresense.sources import SourceError
from foresense.sources.clock import read_clock
from foresense.steps.window_actigraphy import GROUP
from foresense.windows.minute_scaler import load_minute_scaler
from foresense.windows.minutes import to_minutes
from foresense.windows.wear import find_wear
from foresense.windows.weeks import cut_weeks

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class OwnFile:
    """A recording of one's own.

    Attributes:
        path: CSV with the columns `time` (ISO 8601) and `activity`, one row for each epoch.
        time_zone: IANA name of the file's clock.
        device: Which counter, and where it was worn; None: the pipeline's.
    """

    path: Path
    time_zone: str
    device: str | None = None


def write_page(
    layout: Layout, pipeline: str, person: str, to: Path, *, own: OwnFile | None = None, with_attention: bool = True
) -> Path:
    """Write one self-contained HTML page with one person's metrics beside those of people without the label.

    Args:
        layout: Where recordings and models are.
        pipeline: One of the kind `actigraphy`.
        person: Name of a recording of the pipeline; with `own` the name on the page.
        to: File to write.
        own: Whose minutes are shown instead.
        with_attention: Draw below each day what the pipeline's network looked at; needs a trained model.

    Returns:
        `to`.

    Raises:
        ConfigError: a pipeline of another kind.
        FileNotFoundError: the step `ingest` has not finished, or there is no such file.
        SourceError: no such person, or a file that is no recording of minutes.
    """
    config = read_any(layout.project / "params.yaml", pipeline)
    if not isinstance(config, ActigraphyConfig):
        raise ConfigError(
            f"pipeline {pipeline!r} is of the kind {config.kind!r}; a page is about minutes of actigraphy"
        )
    paths = layout.of(pipeline)
    recordings = read_recordings(paths.recordings)
    manifest = read_json(paths.recordings / "manifest.json")
    labels = {one["name"]: one["label"] for one in manifest["people"]}
    if own is not None:
        recordings = [*recordings, _read_own(own, person, manifest["unit"], [*labels])]
    names = [one.asset for one in recordings]
    if person not in names:
        raise SourceError(
            f"{paths.recordings}: no person {person!r}; there are {len(names)}: {', '.join(names[:5])}, ...; "
            "for a file of your own give --csv"
        )
    clinical = _clinical(recordings, config, manifest["unit"])
    others = [row for row, name in enumerate(names) if name != person and labels.get(name) != config.window.positive]
    words = {labels[names[row]] or "people" for row in others}
    peers = peers_of(
        clinical, np.array(others, np.int64), f"{len(others)} people of {pipeline}: {', '.join(sorted(words))}"
    )
    device = config.window.device if own is None or own.device is None else own.device
    attention, reason = None, "not asked for"
    if with_attention:
        attention, reason = (
            _attention(layout, pipeline, config, clinical, person)
            if device == config.window.device
            else (None, f"not shown: the network knows no counter but {config.window.device}")
        )
    facts = {
        "Counter": device,
        "Scored as": f"{manifest['unit']} of {config.window.device}: its limits of rest, wear and sleep",
        "Time zone": recordings[names.index(person)].time_zone,
    }
    facts["Attention"] = reason
    with tempfile.TemporaryDirectory(prefix="foresense-page-") as folder:
        pictures = {"Actogram: each row shows a day and the next one": Path(folder) / "actogram.png"}
        pictures["The mean day"] = Path(folder) / "day.png"
        actogram, day = pictures.values()
        plot_actogram(
            actogram, f"{person}: activity, rest periods and time not worn", days_of(clinical, person), attention
        )
        plot_mean_day(day, f"{person}: mean of the days that count", clinical, person)
        write_person_page(to, clinical, person, facts=facts, pictures=pictures, peers=peers)
    return to


def _clinical(recordings: list[Recording], config: ActigraphyConfig, unit: Any) -> Clinical:
    minutes = gather_minutes(recordings, unit)
    return clinical_metrics(
        minutes,
        wear=find_wear(minutes, config.window.wear),
        method=config.features.method,
        variant=config.features.variant,
        share_asleep=config.features.share_asleep,
        rest_threshold=config.features.rest_threshold,
    )


def _read_own(own: OwnFile, person: str, unit: Any, taken: list[str]) -> Recording:
    if person in taken:
        raise SourceError(f"{person!r} is a person of the pipeline; give the recording in {own.path} another name")
    if not own.path.is_file():
        raise FileNotFoundError(f"{own.path}: not there; give a CSV file with the columns time and activity")
    table = pd.read_csv(own.path)
    missing = [name for name in ("time", "activity") if name not in table.columns]
    if missing:
        raise SourceError(f"{own.path}: no column {missing}, found {list(table.columns)}; expected time, activity")
    clock = read_clock(table["time"], own.time_zone, file=str(own.path))
    activity = pd.to_numeric(table["activity"], errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero((clock.reasons != "") | ~(np.isnan(activity) | (activity >= 0)))
    if len(wrong):
        reason = clock.reasons[wrong[0]] or f"activity is {activity[wrong[0]]:g}, expected at least 0 or nothing"
        raise SourceError(f"{own.path}:{wrong[0] + 2}: {reason}; {len(wrong)} such row(s): correct or remove them")
    steps = np.unique(np.diff(clock.times_ns))
    if not len(steps):
        raise SourceError(f"{own.path}: {len(table)} row(s), expected minutes of at least four days")
    if len(steps) != 1 or steps[0] <= 0:
        raise SourceError(
            f"{own.path}: rows are {', '.join(f'{step / 1e9:g} s' for step in steps[:3])} apart; expected one row for "
            "each epoch, in order, with an empty activity where nothing was recorded"
        )
    recording = Recording(
        asset=person,
        samples=activity[:, None],
        channels=("activity",),
        units=(unit,),
        interval_s=float(steps[0]) / 1e9,
        start=pd.Timestamp(int(clock.times_ns[0]), unit="ns", tz="UTC"),
        time_zone=own.time_zone,
    )
    return recording if recording.interval_s == MINUTE_S else to_minutes(recording, unit)


def _attention(
    layout: Layout, pipeline: str, config: ActigraphyConfig, clinical: Clinical, person: str
) -> tuple[np.ndarray | None, str]:
    """(n_days, 1440) of the actogram, NaN outside of weeks that count; and what to say of it or of its absence."""
    model = layout.of(pipeline).models / GROUP
    if not (model / "evaluation.json").is_file():
        return None, f"not shown: no model of {pipeline} is there, `foresense train {pipeline}` makes one"
    row = clinical.people.index(person)
    weeks, _ = cut_weeks(clinical.minutes, clinical.wear, config.window.weeks)
    mine = weeks.taken(weeks.owners == row)
    if not len(mine.values):
        return None, "not shown: no seven days of this recording count as a week"
    from safetensors.numpy import load_file

    from foresense.models.pat import build_encoder, explain, load

    with quieted():  # TensorFlow says at import which processor it found
        import_module("tensorflow")
    size = pat_size(read_json(model / "evaluation.json")["size"])
    scaler = load_minute_scaler(model / "scaler.safetensors")
    encoder = build_encoder(size)
    load(encoder, size, load_file(model / "model.safetensors"))
    found = explain(encoder, size, scaler.scale(mine.values, mine.weekdays, clinical.minutes.unit).values)
    days = days_of(clinical, person)
    laid = np.full(days.activity.shape, np.nan)
    for first_day, week in zip(mine.first_days, found, strict=True):
        begin = int(first_day) - (days.first_day - _EPOCH).days
        laid[begin : begin + 7] = week.reshape(7, MINUTES_PER_DAY)
    return laid, "below each day, orange: what the last block of the pipeline's network looked at most"
