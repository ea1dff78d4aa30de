"""Where minutes of activity of people come from: one module per source, imported when asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import cast

import numpy as np

from foresense.config.actigraphy import ActigraphyIngestConfig
from foresense.signals import Recording
from foresense.signals.actigraphy import ActivityUnit, Minutes, gather_minutes
from foresense.sources.tables import Finding, Places, Refusal, SourceError

ACTIGRAPHY: dict[str, str] = {  # name -> "module:function", imported when asked for
    "depresjon": "foresense.sources.depresjon:read_depresjon",
    "nhanes_unidata": "foresense.sources.nhanes_unidata:read_nhanes_unidata",
}


@dataclass(frozen=True)
class Person:
    """What is known of one person beside the activity.

    Attributes:
        name: That of the recording.
        label: Class of the person; None where nobody says.
        facts: Other columns as found, without those that are empty.
    """

    name: str
    label: str | None
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FoundActigraphy:
    """All that a source found.

    Attributes:
        recordings: One for each person, one channel `activity`, a sample every 60 s, NaN where nothing was recorded.
        people: In the same order.
        unit: Of the samples.
        has_time: Whether dates and the time zone are real; else only the day of the week and the minute of the day are.
        sha256: Digest of the raw files.
        findings: What was wrong and did not stop the source.
        refusals: Every row that was not taken.
        facts: What belongs into the manifest: licence, citation.
    """

    recordings: tuple[Recording, ...]
    people: tuple[Person, ...]
    unit: ActivityUnit
    has_time: bool
    sha256: str
    findings: tuple[Finding, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)

    def minutes(self) -> Minutes:
        """All people as rows."""
        return gather_minutes(self.recordings, self.unit)

    def labels(self) -> np.ndarray:
        """(n_people,), str: label of each person; empty where there is none."""
        return np.array([person.label or "" for person in self.people], dtype=object)


ActigraphySource = Callable[[ActigraphyIngestConfig, Places], FoundActigraphy]


def load_actigraphy(name: str) -> ActigraphySource:
    """Import the source called `name` in params.yaml.

    Raises:
        SourceError: no such source; the message names the nearest and all known ones.
    """
    if name not in ACTIGRAPHY:
        near = get_close_matches(name, list(ACTIGRAPHY), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(
            f"ingest.source: no source {name!r} of actigraphy{advice} (known: {', '.join(sorted(ACTIGRAPHY))})"
        )
    module, _, function = ACTIGRAPHY[name].partition(":")
    return cast(ActigraphySource, getattr(import_module(module), function))


def require_unit(config: ActigraphyIngestConfig, found: ActivityUnit, who: str) -> None:
    """Refuse a declared unit that is not that of the files.

    Raises:
        SourceError: another unit.
    """
    if config.unit != found:
        raise SourceError(f"ingest.unit: {who} holds {found}, params.yaml says {config.unit!r}; set unit: {found}")
