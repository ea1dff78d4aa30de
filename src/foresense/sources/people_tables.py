"""Rows of one's own people, CSV or Parquet: three axes of a wrist, a person, a label, and a clock if there is one."""

import numpy as np

from foresense.config.activity import ActivityIngestConfig
from foresense.signals.labelled import UNLABELLED, LabelledRecording, LabelledSet
from foresense.sources.checks import in_order_once
from foresense.sources.mixed import files_of
from foresense.sources.people import FoundPeople
from foresense.sources.rows import Columns, Number, Words, missing_samples, read_rows, stretches
from foresense.sources.tables import Finding, Places, RawTable, SourceError


def read_people_tables(config: ActivityIngestConfig, places: Places) -> FoundPeople:
    """Read files of rows, a sample each, in `found_unit`; each asset is a person.

    A stretch ends where a sample is missing, and at the end of each file, or, where there is a clock, after more than
    one and a half samples.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: no folder named, as of `read_rows`, timestamps of another rate, or two different rows at one time.
    """
    if config.raw is None:
        raise SourceError(f"ingest.raw: the source {config.source!r} reads files; name their folder below data/raw/")
    folder, files = files_of(places.raw, config.raw, config.files or f"*.{config.source}")
    axes = tuple(Number(column, "ingest.columns", "g", config.found_unit) for column in config.columns)
    words = (Words(config.label_column, "ingest.label_column"),)
    read = read_rows(folder, files, Columns(axes, words, config.time_column, config.time_zone, config.asset_column))
    classes = config.classes or read.vocabularies[0]
    label_of = [classes.index(name) if name in classes else UNLABELLED for name in read.vocabularies[0]]
    findings = list(read.findings)
    people = [_person(table, config, np.array([*label_of, UNLABELLED], np.int16), findings) for table in read.tables]
    return FoundPeople(
        labelled=LabelledSet(
            people=tuple(people),
            channels=("x", "y", "z"),
            units=("g", "g", "g"),
            rate_hz=config.rate_hz,
            classes=classes,
            has_time=config.time_column is not None,
            time_zone=config.time_zone,
        ),
        sha256=read.sha256,
        findings=tuple(findings),
        refusals=read.refusals,
        facts={"set": config.raw},
    )


def _person(
    table: RawTable, config: ActivityIngestConfig, label_of: np.ndarray, findings: list[Finding]
) -> LabelledRecording:
    if config.time_column is not None:
        table, found = in_order_once(table, [*config.columns, config.label_column])
        findings += found
    known = ~np.isnan(table.values[:, :3]).any(axis=1)
    findings += missing_samples(table, known)
    begins = stretches(table, known, config.rate_hz, has_time=config.time_column is not None)
    used = table.taken(known)
    return LabelledRecording(
        person=table.asset,
        samples=used.values[:, :3].astype(np.float32),
        labels=label_of[np.nan_to_num(used.values[:, 3], nan=-1).astype(np.int64)],
        stretches=begins.astype(np.int64),
        start_ns=used.times_ns[begins],
    )
