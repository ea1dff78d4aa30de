"""Depresjon: minutes of an Actiwatch on the wrist, 23 people with depression and 32 controls, 13 to 45 days each.

Garcia-Ceja et al., Depresjon: a motor activity database of depression episodes in unipolar and bipolar patients, ACM
MMSys 2018. Cambridge Neurotechnology AW4, counts per minute. The files' clock is local (Norway) and jumps with summer
time: five recordings go from 01:59 to 03:00 on 2003-03-30, so that their minutes follow one another in UTC.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from foresense.config.actigraphy import ActigraphyIngestConfig
from foresense.signals import Recording
from foresense.signals.actigraphy import MINUTE_S
from foresense.sources.actigraphy import FoundActigraphy, Person, require_unit
from foresense.sources.actigraphy_sets import find_actigraphy_set
from foresense.sources.checks import in_order_once
from foresense.sources.clock import read_clock
from foresense.sources.tables import Finding, Places, RawTable, Refusal, SourceError
from foresense.sources.tabular import files_sha256
from foresense.sources.text_table import read_text_table

SET = "depresjon"
#: Labels; each is a folder, and the begin of the names of its files.
LABELS = ("condition", "control")
TIME_ZONE = "Europe/Oslo"
COLUMNS = ("timestamp", "activity")
SCORES = "scores.csv"
_MINUTE_NS = 60 * 10**9
_MOST_DAYS = 366


def read_depresjon(config: ActigraphyIngestConfig, places: Places) -> FoundActigraphy:
    """Read `<label>/<label>_<n>.csv.gz` (timestamp, date, activity) and `scores.csv` (a row for each person).

    A row without a time or with activity that is no number of at least 0 is refused; a minute without a row is missing.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no recordings, or no scores.
        SourceError: another unit, other columns, a person without scores, times that are no minutes, or one minute
            with two different rows.
    """
    require_unit(config, "counts", SET)
    folder = places.raw / (config.raw or SET)
    files = [file for label in LABELS for file in _files(folder, label)[: config.first_people]]
    if not files:
        raise FileNotFoundError(
            f"{folder}: no condition/condition_*.csv.gz and control/control_*.csv.gz there; set FORESENSE_DATA to the "
            "folder that holds the set and run `foresense fetch` for this pipeline"
        )
    scores = _scores(folder / SCORES)
    findings: list[Finding] = []
    refusals: list[Refusal] = []
    recordings = tuple(_recording(file, folder, config.time_zone or TIME_ZONE, findings, refusals) for file in files)
    people = tuple(_person(recording.asset, scores) for recording in recordings)
    return FoundActigraphy(
        recordings=recordings,
        people=people,
        unit="counts",
        has_time=True,
        sha256=files_sha256([*files, folder / SCORES], folder),
        findings=tuple(findings),
        refusals=tuple(refusals),
        facts=find_actigraphy_set(SET).facts(),
    )


def _files(folder: Path, label: str) -> list[Path]:
    """Files of one label, in the order of their numbers."""
    found = [file for file in (folder / label).glob(f"{label}_*.csv.gz") if _number(file).isdecimal()]
    return sorted(found, key=lambda file: int(_number(file)))


def _number(file: Path) -> str:
    return file.name.removesuffix(".csv.gz").rpartition("_")[2]


def _scores(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it comes with the set, a row for each person")
    table = read_text_table(path)
    if "number" not in table.columns:
        raise SourceError(f"{path}: expected a column 'number' with names of people, found {list(table.columns)}")
    twice = table["number"][table["number"].duplicated()]
    if len(twice):
        raise SourceError(f"{path}: {twice.iloc[0]!r} stands there twice; keep one row for each person")
    return table.set_index("number")


def _person(name: str, scores: pd.DataFrame) -> Person:
    if name not in scores.index:
        raise SourceError(f"{SCORES}: no row for {name!r}; every recording needs one, fetch the file again")
    facts = {str(column): str(value).strip() for column, value in scores.loc[name].items()}
    label = name.rpartition("_")[0]
    return Person(name, label, {column: value for column, value in facts.items() if value not in ("", "NA")})


def _recording(file: Path, folder: Path, time_zone: str, findings: list[Finding], refusals: list[Refusal]) -> Recording:
    name = file.relative_to(folder).as_posix()
    person = file.name.removesuffix(".csv.gz")
    table = _table(file, name)
    clock = read_clock(table["timestamp"], time_zone, file=name)
    activity = pd.to_numeric(table["activity"], errors="coerce").to_numpy(np.float64)
    unusable = ~np.isfinite(activity) | (activity < 0)
    reasons = np.where(clock.reasons != "", clock.reasons, np.where(unusable, "no count of at least 0", ""))
    refused = np.flatnonzero(reasons != "")
    for row in refused.tolist():
        time, value = str(table["timestamp"].iloc[row]), str(table["activity"].iloc[row])
        refusals.append(Refusal(person, name, row + 2, time, "activity", value, str(reasons[row])))
    if len(refused):
        where = f"{name}:{refused[0] + 2}"
        findings.append(Finding(person, "refused", len(refused), where, "rows left out, see refused.csv"))
    taken = np.flatnonzero(reasons == "")
    if len(taken) < 2:
        raise SourceError(f"{name}: no two usable rows of {len(table)}; expected timestamp, date, activity")
    raw = RawTable(person, clock.times_ns[taken], activity[taken, None], taken + 2, np.zeros_like(taken), (name,))
    raw, found = in_order_once(raw, ("activity",))
    findings += found
    return _on_minutes(raw, time_zone, findings)


def _table(file: Path, name: str) -> pd.DataFrame:
    types = {"timestamp": pa.string(), "activity": pa.string()}
    try:
        table: pd.DataFrame = arrow_csv.read_csv(
            file, convert_options=arrow_csv.ConvertOptions(column_types=types)
        ).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{name}: cannot be read: {str(error).splitlines()[0]}; fetch this file again") from error
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise SourceError(f"{name}: columns {missing} missing, found {list(table.columns)}; expected {list(COLUMNS)}")
    return table


def _on_minutes(raw: RawTable, time_zone: str, findings: list[Finding]) -> Recording:
    since_ns = raw.times_ns - raw.times_ns[0]
    off = np.flatnonzero(since_ns % _MINUTE_NS)
    if len(off):
        raise SourceError(
            f"{raw.place(int(off[0]))}: not a whole number of minutes after the first row; expected a row each minute"
        )
    minutes = since_ns // _MINUTE_NS
    n_minutes = int(minutes[-1]) + 1
    if n_minutes > _MOST_DAYS * 1440:
        raise SourceError(
            f"{raw.asset}: {len(minutes)} rows span {n_minutes // 1440} days, expected at most {_MOST_DAYS}; remove "
            "the stray times"
        )
    samples = np.full((n_minutes, 1), np.nan)
    samples[minutes] = raw.values
    if n_minutes > len(minutes):
        before = int(np.flatnonzero(np.diff(minutes) > 1)[0])
        message = f"{n_minutes - len(minutes)} minutes without a row, left missing"
        n_gaps = int((np.diff(minutes) > 1).sum())
        findings.append(Finding(raw.asset, "gap", n_gaps, f"after {raw.place(before)}", message))
    return Recording(
        asset=raw.asset,
        samples=samples,
        channels=("activity",),
        units=("counts",),
        interval_s=MINUTE_S,
        start=pd.Timestamp(int(raw.times_ns[0]), unit="ns", tz="UTC"),
        time_zone=time_zone,
    )
