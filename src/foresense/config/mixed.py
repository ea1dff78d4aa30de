"""Section `ingest` of a pipeline of mixed recordings: numbers full of holes beside categories that change in time."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from foresense.config.pipeline import ChannelConfig
from foresense.config.section import Section
from foresense.config.tables import TableFilesConfig

#: How the events of one hour become one value. `fraction`: mean of events that are 0 or 1.
Rule = Literal["mean", "last", "sum", "max", "min", "fraction"]


class AirQualityIngestConfig(Section):
    """Hourly CSV files of stations, in the layout of the Beijing multi-site set."""

    source: Literal["air_quality"]
    raw: str = "beijing_air_quality"  # folder below data/raw
    files: str = "PRSA_Data_*.csv"
    time_zone: str = "Asia/Shanghai"  # of the files' clock, which they do not name
    stations: tuple[str, ...] | None = None  # which are used; absent: all that are found
    first_hours: PositiveInt | None = None  # only so many of each station


class _Limited(Section):
    """A numeric value with the limits of what can be true."""

    name: str
    unit: str
    parameter: str | None = None  # in the table; absent: `name`
    low: float | None = None  # a value below is refused, counted and missing
    high: float | None = None  # a value above likewise
    unknown: float | None = None  # a value that says: not known

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.name}: low ({self.low:g}) is above high ({self.high:g})")
        return self


class EventChannelConfig(_Limited):
    """A channel of numbers that is measured now and then."""

    rule: Rule = "mean"


class EventStaticConfig(_Limited):
    """A number that does not change: its event at time 0."""


class EventCategoryConfig(Section):
    """A category: its newest event of the hour, or its event at time 0 where it does not change."""

    name: str
    parameter: str | None = None  # in the table; absent: `name`
    values: dict[str, str] | None = None  # as found -> its name; others are refused; absent: as found, all taken
    unknown: str | None = None  # as found: not known


class EventOutcomeConfig(Section):
    """A column of the table of outcomes."""

    name: str
    unit: str = "1"
    column: str | None = None  # absent: `name`
    unknown: float | None = None  # a value that says: not known


class EventTablesIngestConfig(Section):
    """Tables of events, one row for each: which recording, when, which parameter, which value."""

    source: Literal["event_tables"]
    raw: str  # folder below data/raw
    files: str = "*.csv"
    id_column: str | None = "id"  # null: each file is one recording, named after the file
    time_column: str = "time"
    parameter_column: str = "parameter"
    value_column: str = "value"
    time_format: Literal["hh:mm", "hours", "minutes", "seconds"] = "hours"  # since the begin of the recording
    n_hours: PositiveInt = 48  # of the grid; later events are counted and not used
    channels: tuple[EventChannelConfig, ...] = ()
    categories: tuple[EventCategoryConfig, ...] = ()
    static_numeric: tuple[EventStaticConfig, ...] = ()
    static_categorical: tuple[EventCategoryConfig, ...] = ()
    hours_since: bool = True  # adds `<name> hours since` for every channel of numbers
    ignored: tuple[str, ...] = ()  # parameters that nobody asks for; others are reported
    id_parameter: str | None = None  # a parameter whose value at time 0 must be the name of the recording
    outcomes_file: str | None = None  # below `raw`
    outcomes_id_column: str = "id"
    outcomes: tuple[EventOutcomeConfig, ...] = ()
    first_recordings: PositiveInt | None = None  # only so many, in the order of their names

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        numeric = [one.name for one in self.channels]
        numeric += [f"{one.name} hours since" for one in self.channels] if self.hours_since else []
        changing = numeric + [one.name for one in self.categories]
        static = [one.name for one in self.static_numeric] + [one.name for one in self.static_categorical]
        for names in (changing, static, [one.name for one in self.outcomes]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"channels {twice} stand there twice; rename one")
        if not changing:
            raise ValueError("neither channels nor categories; name at least one parameter of the table")
        if (self.outcomes_file is None) != (not self.outcomes):
            raise ValueError("outcomes and outcomes_file go together; give both or none")
        return self


class Physionet2012IngestConfig(Section):
    """Stays of the PhysioNet/CinC Challenge 2012; what their parameters are stands in the source."""

    source: Literal["physionet2012"]
    raw: str = "physionet2012_icu"
    n_hours: int = Field(default=48, ge=1, le=48)
    hours_since: bool = True
    first_recordings: PositiveInt | None = None


class HoleConfig(Section):
    """Values that are taken away from a simulation."""

    kind: Literal["random", "block", "channel"]
    share: float = Field(ge=0, le=1)  # of the values (kind `channel`: of the courses) that are still there


class MixedSyntheticIngestConfig(Section):
    """Simulated mixed recordings whose outcome follows a rule; sizes of D-7 in the requirements."""

    source: Literal["mixed_synthetic"]
    raw: None = None  # reads no files
    n_recordings: int = Field(default=1000, ge=6)
    n_steps: int = Field(default=64, ge=4)
    n_numeric: NonNegativeInt = 4
    n_categorical: NonNegativeInt = 2
    n_values: int = Field(default=5, ge=2)  # of each category: 0 .. n_values - 1
    task: Literal["classification", "regression"] = "classification"
    n_classes: int = Field(default=3, ge=2)  # as many recordings of each, to one
    rule: Literal["sum", "product", "none"] = "sum"  # of course and category; `product`: neither alone tells the sign
    noise: NonNegativeFloat = 0.1  # deviation of what is added to the rule's score, which has deviation 1
    holes: tuple[HoleConfig, ...] = ()  # in this order
    unlabelled: float = Field(default=0.0, ge=0, le=1)  # share of recordings without an outcome
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _rule_has_its_channels(self) -> Self:
        n_kinds = (self.n_numeric > 0) + (self.n_categorical > 0)
        if n_kinds < (2 if self.rule == "product" else 1):
            raise ValueError(
                f"rule {self.rule!r} with {self.n_numeric} numeric and {self.n_categorical} categorical channels; "
                "'product' needs both kinds, the others one"
            )
        return self


class TableChannelConfig(ChannelConfig):
    """A column of numbers."""

    rule: Literal["mean", "last", "sum", "max", "min"] = "mean"  # of the rows of one step
    low: float | None = None  # a value below, in `unit`, is refused, counted and missing
    high: float | None = None  # a value above likewise


class TableCategoryConfig(Section):
    """A column of words; of several in one step the newest."""

    name: str
    column: str | None = None  # absent: `name`
    values: dict[str, str] | None = Field(default=None, min_length=1)  # as EventCategoryConfig has them
    unknown: str | None = None  # as found: not known


class TableLabelConfig(Section):
    """A column of words that becomes a channel of numbers, to be asked for some steps ahead: 0 is the first class."""

    name: str
    column: str | None = None  # absent: `name`
    classes: tuple[str, ...] = Field(min_length=2)  # as found; other words are refused


class TableOutcomeConfig(Section):
    """A column that says the same in each row of a recording: what became of it."""

    name: str
    unit: str = "1"
    column: str | None = None  # absent: `name`
    classes: tuple[str, ...] = ()  # as found, if they are words: 0 is the first class; absent: numbers


class MixedTablesIngestConfig(TableFilesConfig):
    """Rows with a time, at any rate: one's own CSV or Parquet files. Each asset is a recording."""

    time_column: str = "time"
    interval_s: float = Field(gt=0, allow_inf_nan=False)  # one step every so many seconds
    n_steps: PositiveInt | None = None  # of each recording, from its first row on; absent: up to its last row
    channels: tuple[TableChannelConfig, ...] = ()
    categories: tuple[TableCategoryConfig, ...] = ()
    labels: tuple[TableLabelConfig, ...] = ()
    outcomes: tuple[TableOutcomeConfig, ...] = ()
    first_recordings: PositiveInt | None = None  # only so many, in the order of their names

    @property
    def changing(self) -> list[str]:
        """Names of what has a value in each step."""
        names = [one.name for one in self.channels] + [one.name for one in self.labels]
        return names + [one.name for one in self.categories]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for names in (self.changing, [one.name for one in self.outcomes]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"channels {twice} stand there twice; rename one")
        if not self.channels and not self.categories:
            raise ValueError("neither channels nor categories; name at least one column of the table")
        return self


MixedIngestConfig = Annotated[
    AirQualityIngestConfig
    | EventTablesIngestConfig
    | MixedTablesIngestConfig
    | Physionet2012IngestConfig
    | MixedSyntheticIngestConfig,
    Field(discriminator="source"),
]


class MixedSchemaConfig(Section):
    """Part `channels` of section `window`: which ones a model sees; null: all of a kind, []: none."""

    numeric: tuple[str, ...] | None = None
    categorical: tuple[str, ...] | None = None
    static_numeric: tuple[str, ...] | None = None
    static_categorical: tuple[str, ...] | None = None
