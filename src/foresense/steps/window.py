"""Step `window`: recordings in, windows by group out."""

import logging
from typing import Any

from foresense.config import WindowConfig
from foresense.signals import (
    Recording,
    SignalError,
    WindowReport,
    Windows,
    read_json,
    read_recordings,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.steps.frame import StepRun
from foresense.windows import build_windows, write_windows

LOG = logging.getLogger(__name__)


def window(run: StepRun, config: WindowConfig) -> WindowReport:
    """Split by time, impute, scale and index the recordings of one pipeline.

    Args:
        run: The step's run.
        config: Section `window`.

    A group that has no windows is left out, with the reason in report and manifest; the others go on.

    Returns:
        The report, written to `reports/<pipeline>/window.json`; the windows lie in `data/windows/<pipeline>/`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        SignalError: too few rows, or a part without any window, in every group; their problems together.
    """
    recordings = read_recordings(run.paths.recordings)
    recordings_sha256 = tree_sha256(run.paths.recordings)
    left_out = dict(read_json(run.paths.recordings / "manifest.json").get("left_out", {}))
    built, facts = _build_all(_by_group(recordings, config), config, left_out)
    folders = _folder_names(list(built))
    facts |= {group: {"left_out": reason} for group, reason in left_out.items()}
    with replaced_folder(run.paths.windows) as beside:
        for group, windows in built.items():
            write_windows(beside / folders[group], windows)
        manifest = {"schema_version": 1, "groups": list(folders.values()), "recordings_sha256": recordings_sha256}
        write_json(beside / "manifest.json", manifest | ({"left_out": left_out} if left_out else {}))
    return run.finish(WindowReport, data_sha256=recordings_sha256, groups=facts)


def _by_group(recordings: list[Recording], config: WindowConfig) -> dict[str, list[Recording]]:
    if config.group == "all":
        return {"all": recordings}
    assets = sorted({recording.asset for recording in recordings})
    return {asset: [found for found in recordings if found.asset == asset] for asset in assets}


def _build_all(
    groups: dict[str, list[Recording]], config: WindowConfig, left_out: dict[str, str]
) -> tuple[dict[str, Windows], dict[str, dict[str, Any]]]:
    """Windows and facts of every group that has some; the reasons of the others go into `left_out`."""
    built: dict[str, Windows] = {}
    facts: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    for group, recordings in groups.items():
        try:
            built[group], facts[group] = build_windows(group, recordings, config)
        except SignalError as error:
            problems[group] = str(error)
    if not built:
        raise SignalError("\n".join(problems.values()))
    for group, reason in problems.items():
        LOG.warning("%s: left out: %s", group, reason)
    left_out |= problems
    return built, facts


def _folder_names(groups: list[str]) -> dict[str, str]:
    """A folder name for every group: its letters, digits, '-' and '_'.

    Raises:
        SignalError: two groups would share a folder.
    """
    names: dict[str, str] = {}
    for group in groups:
        name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in group)
        if name in names.values():
            other = next(known for known, taken in names.items() if taken == name)
            raise SignalError(f"assets {other!r} and {group!r} would share the folder {name!r}; rename one in ingest")
        names[group] = name
    return names
