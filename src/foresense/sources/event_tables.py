"""Tables of events (recording, time, parameter, value) to an hourly grid: by configuration, for any such table.

Cell t of a grid holds only what was known before t + 1 h: no event of a later hour changes it, nor what is static.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.config.mixed import (
    EventCategoryConfig,
    EventChannelConfig,
    EventOutcomeConfig,
    EventStaticConfig,
    EventTablesIngestConfig,
)
from foresense.signals.mixed import CategoricalChannel, MixedRecording, MixedSet, NumericChannel
from foresense.signals.mixed_columns import FIRST_VALUE, MISSING
from foresense.sources.event_files import Events, read_events
from foresense.sources.event_grid import hourly, hourly_codes, hours_since
from foresense.sources.mixed import FoundMixed, counted
from foresense.sources.tables import Finding, Places, Refusal, SourceError
from foresense.sources.tabular import files_sha256
from foresense.sources.text_table import read_text_table


@dataclass(frozen=True, eq=False)
class _Reading:
    """What is read, and what is said about it on the way."""

    events: Events
    config: EventTablesIngestConfig
    in_grid: np.ndarray  # (n_events,), bool
    findings: list[Finding] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def taken(self, one: EventChannelConfig | EventStaticConfig, places: np.ndarray, column: str) -> np.ndarray:
        """Of the events at `places`, those with a number inside of its limits; the others are refused or not known."""
        numbers = self.events.numbers[places]
        unknown = numbers == one.unknown if one.unknown is not None else np.zeros(len(places), bool)
        low = -np.inf if one.low is None else one.low
        high = np.inf if one.high is None else one.high
        outside = f"outside {low:g} .. {high:g} {one.unit}"
        in_kind = np.isin(numbers, (0, 1)) if getattr(one, "rule", "") == "fraction" else np.ones(len(places), bool)
        with np.errstate(over="ignore"):
            narrow = numbers.astype(np.float32)
        good: np.ndarray = ~unknown
        for bad, reason in (
            (np.isnan(numbers), "not a number"),
            (np.isinf(narrow), "infinite"),
            (~in_kind, "expected 0 or 1"),
            ((numbers < low) | (numbers > high), outside),
        ):
            self.refusals.extend(self.events.refused(places[bad & good], column, reason))
            good &= ~bad
        found: np.ndarray = places[good]
        return found

    def coded(
        self, one: EventCategoryConfig, places: np.ndarray, column: str
    ) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Of the events at `places`, those with a category, their codes, and its values."""
        texts = self.events.texts[places]
        known = texts != one.unknown
        names = one.values if one.values is not None else {text: text for text in sorted(set(texts[known]))}
        good = known & pd.Series(texts, dtype=object).isin(list(names)).to_numpy(bool)
        expected = f"expected one of {', '.join(names)}"
        self.refusals.extend(self.events.refused(places[known & ~good], column, expected))
        values = tuple(sorted(set(names.values())))
        codes = {text: FIRST_VALUE + values.index(name) for text, name in names.items()}
        return places[good], np.array([codes[text] for text in texts[good]], np.int64), values

    def at_begin(self, parameter: str) -> np.ndarray:
        """Places of the first event at time 0 of each recording; more of them are counted."""
        places = self.events.of(parameter)
        places = places[self.events.hours[places] == 0]
        owners, first = np.unique(self.events.owners[places], return_index=True)
        if len(owners) < len(places):
            n, message = len(places) - len(owners), f"more events of {parameter!r} at time 0; the first one counts"
            self.findings.append(Finding("", "duplicate", n, "", message))
        found: np.ndarray = places[first]
        return found


def read_event_tables(config: EventTablesIngestConfig, places: Places) -> FoundMixed:
    """Read tables of events, and what became of each recording.

    Time 0 is the begin of a recording. Events of one parameter in one hour become one value by the channel's rule; a
    value outside of its limits is refused with its reason, and as if it had not been measured. `<name> hours since` is
    the time from the newest taken event to the end of the cell. What is static is the event at time 0, never a later
    one. Events of one parameter at one time count all of them in `sum` and `mean`.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: columns are missing, a recording carries another name than its file, not one usable row, or a table
            of outcomes that names a recording twice.
    """
    refusals: list[Refusal] = []
    findings: list[Finding] = []
    events, files = read_events(config, places.raw, refusals, findings)
    reading = _Reading(events, config, events.hours < config.n_hours, findings, refusals)
    _check_names(reading)
    _report_unused(reading)
    numeric, channels = _numeric(reading)
    categories, categorical = _categories(reading)
    static, static_categories, static_categorical = _static(reading)
    outcomes, outcome_files = _outcomes(reading, places)
    recordings = tuple(
        MixedRecording(
            name=name,
            numeric=np.ascontiguousarray(numeric[place]),
            categories=np.ascontiguousarray(categories[place]),
            static_numeric=static[place],
            static_categories=static_categories[place],
            outcomes=outcomes[place],
            start_ns=0,
        )
        for place, name in enumerate(events.names)
    )
    return FoundMixed(
        recordings=MixedSet(
            recordings=recordings,
            numeric=channels,
            categorical=categorical,
            static_numeric=tuple(NumericChannel(one.name, one.unit) for one in config.static_numeric),
            static_categorical=static_categorical,
            outcomes=tuple(NumericChannel(one.name, one.unit) for one in config.outcomes),
            interval_s=3600.0,
            has_time=False,
        ),
        sha256=files_sha256([*files, *outcome_files], places.raw / config.raw),
        findings=tuple(findings + counted(refusals)),
        refusals=tuple(refusals),
        facts={"hours": config.n_hours},
    )


def _check_names(reading: _Reading) -> None:
    """Refuse a recording whose table says another name than its file or its column."""
    events, parameter = reading.events, reading.config.id_parameter
    if parameter is None:
        return
    places = events.of(parameter)
    names = np.array(events.names, dtype=object)[events.owners[places]]
    for at in np.flatnonzero(events.texts[places] != names)[:1]:
        place = places[at]
        raise SourceError(
            f"{events.file_names[events.files[place]]}:{events.rows[place]}: {parameter} is {events.texts[place]!r}, "
            f"but this is recording {names[at]!r}; rename the file, or correct ingest.id_parameter"
        )


def _report_unused(reading: _Reading) -> None:
    config, events = reading.config, reading.events
    used = {one.parameter or one.name for one in config.channels}
    used |= {one.parameter or one.name for one in config.categories}
    static = {one.parameter or one.name for one in config.static_numeric}
    static |= {one.parameter or one.name for one in config.static_categorical}
    quiet = {*config.ignored, config.id_parameter}
    counts = pd.Series(events.parameters).value_counts()
    unused = {str(name): int(n) for name, n in counts.items() if name not in used | static | quiet}
    if unused:
        shown = ", ".join(f"{name} ({n})" for name, n in sorted(unused.items()))
        message = "parameters that no channel names; left out"
        reading.findings.append(Finding("", "unused_columns", len(unused), shown, message))
    absent = sorted(name for name in used | static if name not in events.parameters.categories)
    if absent:
        message = "parameters of the settings without an event; missing everywhere"
        reading.findings.append(Finding("", "missing", len(absent), ", ".join(absent), message))
    is_used = np.asarray(events.parameters.isin(list(used)))
    if (late := int((is_used & ~reading.in_grid).sum())) > 0:
        message = f"events after {config.n_hours} h; not used"
        reading.findings.append(Finding("", "cut", late, "", message))
    only_static = np.asarray(events.parameters.isin(list(static - used)))
    if (moved := int((only_static & (events.hours > 0)).sum())) > 0:
        message = "events of what is static, after time 0; not used"
        reading.findings.append(Finding("", "left_out", moved, "", message))
    keys = pd.DataFrame({"owner": events.owners, "hours": events.hours, "parameter": events.parameters})[is_used]
    if (again := int(keys.duplicated().sum())) > 0:
        message = "events with recording, time and parameter of another; each counts in its channel's rule"
        reading.findings.append(Finding("", "duplicate", again, "", message))


def _numeric(reading: _Reading) -> tuple[np.ndarray, tuple[NumericChannel, ...]]:
    """(n_recordings, n_hours, n_numeric), float32: the channels, then the hours since each."""
    events, config = reading.events, reading.config
    size = {"n_recordings": len(events.names), "n_hours": config.n_hours}
    grids, since = [], []
    for one in config.channels:
        places = events.of(one.parameter or one.name)
        places = reading.taken(one, places[reading.in_grid[places]], one.name)
        owners, hours = events.owners[places], events.hours[places]
        grids.append(hourly(owners, hours, events.numbers[places], rule=one.rule, **size))
        since += [hours_since(owners, hours, **size)] if config.hours_since else []
    channels = [NumericChannel(one.name, one.unit) for one in config.channels]
    channels += (
        [NumericChannel(f"{one.name} hours since", "h") for one in config.channels] if config.hours_since else []
    )
    found = np.zeros((size["n_recordings"], size["n_hours"], 0)) if not grids else np.stack(grids + since, axis=2)
    return found.astype(np.float32), tuple(channels)


def _categories(reading: _Reading) -> tuple[np.ndarray, tuple[CategoricalChannel, ...]]:
    """(n_recordings, n_hours, n_categorical), int64 codes."""
    events, config = reading.events, reading.config
    size = {"n_recordings": len(events.names), "n_hours": config.n_hours}
    found, channels = np.zeros((*size.values(), len(config.categories)), np.int64), []
    for index, one in enumerate(config.categories):
        places = events.of(one.parameter or one.name)
        places, codes, values = reading.coded(one, places[reading.in_grid[places]], one.name)
        found[:, :, index] = hourly_codes(events.owners[places], events.hours[places], codes, **size)
        channels.append(CategoricalChannel(one.name, values))
    return found, tuple(channels)


def _static(reading: _Reading) -> tuple[np.ndarray, np.ndarray, tuple[CategoricalChannel, ...]]:
    """(n_recordings, n_static_numeric) and (n_recordings, n_static_categorical): the events at time 0."""
    events, config = reading.events, reading.config
    static = np.full((len(events.names), len(config.static_numeric)), np.nan, np.float32)
    codes = np.full((len(events.names), len(config.static_categorical)), MISSING, np.int64)
    channels = []
    for index, one in enumerate(config.static_numeric):
        places = reading.taken(one, reading.at_begin(one.parameter or one.name), f"{one.name} (static)")
        static[events.owners[places], index] = events.numbers[places]
        _report_unknown(reading, one.name, int(np.isnan(static[:, index]).sum()))
    for index, category in enumerate(config.static_categorical):
        begin = reading.at_begin(category.parameter or category.name)
        places, found, values = reading.coded(category, begin, f"{category.name} (static)")
        codes[events.owners[places], index] = found
        channels.append(CategoricalChannel(category.name, values))
        _report_unknown(reading, category.name, int((codes[:, index] == MISSING).sum()))
    return static, codes, tuple(channels)


def _report_unknown(reading: _Reading, name: str, n: int) -> None:
    if n:
        reading.findings.append(Finding("", "missing", n, "", f"recordings without a static {name!r}; left missing"))


def _outcomes(reading: _Reading, places: Places) -> tuple[np.ndarray, list[Path]]:
    """(n_recordings, n_outcomes), float32, NaN where nobody knows; and the file that says it."""
    config, names = reading.config, reading.events.names
    if config.outcomes_file is None:
        return np.zeros((len(names), 0), np.float32), []
    path = places.raw / config.raw / config.outcomes_file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; put the table of outcomes there, or correct ingest.outcomes_file")
    table = read_text_table(path)
    wanted = [config.outcomes_id_column, *(one.column or one.name for one in config.outcomes)]
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise SourceError(
            f"{path.name}: expected the columns {', '.join(wanted)}, found {', '.join(table.columns)}; correct "
            "ingest.outcomes"
        )
    ids = table[config.outcomes_id_column].str.strip()
    twice = sorted(set(ids[ids.duplicated()]) & set(names))
    if twice:
        raise SourceError(
            f"{path.name}: {len(twice)} recording(s) stand there twice ({twice[0]} ...); keep one row each"
        )
    table.index = pd.Index(ids)
    absent = sorted(set(names) - set(ids))
    if absent:
        message = "recordings without a row in the table of outcomes; their outcome is not known"
        reading.findings.append(Finding("", "missing", len(absent), f"{path.name}: {', '.join(absent[:3])}", message))
    columns = [_outcome(one, table, path.name, reading) for one in config.outcomes]
    return np.stack(columns, axis=1).astype(np.float32), [path]


def _outcome(one: EventOutcomeConfig, table: pd.DataFrame, file: str, reading: _Reading) -> np.ndarray:
    column = one.column or one.name
    texts = table[column].str.strip()
    texts = texts[~texts.index.duplicated()].reindex(list(reading.events.names))  # of names that nobody asks for
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64, copy=True)
    bad = (np.isnan(numbers) & (texts.fillna("") != "").to_numpy(bool)) | np.isinf(numbers)
    rows = {str(name): row for row, name in enumerate(table.index, start=2)}
    reading.refusals.extend(
        Refusal(name, file, rows[name], "", column, str(texts.iloc[at]), "not a finite number")
        for at, name in enumerate(reading.events.names)
        if bad[at]
    )
    unknown = numbers == one.unknown if one.unknown is not None else np.zeros(len(numbers), bool)
    return np.where(bad | unknown, np.nan, numbers)
