"""CAPTURE-24 in its published layout: `P001.csv.gz` with time, x, y, z, annotation, and a dictionary of labels.

Chan et al., CAPTURE-24: A large dataset of wrist-worn activity tracker data collected in the wild, Sci Data, 2024.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from foresense.config.activity import ActivityIngestConfig
from foresense.signals import file_sha256
from foresense.signals.labelled import UNLABELLED, LabelledRecording, LabelledSet
from foresense.sources.people import STANDARD_GRAVITY, FoundPeople, require_rate
from foresense.sources.tables import Finding, Places, Refusal, SourceError
from foresense.sources.text_table import read_text_table

DICTIONARY = "annotation-label-dictionary.csv"
COLUMNS = ("time", "x", "y", "z", "annotation")
#: Samples further apart than this share of the interval are not of one stretch.
LONGEST_STEP = 1.5
#: Cells of the dictionary that say nothing.
_ABSENT = ("", "NA")


def read_capture24(config: ActivityIngestConfig, places: Places) -> FoundPeople:
    """Read `data/raw/<raw>/P*.csv.gz` (or `.csv`) and the label dictionary beside them.

    `label:<ingest.labels>` of the dictionary gives each annotation its class; an annotation that is empty there, or
    absent, is unlabelled. Times are local to `ingest.time_zone`; an hour that the clock repeats or leaves out is
    refused, as are rows that are not numbers or do not follow the row before. A stretch ends where a sample is missing.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no recordings, or no dictionary.
        SourceError: other columns, another rate, or no such column of labels.
    """
    folder = places.raw / (config.raw or "capture24")
    files = sorted([*folder.glob("P*.csv.gz"), *folder.glob("P*.csv")])
    if not files:
        raise FileNotFoundError(f"{folder}: no P*.csv.gz there; put the files of CAPTURE-24 into this folder")
    label_of = _dictionary(folder / DICTIONARY, config.labels)
    classes = config.classes or tuple(sorted(set(label_of.values())))
    findings: list[Finding] = []
    refusals: list[Refusal] = []
    people = tuple(_read(file, label_of, classes, config, findings, refusals) for file in files)
    return FoundPeople(
        labelled=LabelledSet(
            people=people,
            channels=("x", "y", "z"),
            units=("g", "g", "g"),
            rate_hz=config.rate_hz,
            classes=classes,
            has_time=True,
            time_zone=config.time_zone,
        ),
        sha256=hashlib.sha256(
            "".join(f"{file_sha256(file)}  {file.name}\n" for file in [*files, folder / DICTIONARY]).encode()
        ).hexdigest(),
        findings=tuple(findings),
        refusals=tuple(refusals),
        facts={"set": "CAPTURE-24", "citation": "Chan et al., Scientific Data, 2024", "labels": config.labels},
    )


def _dictionary(path: Path, name: str) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it comes with CAPTURE-24 and says which label an annotation has")
    table = read_text_table(path)
    column = f"label:{name}"
    if column not in table.columns or "annotation" not in table.columns:
        known = [found.removeprefix("label:") for found in table.columns if found.startswith("label:")]
        raise SourceError(f"{path}: no column {column!r}; set ingest.labels to one of: {', '.join(known)}")
    used = table[~table["annotation"].isin(_ABSENT) & ~table[column].isin(_ABSENT)]
    return dict(zip(used["annotation"], used[column], strict=True))


def _read(
    file: Path,
    label_of: dict[str, str],
    classes: tuple[str, ...],
    config: ActivityIngestConfig,
    findings: list[Finding],
    refusals: list[Refusal],
) -> LabelledRecording:
    person = file.name.partition(".")[0]
    table = _table(file)
    values = table[["x", "y", "z"]].to_numpy(np.float64)
    times = pd.DatetimeIndex(pd.to_datetime(table["time"], errors="coerce"))
    if times.tz is None:
        times = times.tz_localize(config.time_zone, ambiguous="NaT", nonexistent="NaT")
    is_known = ~np.asarray(times.isna()) & np.isfinite(values).all(axis=1)
    times_ns = times.tz_convert("UTC").as_unit("ns").asi8
    newest = np.maximum.accumulate(np.where(is_known, times_ns, np.iinfo(np.int64).min))
    is_later = np.append(True, times_ns[1:] > newest[:-1])
    kept = np.flatnonzero(is_known & is_later)
    reasons = {
        "a time or a value is missing or not a number": ~is_known,
        "not later than the row before": is_known & ~is_later,
    }
    for reason, is_refused in reasons.items():
        _refuse(file, person, np.flatnonzero(is_refused), reason, table, findings, refusals)
    if len(kept) < 2:
        raise SourceError(f"{file}: no two usable rows of {len(table)}; see refused.csv in the reports")
    steps_s = np.diff(times_ns[kept]) / 1e9
    require_rate(1 / float(np.median(steps_s)), config, str(file))
    begins = np.flatnonzero(np.append(True, steps_s > LONGEST_STEP / config.rate_hz))
    numbers = {name: number for number, name in enumerate(classes)}
    coded = table["annotation"].astype("category")
    of_code = [numbers.get(label_of.get(str(name), ""), UNLABELLED) for name in coded.cat.categories]
    labels = np.append(np.array(of_code, np.int16), np.int16(UNLABELLED))[coded.cat.codes.to_numpy()]
    scale = 1.0 if config.found_unit == "g" else 1 / STANDARD_GRAVITY
    return LabelledRecording(
        person=person,
        samples=(values[kept] * scale).astype(np.float32),
        labels=labels[kept],
        stretches=begins.astype(np.int64),
        start_ns=times_ns[kept][begins],
    )


def _table(file: Path) -> pd.DataFrame:
    types = {"time": pa.string(), "x": pa.string(), "y": pa.string(), "z": pa.string(), "annotation": pa.string()}
    try:
        table: pd.DataFrame = arrow_csv.read_csv(
            file, convert_options=arrow_csv.ConvertOptions(column_types=types)
        ).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{file}: cannot be read: {str(error).splitlines()[0]}; fetch this file again") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise SourceError(f"{file}: columns {missing} missing, found {list(table.columns)}; expected {list(COLUMNS)}")
    for name in ("x", "y", "z"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def _refuse(
    file: Path,
    person: str,
    rows: np.ndarray,
    reason: str,
    table: pd.DataFrame,
    findings: list[Finding],
    refusals: list[Refusal],
) -> None:
    if not len(rows):
        return
    findings.append(Finding(person, "refused", len(rows), f"{file.name}:{rows[0] + 2}", f"{reason}; left out"))
    for row in rows.tolist():
        found = table.iloc[row]
        value = ",".join(str(found[name]) for name in ("x", "y", "z"))
        refusals.append(Refusal(person, file.name, row + 2, str(found["time"]), "", value, reason))
