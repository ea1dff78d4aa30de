"""Where labelled recordings of people come from: one module per source, imported when asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import cast

from foresense.config.activity import ActivityIngestConfig
from foresense.signals.labelled import LabelledSet
from foresense.sources.tables import Finding, Places, Refusal, SourceError

PEOPLE: dict[str, str] = {  # name -> "module:function", imported when asked for
    "capture24": "foresense.sources.capture24:read_capture24",
    "csv": "foresense.sources.people_tables:read_people_tables",
    "parquet": "foresense.sources.people_tables:read_people_tables",
    "simulated_days": "foresense.sources.wrist_days:simulate_days",
    "subject_files": "foresense.sources.subject_files:read_subject_files",
    "wisdm": "foresense.sources.wisdm:read_wisdm",
}
#: m/s^2 of one g (standard gravity, ISO 80000-3).
STANDARD_GRAVITY = 9.80665


@dataclass(frozen=True, eq=False)
class FoundPeople:
    """All that a source found.

    Attributes:
        labelled: The recordings.
        sha256: Digest of the raw files, or of everything that decides a simulation.
        findings: What was wrong and did not stop the source.
        refusals: Every row that was not taken.
        facts: What belongs into the manifest: licence, public address.
    """

    labelled: LabelledSet
    sha256: str
    findings: tuple[Finding, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


PeopleSource = Callable[[ActivityIngestConfig, Places], FoundPeople]


def load_people(name: str) -> PeopleSource:
    """Import the source called `name` in params.yaml.

    Raises:
        SourceError: no such source; the message names the nearest and all known ones.
    """
    if name not in PEOPLE:
        near = get_close_matches(name, list(PEOPLE), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(f"ingest.source: no source {name!r} of people{advice} (known: {', '.join(sorted(PEOPLE))})")
    module, _, function = PEOPLE[name].partition(":")
    return cast(PeopleSource, getattr(import_module(module), function))


def require_rate(found_hz: float, config: ActivityIngestConfig, where: str) -> None:
    """Refuse samples at another rate than the pipeline asks for.

    Raises:
        SourceError: more than 1 % apart.
    """
    if abs(found_hz / config.rate_hz - 1) > 0.01:
        raise SourceError(
            f"{where}: {found_hz:.4g} samples a second, ingest.rate_hz asks for {config.rate_hz:g}; correct rate_hz, "
            "or resample the files"
        )
