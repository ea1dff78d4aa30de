"""Rows of one's own machines with their conditions, CSV or Parquet, to recordings of one channel at one rate."""

import numpy as np

from foresense.config.anomaly import ConditionTablesConfig
from foresense.signals.clips import UNKNOWN, FoundRecording, join_recordings
from foresense.sources.checks import in_order_once
from foresense.sources.conditions import FoundConditions, with_normal_first
from foresense.sources.mixed import files_of
from foresense.sources.rows import Columns, Number, Words, missing_samples, read_rows, stretches
from foresense.sources.tables import Finding, Places, RawTable


def read_condition_tables(config: ConditionTablesConfig, places: Places) -> FoundConditions:
    """Read files of rows; a recording is what one asset did in one condition, without a hole.

    A new one begins where the condition or a group changes, where a sample is missing, and in each file, or, where
    there is a clock, after more than one and a half of its samples. Rows without a condition are of UNKNOWN condition.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: as of `read_rows`; timestamps of another rate, two different rows at one time, or no row in the
            normal condition.
    """
    folder, files = files_of(places.raw, config.raw, config.pattern)
    number = Number(config.value_column, "ingest.value_column", config.unit, config.found_unit)
    words = [Words(config.condition_column, "ingest.condition_column")]
    words += [Words(column, "ingest.group_columns") for column in config.group_columns]
    read = read_rows(
        folder, files, Columns((number,), tuple(words), config.time_column, config.time_zone, config.asset_column)
    )
    conditions, *groups = read.vocabularies
    classes = with_normal_first(conditions, config.normal, f"{folder}: column {config.condition_column!r}")
    label_of = np.array([*(classes.index(name) for name in conditions), UNKNOWN])
    recordings: list[FoundRecording] = []
    findings = list(read.findings)
    for table in read.tables:
        if config.time_column is not None:
            table, found = in_order_once(table, [config.value_column, config.condition_column, *config.group_columns])
            findings += found
        known = ~np.isnan(table.values[:, 0])
        findings += missing_samples(table, known)
        recordings += _recordings(table, known, config, label_of, groups)
    n_unknown = sum(one.label == UNKNOWN for one in recordings)
    if n_unknown:
        message = "recordings without a condition; no part of a split has them"
        findings.append(Finding("", "left_out", n_unknown, "", message))
    return FoundConditions(
        recordings=join_recordings(recordings, classes=classes, unit=config.unit, rate_hz=config.rate_hz),
        sha256=read.sha256,
        findings=tuple(findings),
        refusals=read.refusals,
        facts={"set": config.raw},
    )


def _recordings(
    table: RawTable,
    known: np.ndarray,
    config: ConditionTablesConfig,
    label_of: np.ndarray,
    groups: list[tuple[str, ...]],
) -> list[FoundRecording]:
    if not known.any():
        return []
    begins = stretches(table, known, config.rate_hz, has_time=config.time_column is not None)
    used = table.taken(known)
    words = np.nan_to_num(used.values[:, 1:], nan=-1).astype(np.int64)
    changes = np.flatnonzero((np.diff(words, axis=0) != 0).any(axis=1)) + 1
    begins = np.union1d(begins, changes)
    samples = used.values[:, 0].astype(np.float32)
    return [
        FoundRecording(
            name=used.place(int(first)),
            asset=table.asset,
            label=int(label_of[words[first, 0]]),
            samples=samples[first:end],
            groups={"asset": table.asset}
            | {
                column: (*values, "none")[word]
                for column, values, word in zip(config.group_columns, groups, words[first, 1:], strict=True)
            },
        )
        for first, end in zip(begins, [*begins[1:], len(samples)], strict=True)
    ]
