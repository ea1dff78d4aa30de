"""Where mixed recordings come from: one module per source, imported when asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, cast

from foresense.signals.mixed import MixedSet
from foresense.sources.tables import Finding, Places, Refusal, SourceError

MIXED: dict[str, str] = {  # name -> "module:function", imported when asked for
    "air_quality": "foresense.sources.air_quality:read_air_quality",
    "csv": "foresense.sources.mixed_tables:read_mixed_tables",
    "event_tables": "foresense.sources.event_tables:read_event_tables",
    "mixed_synthetic": "foresense.sources.mixed_synthetic:simulate_mixed",
    "parquet": "foresense.sources.mixed_tables:read_mixed_tables",
    "physionet2012": "foresense.sources.physionet2012:read_physionet2012",
}


@dataclass(frozen=True, eq=False)
class FoundMixed:
    """All that a source found.

    Attributes:
        recordings: With codes of all values that were found; a schema fitted on the training part encodes them again.
        sha256: Digest of the raw files, or of everything that decides a simulation.
        findings: What was wrong and did not stop the source.
        refusals: Every row and cell that was not taken, with its reason.
        facts: What belongs into the manifest: licence, public address.
    """

    recordings: MixedSet
    sha256: str
    findings: tuple[Finding, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


#: A source: its own section `ingest` and where to look in, recordings out.
MixedSource = Callable[[Any, Places], FoundMixed]


def load_mixed(name: str) -> MixedSource:
    """Import the source called `name` in params.yaml.

    Raises:
        SourceError: no such source; the message names the nearest and all known ones.
    """
    if name not in MIXED:
        near = get_close_matches(name, list(MIXED), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(
            f"ingest.source: no source {name!r} of mixed recordings{advice} (known: {', '.join(sorted(MIXED))})"
        )
    module, _, function = MIXED[name].partition(":")
    return cast(MixedSource, getattr(import_module(module), function))


def files_of(raw: Path, folder: str, pattern: str) -> tuple[Path, list[Path]]:
    """The folder of a raw set and the files in it that match.

    Raises:
        SourceError: a pattern that leaves the folder.
        FileNotFoundError: no file matches.
    """
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
        raise SourceError(f"ingest.files: {pattern!r} must stay below data/raw/{folder}/")
    place = raw / folder
    files = sorted(path for path in place.glob(pattern) if path.is_file()) if place.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f"{place}: no file matches {pattern!r}; run `foresense fetch <pipeline>` if the set is a public one, "
            "else put the files there"
        )
    return place, files


def counted(refusals: list[Refusal]) -> list[Finding]:
    """One finding for each column and reason, with the first places, so that a report need not list every cell."""
    kinds: dict[tuple[str, str], list[Refusal]] = {}
    for refusal in refusals:
        kinds.setdefault((refusal.column, refusal.reason), []).append(refusal)
    return [
        Finding(
            "",
            "refused",
            len(found),
            ", ".join(f"{first.file}:{first.row} ({first.value!r})" for first in found[:3]),
            f"column {column!r}: {reason}; not taken, see refused.csv",
        )
        for (column, reason), found in sorted(kinds.items())
    ]
