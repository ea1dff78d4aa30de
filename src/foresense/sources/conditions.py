"""Where machines of known condition come from: one module per source, imported when asked for."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from foresense.signals import file_sha256
from foresense.signals.clips import ConditionSet
from foresense.sources.tables import Finding, Places, Refusal, SourceError

CONDITIONS: dict[str, str] = {  # name -> "module:function", imported when asked for
    "csv": "foresense.sources.condition_tables:read_condition_tables",
    "cwru_bearing": "foresense.sources.bearings:read_bearings",
    "dcase2020_task2": "foresense.sources.machine_sounds:read_dcase2020",
    "image_folders": "foresense.sources.condition_folders:read_image_folders",
    "infrared_modules": "foresense.sources.infrared_modules:read_infrared_modules",
    "mimii": "foresense.sources.machine_sounds:read_mimii",
    "parquet": "foresense.sources.condition_tables:read_condition_tables",
    "synthetic_images": "foresense.sources.synthetic_conditions:simulate_images",
    "synthetic_vibration": "foresense.sources.synthetic_conditions:simulate_vibration",
    "wav_folders": "foresense.sources.condition_folders:read_wav_folders",
}


@dataclass(frozen=True, eq=False)
class FoundConditions:
    """All that a source found.

    Attributes:
        recordings: With their conditions.
        sha256: Digest of the raw files, or of everything that decides a simulation.
        findings: What was wrong or worth knowing and did not stop the source.
        refusals: Every file that was not taken, with its reason.
        facts: What belongs into the manifest: licence, public address, rates that were established.
    """

    recordings: ConditionSet
    sha256: str
    findings: tuple[Finding, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


#: A source: its own section `ingest` and where to look in, recordings out.
ConditionSource = Callable[[Any, Places], FoundConditions]


def load_conditions(name: str) -> ConditionSource:
    """Import the source called `name` in params.yaml.

    Raises:
        SourceError: no such source; the message names the nearest and all known ones.
    """
    if name not in CONDITIONS:
        near = get_close_matches(name, list(CONDITIONS), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(
            f"ingest.source: no source {name!r} of machines{advice} (known: {', '.join(sorted(CONDITIONS))})"
        )
    module, _, function = CONDITIONS[name].partition(":")
    return cast(ConditionSource, getattr(import_module(module), function))


def with_normal_first(conditions: Iterable[str], normal: str, where: str) -> tuple[str, ...]:
    """Classes of one's own: the normal condition, then the others by name.

    Raises:
        SourceError: the normal one is not there, or no other one.
    """
    found = sorted(set(conditions))
    if normal not in found or len(found) < 2:
        near = get_close_matches(normal, found, n=1)
        advice = f"; did you mean {near[0]!r}?" if near and normal not in found else ""
        raise SourceError(
            f"{where}: expected the condition {normal!r} (ingest.normal) and at least one other, found "
            f"{', '.join(found) or 'none'}{advice}"
        )
    return (normal, *(name for name in found if name != normal))


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over 'digest  path' lines of files below `folder`, in the order of their paths."""
    lines = (f"{file_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def refused(file: str, reason: str) -> Refusal:
    """A file that was not taken."""
    return Refusal(asset="", file=file, row=0, time="", column="", value="", reason=reason)


def counted_files(refusals: list[Refusal]) -> list[Finding]:
    """One finding that says how many files were not taken; none where all were."""
    if not refusals:
        return []
    return [Finding("", "refused", len(refusals), refusals[0].file, f"files not taken: {refusals[0].reason}")]
