"""Step `window` of an activity pipeline: windows of one label, people dealt into groups."""

from foresense.config.activity import ActivityWindowConfig
from foresense.signals import WindowReport, replaced_folder, tree_sha256, write_json
from foresense.signals.labelled import read_labelled, write_labelled_windows
from foresense.steps.frame import StepRun
from foresense.windows.labelled import build_labelled_windows

#: Name of the one group of windows: all people share a model.
GROUP = "people"


def window_activity(run: StepRun, config: ActivityWindowConfig) -> WindowReport:
    """Cut the recordings of one pipeline into windows and deal its people into groups.

    Args:
        run: The step's run.
        config: Section `window`.

    Returns:
        The report, written to `reports/<pipeline>/window.json`; windows lie in `data/windows/<pipeline>/people/`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        SignalError: no window, a class without one, or fewer people than groups.
    """
    found = read_labelled(run.paths.recordings)
    recordings_sha256 = tree_sha256(run.paths.recordings)
    windows, facts = build_labelled_windows(found, config)
    with replaced_folder(run.paths.windows) as beside:
        write_labelled_windows(beside / GROUP, windows)
        manifest = {"schema_version": 1, "groups": [GROUP], "recordings_sha256": recordings_sha256}
        write_json(beside / "manifest.json", manifest)
    return run.finish(WindowReport, data_sha256=recordings_sha256, seed=config.seed, groups={GROUP: facts})
