"""What every source hands over: raw samples with their times, and what was wrong with them on the way in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foresense.config import IngestConfig


class SourceError(ValueError):
    """Raw data cannot be used as it is; the message says what, where, what was expected and what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about raw data that did not stop the step.

    Attributes:
        asset: Name of the asset; empty where a whole file is meant.
        kind: `unsorted`, `duplicate`, `refused`, `clock_change`, `gap`, `missing`, `constant`, `unused_columns`,
            `cut`, `future`, `too_little` or `left_out`.
        n: How many rows, cells, gaps or columns.
        where: The first places, for a person.
        message: One sentence that says what was done about it.
    """

    asset: str
    kind: str
    n: int
    where: str
    message: str


@dataclass(frozen=True)
class Refusal:
    """One cell or row that was not taken.

    Attributes:
        asset: Name of the asset; empty where the row does not say.
        file: Path below the folder of the raw set.
        row: Number of the row in `file`, as an editor counts lines (a Parquet file counts from 1).
        time: The row's time as found.
        column: Name of the column in `file`.
        value: The cell as found.
        reason: Why it was refused.
    """

    asset: str
    file: str
    row: int
    time: str
    column: str
    value: str
    reason: str


@dataclass(frozen=True, eq=False)
class RawTable:
    """Raw samples of one asset, in the order in which they were found.

    Attributes:
        asset: Name of the machine, person or station.
        times_ns: (n_rows,), int64: nanoseconds since 1970 UTC.
        values: (n_rows, n_channels), float64, in the channels' units; NaN where missing.
        rows: (n_rows,), int64: number of each row in its file.
        files: (n_rows,), int64: index into `file_names`.
        file_names: Paths below the folder of the raw set; `(simulated)` where there is no file.
    """

    asset: str
    times_ns: np.ndarray
    values: np.ndarray
    rows: np.ndarray
    files: np.ndarray
    file_names: tuple[str, ...]

    def place(self, row: int) -> str:
        """Where the row at position `row` was found, for a person."""
        return f"{self.file_names[int(self.files[row])]}:{int(self.rows[row])}"

    def taken(self, keep: np.ndarray) -> "RawTable":
        """The same asset with only the rows `keep` (positions or a mask), in that order."""
        return RawTable(
            asset=self.asset,
            times_ns=self.times_ns[keep],
            values=self.values[keep],
            rows=self.rows[keep],
            files=self.files[keep],
            file_names=self.file_names,
        )


def join_tables(tables: Sequence[RawTable]) -> RawTable:
    """Rows of one asset from several files, in the order of the files."""
    if len(tables) == 1:
        return tables[0]
    return RawTable(
        asset=tables[0].asset,
        times_ns=np.concatenate([table.times_ns for table in tables]),
        values=np.concatenate([table.values for table in tables]),
        rows=np.concatenate([table.rows for table in tables]),
        files=np.concatenate([table.files for table in tables]),
        file_names=tables[0].file_names,
    )


@dataclass(frozen=True, eq=False)
class RawTables:
    """All that a source found.

    Attributes:
        tables: One for each asset, by name.
        sha256: Digest of the raw files that were read, or of everything that decides a simulation.
        findings: What was wrong and did not stop the source.
        refusals: Every cell and row that was not taken.
        facts: What belongs into the manifest beside the recordings: licence, public address, truth about faults.
    """

    tables: tuple[RawTable, ...]
    sha256: str
    findings: tuple[Finding, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Where a source looks.

    Attributes:
        raw: Folder data/raw, one folder for each set.
        project: The checkout; a relative folder of an embedded store lies below it.
        kept: What a source may keep from one run to the next; it may be deleted at any time.
    """

    raw: Path
    project: Path
    kept: Path


#: A source: the section `ingest` and where to look in, raw samples out.
Source = Callable[[IngestConfig, Places], RawTables]
