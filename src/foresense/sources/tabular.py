"""Files of rows, CSV and Parquet, described by the section `ingest`: time column, zone, channels, asset column."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from foresense.config import IngestConfig
from foresense.signals import file_sha256
from foresense.sources.clock import Clock, read_clock
from foresense.sources.frames import numbers_of, read_csv_frame, read_parquet_frame, require_columns
from foresense.sources.tables import Finding, Places, RawTable, RawTables, Refusal, SourceError, join_tables

_N_SHOWN = 3  # places that a finding names


def read_csv_files(config: IngestConfig, places: Places) -> RawTables:
    """Read the CSV files that `config.files` matches: comma, UTF-8, one header line.

    Empty cells and the words that pandas takes for missing (NA, NaN, null, ...) are missing values.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder of the set.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: a file is not such a CSV, or lacks a column; all missing columns are named together.
    """
    return _read_files(config, places.raw, pattern="*.csv", read=_read_csv)


def read_parquet_files(config: IngestConfig, places: Places) -> RawTables:
    """Read the Parquet files that `config.files` matches.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder of the set.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: a file is not Parquet, or lacks a column; all missing columns are named together.
    """
    return _read_files(config, places.raw, pattern="*.parquet", read=_read_parquet)


def files_sha256(files: Sequence[Path], folder: Path) -> str:
    """SHA-256 over the lines that `sha256sum` would print for `files` in `folder`."""
    lines = "".join(f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


Reader = Callable[[Path, str, IngestConfig], pd.DataFrame]


def _read_files(config: IngestConfig, raw: Path, *, pattern: str, read: Reader) -> RawTables:
    folder, files = _find_files(config, raw, pattern)
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    parts: dict[str, list[RawTable]] = {}
    findings: list[Finding] = []
    refusals: list[Refusal] = []
    for number, (path, name) in enumerate(zip(files, names, strict=True)):
        frame = read(path, name, config)
        findings += require_columns(frame, name, _roles(config))
        tables, refused, changes = _split_assets(frame, number, names, config)
        refusals += refused
        findings += changes
        for table in tables:
            parts.setdefault(table.asset, []).append(table)
    return RawTables(
        tables=tuple(join_tables(parts[asset]) for asset in sorted(parts)),
        sha256=files_sha256(files, folder),
        findings=tuple(findings + _refused_findings(refusals)),
        refusals=tuple(refusals),
    )


def _find_files(config: IngestConfig, raw: Path, default: str) -> tuple[Path, list[Path]]:
    if config.raw is None:
        raise SourceError(
            f"ingest.raw: the source {config.source!r} reads files; name their folder below data/raw/ (raw: my-set)"
        )
    pattern = config.files or default
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
        raise SourceError(f"ingest.files: {pattern!r} must stay below data/raw/{config.raw}/")
    folder = raw / config.raw
    files = sorted(path for path in folder.glob(pattern) if path.is_file()) if folder.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f"{folder}: no file matches {pattern!r}; run `foresense fetch <pipeline>` if the set is a public one, "
            "else put the files there"
        )
    return folder, files


def _read_csv(path: Path, name: str, config: IngestConfig) -> pd.DataFrame:
    return read_csv_frame(
        path, name, text=[config.time_column, *([config.asset_column] if config.asset_column else [])]
    )


def _read_parquet(path: Path, name: str, config: IngestConfig) -> pd.DataFrame:
    return read_parquet_frame(path, name)


def _roles(config: IngestConfig) -> dict[str, str]:
    """Column -> what asks for it."""
    found = {config.time_column: "ingest.time_column"}
    if config.asset_column is not None:
        found[config.asset_column] = "ingest.asset_column"
    return found | {channel.column or channel.name: f"channel {channel.name!r}" for channel in config.channels}


def _split_assets(
    frame: pd.DataFrame, number: int, names: tuple[str, ...], config: IngestConfig
) -> tuple[list[RawTable], list[Refusal], list[Finding]]:
    """One table for each asset of one file, with the rows and cells that were refused."""
    name = names[number]
    assets = _assets(frame, name, config)
    rows = frame.index.to_numpy(np.int64)
    times = frame[config.time_column]
    values, refusals = _numbers(frame, assets, name, config)
    unnamed = assets == ""
    refusals += [
        Refusal("", name, int(rows[at]), str(times.iloc[at]), str(config.asset_column), "", "no asset")
        for at in np.flatnonzero(unnamed)
    ]
    tables, findings = [], []
    for asset in sorted(set(assets[~unnamed])):
        mine = np.flatnonzero(assets == asset)
        clock = read_clock(times.iloc[mine], config.time_zone, file=name)
        usable = clock.reasons == ""
        refusals += [
            Refusal(
                asset,
                name,
                int(rows[mine[at]]),
                "",
                config.time_column,
                str(times.iloc[mine[at]]),
                str(clock.reasons[at]),
            )
            for at in np.flatnonzero(~usable)
        ]
        findings += _clock_changes(asset, name, rows[mine], clock, config.time_zone)
        keep = mine[usable]
        tables.append(
            RawTable(
                asset=asset,
                times_ns=clock.times_ns[usable],
                values=values[keep],
                rows=rows[keep],
                files=np.full(len(keep), number, np.int64),
                file_names=names,
            )
        )
    return tables, refusals, findings


def _assets(frame: pd.DataFrame, name: str, config: IngestConfig) -> np.ndarray:
    """(n_rows,), str: asset of each row; empty where the row does not say."""
    if config.asset_column is None:
        return np.full(len(frame), config.asset or PurePosixPath(name).stem, dtype=object)
    return np.asarray(frame[config.asset_column].astype("string").str.strip().fillna(""), dtype=object)


def _numbers(
    frame: pd.DataFrame, assets: np.ndarray, name: str, config: IngestConfig
) -> tuple[np.ndarray, list[Refusal]]:
    """(n_rows, n_channels), float64: cells as numbers, NaN where missing or refused; and the refused cells."""
    values = np.full((len(frame), len(config.channels)), np.nan)
    rows = frame.index.to_numpy(np.int64)
    refusals: list[Refusal] = []
    for index, channel in enumerate(config.channels):
        column = frame[channel.column or channel.name]
        numbers, is_text = numbers_of(column)
        refused = is_text | np.isinf(numbers)
        values[:, index] = np.where(refused, np.nan, numbers)
        refusals += [
            Refusal(
                asset=str(assets[at]),
                file=name,
                row=int(rows[at]),
                time=str(frame[config.time_column].iloc[at]),
                column=str(column.name),
                value=str(column.iloc[at]),
                reason="infinite" if np.isinf(numbers[at]) else "not a number",
            )
            for at in np.flatnonzero(refused)
        ]
    return values, refusals


def _clock_changes(asset: str, name: str, rows: np.ndarray, clock: Clock, time_zone: str) -> list[Finding]:
    n = int(clock.repeated.sum())
    if not n:
        return []
    where = ", ".join(f"{name}:{row}" for row in rows[clock.repeated][:_N_SHOWN])
    message = (
        f"local times that happened twice in {time_zone} (the clock was set back): {n - clock.n_second} rows taken "
        f"as the first passage, {clock.n_second} as the second, by where the times step back; if the logger's clock "
        "never changes, set ingest.time_zone to a fixed offset like 'Etc/GMT-1'"
    )
    return [Finding(asset, "clock_change", n, where, message)]


def _refused_findings(refusals: Sequence[Refusal]) -> list[Finding]:
    """One finding for each asset, column and reason, with the first places."""
    kinds: dict[tuple[str, str, str], list[Refusal]] = {}
    for refusal in refusals:
        kinds.setdefault((refusal.asset, refusal.column, refusal.reason), []).append(refusal)
    return [
        Finding(
            asset,
            "refused",
            len(found),
            ", ".join(f"{first.file}:{first.row} ({first.value!r})" for first in found[:_N_SHOWN]),
            f"column {column!r}: {reason}; "
            + ("the value is missing" if reason in ("infinite", "not a number") else "the row is left out")
            + ", see refused.csv",
        )
        for (asset, column, reason), found in sorted(kinds.items())
    ]
