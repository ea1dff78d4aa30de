"""Raw data: rows, events, days of people, sound, vibration, images."""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foresense.config import IngestConfig
from foresense.config.actigraphy import ActigraphyIngestConfig
from foresense.config.activity import ActivityIngestConfig
from foresense.config.anomaly import (
    BearingsConfig,
    ConditionTablesConfig,
    DcaseConfig,
    ImageFoldersConfig,
    InfraredModulesConfig,
    WavFoldersConfig,
)
from foresense.config.mixed import AirQualityIngestConfig, EventTablesIngestConfig, MixedTablesIngestConfig
from foresense.sources.actigraphy import load_actigraphy
from foresense.sources.air_quality import CHANNELS as AIR_CHANNELS
from foresense.sources.conditions import FoundConditions, load_conditions
from foresense.sources.mixed import load_mixed
from foresense.sources.people import load_people
from foresense.sources.tables import RawTables, SourceError
from foresense.sources.tabular import read_csv_files, read_parquet_files
from tests.fuzz.target import SOURCE, Target, as_json, in_memory, places

HOURS = [f"2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00" for hour in range(30)]
ROWS = [(time, f"mill {n % 2}", 60 + n / 8, 10.0 + n) for n, time in enumerate(HOURS)]
TABULAR: dict[str, Any] = {
    "raw": "set",
    "time_column": "time",
    "asset_column": "asset",
    "channels": ({"name": "temp_body", "unit": "Cel"}, {"name": "current", "unit": "A"}),
}


def _csv() -> bytes:
    lines = (",".join(map(str, row)) for row in ROWS)
    return "\n".join(["time,asset,temp_body,current", *lines, ""]).encode()


@cache
def _parquet() -> bytes:
    frame = pd.DataFrame(ROWS, columns=["time", "asset", "temp_body", "current"])
    return in_memory(frame.assign(time=pd.to_datetime(frame["time"])).to_parquet)


def _read_csv(folder: Path) -> RawTables:
    return read_csv_files(IngestConfig(source="csv", **TABULAR), places(folder))


def _read_parquet(folder: Path) -> RawTables:
    found = read_parquet_files(IngestConfig(source="parquet", **TABULAR), places(folder))
    refused = {(refusal.file, refusal.row) for refusal in found.refusals if refusal.reason != "not a number"}
    assert sum(len(table.times_ns) for table in found.tables) + len(refused) >= len(ROWS), "rows vanished"
    return found


EVENTS = "id,time,parameter,value\n" + "".join(
    f"{stay},{hour},{name},{value}\n"
    for stay in ("a", "b")
    for hour in range(4)
    for name, value in (("HR", 70 + hour), ("Na", 140.5))
)
OUTCOMES = "id,death\na,0\nb,1\n"


def _read_events(folder: Path) -> object:
    asked = {
        "source": "event_tables",
        "raw": "set",
        "files": "events.csv",
        "n_hours": 4,
        "channels": [{"name": "HR", "unit": "1/min", "low": 1, "high": 350}, {"name": "Na", "unit": "mmol/L"}],
        "outcomes_file": "outcomes.csv",
        "outcomes_id_column": "id",
        "outcomes": [{"name": "death"}],
    }
    return load_mixed("event_tables")(EventTablesIngestConfig.model_validate(asked), places(folder))


def _air() -> bytes:
    columns = ["No", "year", "month", "day", "hour", *AIR_CHANNELS, "wd", "station"]
    rows = [[n, 2013, 3, 1, n, *(n + k for k in range(len(AIR_CHANNELS))), "NE", "Gucheng"] for n in range(8)]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False).encode()


def _read_air(folder: Path) -> object:
    return load_mixed("air_quality")(AirQualityIngestConfig(source="air_quality", raw="set"), places(folder))


def _read_people(source: str, rate_hz: float, **asked: Any) -> Any:
    config = ActivityIngestConfig(source=source, raw="set", rate_hz=rate_hz, **asked)
    return lambda folder: load_people(source)(config, places(folder))


def _capture24() -> bytes:
    times = pd.date_range("2024-01-01", periods=20, freq="100ms").strftime("%Y-%m-%d %H:%M:%S.%f")
    rows = "".join(f"{time},0.1,{n / 20},1.0,sleep\n" for n, time in enumerate(times))
    return gzip.compress(f"time,x,y,z,annotation\n{rows}".encode(), mtime=0)


def _subject() -> bytes:
    windows = np.random.default_rng(0).random((3, 5, 3)).astype(np.float32)
    arrays = {"windows": windows, "labels_str": np.array(["a", "b", "a"]), "first_ts_epoch_ns": np.arange(3) * 10**9}
    return in_memory(lambda file: np.savez(file, allow_pickle=False, **arrays))


def _minutes() -> bytes:
    times = pd.date_range("2003-05-07 12:00", periods=20, freq="min")
    rows = "".join(f"{time},{time:%Y-%m-%d},{n}\n" for n, time in enumerate(times))
    return gzip.compress(f"timestamp,date,activity\n{rows}".encode(), mtime=0)


def _read_minutes(folder: Path) -> object:
    return load_actigraphy("depresjon")(ActigraphyIngestConfig(source="depresjon", raw="set"), places(folder))


@cache
def _week() -> bytes:
    rows = "".join(f"1,{day},{minute % 7}\n" for day in range(1, 8) for minute in range(1440))
    return f"seqn,paxday,paxinten\n{rows}".encode()


def _read_week(folder: Path) -> object:
    return load_actigraphy("nhanes_unidata")(ActigraphyIngestConfig(source="nhanes_unidata", raw="set"), places(folder))


@cache
def _wave() -> bytes:
    from scipy.io import wavfile

    sine = (3000 * np.sin(np.arange(200) / 5)).astype(np.int16)
    return in_memory(lambda file: wavfile.write(file, 16_000, sine))


def _read_waves(folder: Path) -> object:
    config = DcaseConfig(source="dcase2020_task2", raw="set")
    return load_conditions("dcase2020_task2")(config, places(folder))


@cache
def _matlab() -> bytes:
    from scipy.io import savemat

    times_s = np.arange(9000) / 12_000
    tones = [1796 / 60 * k for k in range(1, 17)] + [60.0 * k for k in range(1, 9)]
    noise = 0.05 * np.random.default_rng(0).standard_normal(9000)
    samples = noise + sum(0.02 * np.sin(2 * np.pi * tone_hz * times_s) for tone_hz in tones)
    variables = {"X097_DE_time": samples[:, None], "X097RPM": np.array([[1796]], np.uint16)}
    return in_memory(lambda file: savemat(file, variables))


def _read_bearings(folder: Path) -> object:
    return load_conditions("cwru_bearing")(BearingsConfig(source="cwru_bearing", raw="set"), places(folder))


MODULES = as_json({"0": {"image_filepath": "images/0.jpg", "anomaly_class": "No-Anomaly"}})


@cache
def _image() -> bytes:
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 255, (40, 24), np.uint8)
    return in_memory(lambda file: Image.fromarray(grey).save(file, "JPEG"))


@cache
def _picture() -> bytes:
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 255, (12, 10), np.uint8)
    return in_memory(lambda file: Image.fromarray(grey).save(file, "PNG"))


def _read_modules(folder: Path) -> object:
    config = InfraredModulesConfig(source="infrared_modules", raw="set")
    return load_conditions("infrared_modules")(config, places(folder))


def _all_of(found: FoundConditions) -> FoundConditions:
    """A damaged file among good ones is counted, not raised; here it is the one that matters."""
    if found.refusals:
        raise SourceError(f"{found.refusals[0].file}: {found.refusals[0].reason}")
    return found


def _read_sounds(folder: Path) -> object:
    config = WavFoldersConfig(source="wav_folders", raw="set")
    return _all_of(load_conditions("wav_folders")(config, places(folder)))


def _read_images(folder: Path) -> object:
    config = ImageFoldersConfig(source="image_folders", raw="set")
    return _all_of(load_conditions("image_folders")(config, places(folder)))


def _samples(words: tuple[str, str]) -> str:
    times = pd.date_range("2024-01-01", periods=20, freq="100ms").strftime("%Y-%m-%d %H:%M:%S.%f")
    rows = "".join(f"{time},0.1,{n / 20},1.0,{words[n // 10]}\n" for n, time in enumerate(times))
    return f"time,x,y,z,word\n{rows}"


def _read_conditions(folder: Path) -> object:
    asked = {"value_column": "y", "condition_column": "word", "time_column": "time", "rate_hz": 10.0}
    config = ConditionTablesConfig(source="csv", raw="set", **asked)
    return load_conditions("csv")(config, places(folder))


def _read_mixed(folder: Path) -> object:
    asked = {
        "source": "parquet",
        "raw": "set",
        "interval_s": 7200,
        "asset_column": "asset",
        "channels": [{"name": "temp_body", "unit": "Cel"}],
        "categories": [{"name": "state"}],
    }
    return load_mixed("parquet")(MixedTablesIngestConfig.model_validate(asked), places(folder))


@cache
def _mixed() -> bytes:
    frame = pd.DataFrame(ROWS, columns=["time", "asset", "temp_body", "current"]).drop(columns="current")
    states = ["on", "off", "on"] * 10
    return in_memory(frame.assign(time=pd.to_datetime(frame["time"]), state=states).to_parquet)


LABELS = b"annotation,label:Walmsley2020\nsleep,sleep\n"
SUBJECTS = b"participant,status,outfile\np1,ok,p1.npz\n"
SCORES = b"number,days\ncondition_1,2\n"
WISDM = "".join(f"1600,{code},{n / 8},-1.5,9.8;\n" for n, code in enumerate("AAABBB")).encode()

TARGETS = {
    "csv": Target("set/mill.csv", _csv, _read_csv, SOURCE, is_sealed=False),
    "parquet": Target("set/mill.parquet", _parquet, _read_parquet, SOURCE),
    "events": Target(
        *("set/events.csv", EVENTS.encode, _read_events, SOURCE),
        beside=lambda: {"set/outcomes.csv": OUTCOMES.encode()},
        is_sealed=False,
    ),
    "outcomes": Target(
        *("set/outcomes.csv", OUTCOMES.encode, _read_events, SOURCE),
        beside=lambda: {"set/events.csv": EVENTS.encode()},
        is_sealed=False,
    ),
    "air quality": Target("set/PRSA_Data_Gucheng.csv", _air, _read_air, SOURCE, is_sealed=False),
    "wisdm": Target(
        *("set/data_1600_accel_watch.txt", lambda: WISDM, _read_people("wisdm", 20.0, found_unit="m/s2"), SOURCE),
        is_sealed=False,
    ),
    "capture-24": Target(
        *("set/P001.csv.gz", _capture24, _read_people("capture24", 10.0), SOURCE),
        beside=lambda: {"set/annotation-label-dictionary.csv": LABELS},
    ),
    "label dictionary": Target(
        *("set/annotation-label-dictionary.csv", lambda: LABELS, _read_people("capture24", 10.0), SOURCE),
        beside=lambda: {"set/P001.csv.gz": _capture24()},
        is_sealed=False,
    ),
    "windows of others": Target(
        *("set/p1.npz", _subject, _read_people("subject_files", 5.0), SOURCE),
        beside=lambda: {"set/manifest.csv": SUBJECTS},
    ),
    "list of participants": Target(
        *("set/manifest.csv", lambda: SUBJECTS, _read_people("subject_files", 5.0), SOURCE),
        beside=lambda: {"set/p1.npz": _subject()},
        is_sealed=False,
    ),
    "minutes of a person": Target(
        *("set/condition/condition_1.csv.gz", _minutes, _read_minutes, SOURCE),
        beside=lambda: {"set/scores.csv": SCORES},
    ),
    "scores of people": Target(
        *("set/scores.csv", lambda: SCORES, _read_minutes, SOURCE),
        beside=lambda: {"set/condition/condition_1.csv.gz": _minutes()},
        is_sealed=False,
    ),
    "week of a person": Target("set/unidata.csv", _week, _read_week, SOURCE),
    "wave": Target("set/fan/train/normal_id_00_00000000.wav", _wave, _read_waves, SOURCE),
    "matlab": Target("set/normal_0.mat", _matlab, _read_bearings, SOURCE),
    "sounds of one's own": Target(
        *("set/normal/a.wav", _wave, _read_sounds, SOURCE), beside=lambda: {"set/faulty/b.wav": _wave()}
    ),
    "images of one's own": Target(
        *("set/normal/a.png", _picture, _read_images, SOURCE),
        beside=lambda: {"set/faulty/b.png": _picture()},
        is_sealed=False,  # its last bytes hold no pixel
    ),
    "conditions of one's own": Target(
        *("set/mill.csv", lambda: _samples(("normal", "worn")).encode(), _read_conditions, SOURCE), is_sealed=False
    ),
    "people of one's own": Target(
        *("set/ann.csv", lambda: _samples(("walk", "sit")).encode()),
        *(_read_people("csv", 10.0, time_column="time", label_column="word"), SOURCE),
        is_sealed=False,
    ),
    "states of one's own": Target("set/mill.parquet", _mixed, _read_mixed, SOURCE),
    "image": Target(
        *("set/images/0.jpg", _image, _read_modules, SOURCE), beside=lambda: {"set/module_metadata.json": MODULES}
    ),
    "metadata of images": Target(
        *("set/module_metadata.json", lambda: MODULES, _read_modules, SOURCE),
        beside=lambda: {"set/images/0.jpg": _image()},
    ),
}
