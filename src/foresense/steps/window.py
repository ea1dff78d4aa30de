"""Step `window`: recordings in, windows by group out."""

from typing import Any

from foresense.config import WindowConfig
from foresense.signals import (
    Recording,
    SignalError,
    WindowReport,
    Windows,
    read_recordings,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.steps.frame import StepRun
from foresense.windows import build_windows, write_windows


def window(run: StepRun, config: WindowConfig) -> WindowReport:
    """Split by time, impute, scale and index the recordings of one pipeline.

    Args:
        run: The step's run.
        config: Section `window`.

    Returns:
        The report, written to `reports/<pipeline>/window.json`; the windows lie in `data/windows/<pipeline>/`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        SignalError: too few rows, or a part without any window; the problems of all groups together.
    """
    recordings = read_recordings(run.paths.recordings)
    recordings_sha256 = tree_sha256(run.paths.recordings)
    built, facts = _build_all(_by_group(recordings, config), config)
    folders = _folder_names(list(built))
    with replaced_folder(run.paths.windows) as beside:
        for group, windows in built.items():
            write_windows(beside / folders[group], windows)
        write_json(
            beside / "manifest.json",
            {"schema_version": 1, "groups": list(folders.values()), "recordings_sha256": recordings_sha256},
        )
    return run.finish(WindowReport, data_sha256=recordings_sha256, groups=facts)


def _by_group(recordings: list[Recording], config: WindowConfig) -> dict[str, list[Recording]]:
    if config.group == "all":
        return {"all": recordings}
    assets = sorted({recording.asset for recording in recordings})
    return {asset: [found for found in recordings if found.asset == asset] for asset in assets}


def _build_all(
    groups: dict[str, list[Recording]], config: WindowConfig
) -> tuple[dict[str, Windows], dict[str, dict[str, Any]]]:
    built: dict[str, Windows] = {}
    facts: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for group, recordings in groups.items():
        try:
            built[group], facts[group] = build_windows(group, recordings, config)
        except SignalError as error:
            problems.append(str(error))
    if problems:
        raise SignalError("\n".join(problems))
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
