"""Sections of a pipeline of minute actigraphy: where it is from, when it was worn, which weeks and days count."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from foresense.config.section import Section


class ActigraphyIngestConfig(Section):
    """Section `ingest`: minutes of activity of people."""

    source: str  # a name in sources.actigraphy.ACTIGRAPHY
    raw: str | None = None  # folder below data/raw; absent: that of the source's own set
    time_zone: str | None = None  # IANA name of the files' clock; absent: that of the source
    unit: Literal["counts", "mims", "enmo", "unknown"] = "counts"
    first_people: PositiveInt | None = None  # only so many of each label, in the order of their names


class WearConfig(Section):
    """When a counter was not worn (Choi et al. 2011), and which days count."""

    window_min: PositiveInt = 90  # of no movement that are not worn
    interruption_min: NonNegativeInt = 2  # so many minutes in a row may move inside
    stream_min: NonNegativeInt = 30  # with no movement for so long before and after them
    idle: float = Field(default=0.0, ge=0, allow_inf_nan=False)  # activity up to here is no movement
    stuck_min: int = Field(default=120, ge=2)  # one value above `idle` for so long is not worn either
    min_wear_h: float = Field(default=10.0, ge=0, le=24)  # of a day that counts
    min_valid_days: PositiveInt = 4  # of a recording, or a week, that counts


class WeekConfig(Section):
    """Which stretches of seven days by the wall clock become weeks for a model."""

    stride_days: int = Field(default=7, ge=1, le=7)  # from the begin of one week to that of the next
    max_missing_min: NonNegativeInt = 60  # filled from the other days: the hour that the clock skips in spring
