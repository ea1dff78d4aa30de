"""Step `window` of a pipeline of mixed recordings: windows, their parts, and the schema of each training part."""

from foresense.config.mixed_pipeline import MixedWindowConfig
from foresense.signals import WindowReport, replaced_folder, tree_sha256, write_json
from foresense.signals.mixed import open_mixed
from foresense.signals.mixed_windows import write_mixed_windows
from foresense.steps.frame import StepRun
from foresense.windows.mixed import build_mixed_windows

#: Name of the one group of windows: all recordings share a model.
GROUP = "recordings"


def window_mixed(run: StepRun, config: MixedWindowConfig) -> WindowReport:
    """Cut the recordings of one pipeline into windows, and fit schemas on their training parts.

    Args:
        run: The step's run.
        config: Section `window`.

    Returns:
        The report, written to `reports/<pipeline>/window.json`; windows and schemas lie in
        `data/windows/<pipeline>/recordings/`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        SignalError: as of `build_mixed_windows`.
    """
    found = open_mixed(run.paths.recordings)
    recordings_sha256 = tree_sha256(run.paths.recordings)
    windows, facts = build_mixed_windows(found, config)
    with replaced_folder(run.paths.windows) as beside:
        write_mixed_windows(beside / GROUP, windows)
        manifest = {"schema_version": 1, "groups": [GROUP], "recordings_sha256": recordings_sha256}
        write_json(beside / "manifest.json", manifest)
    return run.finish(WindowReport, data_sha256=recordings_sha256, seed=config.seed, groups={GROUP: facts})
