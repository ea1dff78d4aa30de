"""Rows of numbers and words at any rate, one's own CSV or Parquet files, to mixed recordings on one grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foresense.config.mixed import MixedTablesIngestConfig, Rule, TableOutcomeConfig
from foresense.signals.mixed import CategoricalChannel, MixedRecording, MixedSet, NumericChannel
from foresense.signals.mixed_columns import FIRST_VALUE, MISSING
from foresense.sources.checks import check_rate, in_order_once
from foresense.sources.event_grid import hourly, hourly_codes
from foresense.sources.mixed import FoundMixed, files_of
from foresense.sources.rows import Columns, Number, Words, read_rows
from foresense.sources.tables import Finding, Places, RawTable, SourceError


def read_mixed_tables(config: MixedTablesIngestConfig, places: Places) -> FoundMixed:
    """Read files of rows; each asset is a recording, on a grid that begins at its first row.

    The rows of one step become one by each channel's rule; of a category or a label the newest one counts. A step
    without a row is missing in every channel, and counted.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: as of `read_rows`; two different rows at one time, rows that are farther apart than `interval_s`,
            or a recording with two outcomes.
    """
    folder, files = files_of(places.raw, config.raw, config.pattern)
    columns = _columns(config)
    read = read_rows(folder, files, columns)
    words = {one.role: words for one, words in zip(columns.words, read.vocabularies, strict=True)}
    grid = _Grid(config, {one.role: place for place, one in enumerate(columns.values)})
    recordings = tuple(grid.recording(table) for table in read.tables[: config.first_recordings])
    return FoundMixed(
        recordings=MixedSet(
            recordings=recordings,
            numeric=(
                *(NumericChannel(one.name, one.unit) for one in config.channels),
                *(NumericChannel(one.name, "1") for one in config.labels),
            ),
            categorical=tuple(CategoricalChannel(one.name, words[_category(one.name)]) for one in config.categories),
            static_numeric=(),
            static_categorical=(),
            outcomes=tuple(NumericChannel(one.name, one.unit) for one in config.outcomes),
            interval_s=config.interval_s,
            has_time=True,
            time_zone=config.time_zone,
        ),
        sha256=read.sha256,
        findings=(*read.findings, *grid.findings, *grid.counted(recordings)),
        refusals=read.refusals,
        facts={"set": config.raw},
    )


def _channel(name: str) -> str:
    return f"channel {name!r}"


def _category(name: str) -> str:
    return f"category {name!r}"


def _label(name: str) -> str:
    return f"label {name!r}"


def _outcome(name: str) -> str:
    return f"outcome {name!r}"


def _columns(config: MixedTablesIngestConfig) -> Columns:
    numbers = [
        Number(one.column or one.name, _channel(one.name), one.unit, one.found_unit, one.low, one.high)
        for one in config.channels
    ]
    words = [Words(one.column or one.name, _label(one.name), _themselves(one.classes)) for one in config.labels]
    for outcome in config.outcomes:
        column, role = outcome.column or outcome.name, _outcome(outcome.name)
        if outcome.classes:
            words.append(Words(column, role, _themselves(outcome.classes)))
        else:
            numbers.append(Number(column, role, outcome.unit))
    for one in config.categories:
        values = one.values and dict(sorted(one.values.items(), key=lambda pair: pair[1]))
        words.append(Words(one.column or one.name, _category(one.name), values, one.unknown))
    return Columns(tuple(numbers), tuple(words), config.time_column, config.time_zone, config.asset_column)


def _themselves(classes: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in classes}


@dataclass(frozen=True, eq=False)
class _Grid:
    """What lays tables on their grids.

    Attributes:
        config: Section `ingest`.
        place_of: Role of a column -> its place in the values of a table.
        findings: What was done to bring rows into order is added.
        n_cut: Recording -> rows after its last step.
        silent: Outcome -> recordings of which no row says it.
    """

    config: MixedTablesIngestConfig
    place_of: dict[str, int]
    findings: list[Finding] = field(default_factory=list)
    n_cut: dict[str, int] = field(default_factory=dict)
    silent: dict[str, list[str]] = field(default_factory=dict)

    def recording(self, table: RawTable) -> MixedRecording:
        """One asset on its grid."""
        config = self.config
        table, found = in_order_once(table, list(self.place_of))
        self.findings.extend(found)
        check_rate(table, config.interval_s)
        steps = (table.times_ns - table.times_ns[0]) // round(config.interval_s * 1e9)
        n_steps = config.n_steps or int(steps[-1]) + 1
        outcomes = [self._outcome_of(one, table) for one in config.outcomes]
        start_ns = int(table.times_ns[0])
        is_used = steps < n_steps
        if not is_used.all():
            self.n_cut[table.asset] = int((~is_used).sum())
            table, steps = table.taken(is_used), steps[is_used]
        channels: list[tuple[str, Rule]] = [(_channel(one.name), one.rule) for one in config.channels]
        channels += [(_label(one.name), "last") for one in config.labels]
        numbers = [self._numbers(table, role, steps, n_steps, rule) for role, rule in channels]
        categories = [self._codes(table, _category(one.name), steps, n_steps) for one in config.categories]
        return MixedRecording(
            name=table.asset,
            numeric=np.stack(numbers, axis=1) if numbers else np.zeros((n_steps, 0), np.float32),
            categories=np.stack(categories, axis=1) if categories else np.zeros((n_steps, 0), np.int64),
            static_numeric=np.zeros(0, np.float32),
            static_categories=np.zeros(0, np.int64),
            outcomes=np.array(outcomes, np.float32),
            start_ns=start_ns,
        )

    def _numbers(self, table: RawTable, role: str, steps: np.ndarray, n_steps: int, rule: Rule) -> np.ndarray:
        """(n_steps,), float32."""
        values = table.values[:, self.place_of[role]]
        known = ~np.isnan(values)
        owners = np.zeros(int(known.sum()), np.int64)
        found = hourly(owners, steps[known], values[known], n_recordings=1, n_hours=n_steps, rule=rule)
        narrow: np.ndarray = found[0].astype(np.float32)
        return narrow

    def _codes(self, table: RawTable, role: str, steps: np.ndarray, n_steps: int) -> np.ndarray:
        """(n_steps,), int64."""
        values = table.values[:, self.place_of[role]]
        known = ~np.isnan(values)
        codes = values[known].astype(np.int64) + FIRST_VALUE
        owners = np.zeros(len(codes), np.int64)
        found: np.ndarray = hourly_codes(owners, steps[known], codes, n_recordings=1, n_hours=n_steps)[0]
        return found

    def _outcome_of(self, one: TableOutcomeConfig, table: RawTable) -> float:
        """What all rows of a recording say; NaN where none does."""
        values = table.values[:, self.place_of[_outcome(one.name)]]
        rows = np.flatnonzero(~np.isnan(values))
        other = rows[values[rows] != values[rows[:1]]] if len(rows) else rows
        if len(other):
            first, second = (
                f"{one.classes[int(values[row])] if one.classes else values[row]} at {table.place(int(row))}"
                for row in (rows[0], other[0])
            )
            raise SourceError(
                f"{table.asset}: outcome {one.name!r} is {first} and {second}; a recording has one outcome: correct "
                "the rows, name the column that tells recordings apart in ingest.asset_column, or make it a label"
            )
        if not len(rows):
            self.silent.setdefault(one.name, []).append(table.asset)
        return float(values[rows[0]]) if len(rows) else np.nan

    def counted(self, recordings: Sequence[MixedRecording]) -> list[Finding]:
        """What was cut and what is missing, of all recordings together: there may be thousands."""
        config, found = self.config, []
        if self.n_cut:
            message = f"rows of {len(self.n_cut)} recordings after the first {config.n_steps} steps, left out as asked"
            found.append(Finding("", "cut", sum(self.n_cut.values()), _first(list(self.n_cut)), message))
        for name, silent in self.silent.items():
            message = f"recordings without the outcome {name!r} in any row; it is not known"
            found.append(Finding("", "missing", len(silent), _first(silent), message))
        holes = [np.hstack([np.isnan(one.numeric), one.categories == MISSING]) for one in recordings]
        n_missing = np.sum([hole.sum(axis=0) for hole in holes], axis=0)
        if n_missing.any():
            shown = ", ".join(f"{name} {n}" for name, n in zip(config.changing, n_missing.tolist(), strict=True) if n)
            n_empty, n_steps = sum(int(hole.all(axis=1).sum()) for hole in holes), sum(map(len, holes))
            message = f"of {n_steps} steps have no value, by channel: {shown}; {n_empty} have none at all; left missing"
            found.append(Finding("", "missing", int(n_missing.sum()), "", message))
        return found


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3])
