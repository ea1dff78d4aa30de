"""Step `window` of a pipeline of anomaly detectors: recordings cut into clips, and who is held out in which turn."""

from foresense.config.anomaly_pipeline import AnomalyWindowConfig
from foresense.signals import WindowReport, replaced_folder, tree_sha256, write_json
from foresense.signals.clip_turns import write_turns
from foresense.signals.clips import read_conditions
from foresense.steps.frame import StepRun
from foresense.windows.clips import cut_clips, split_clips, split_facts

#: Name of the one group of clips: all machines share a model.
GROUP = "clips"


def window_anomaly(run: StepRun, config: AnomalyWindowConfig) -> WindowReport:
    """Cut recordings into clips, and give every clip its part in each turn of each split.

    Args:
        run: The step's run.
        config: Section `window`.

    Returns:
        The report, written to `reports/<pipeline>/window.json`, with one entry for each turn, `<split>/<number>`;
        clips and parts lie in `data/windows/<pipeline>/clips/`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        SignalError: no recording holds a clip, or a split that leaves a part without normal or anomalous clips.
    """
    found = read_conditions(run.paths.recordings)
    recordings_sha256 = tree_sha256(run.paths.recordings)
    clips = cut_clips(found, config.clips)
    turns = [(name, number, split) for name, splits in config.splits.items() for number, split in enumerate(splits)]
    split = [split_clips(clips, one) for _, _, one in turns]
    with replaced_folder(run.paths.windows) as beside:
        write_turns(beside / GROUP, [name for name, _, _ in turns], split)
        content = {"schema_version": 1, "groups": [GROUP], "recordings_sha256": recordings_sha256}
        write_json(beside / "manifest.json", content)
    return run.finish(
        WindowReport,
        data_sha256=recordings_sha256,
        groups={f"{name}/{number}": split_facts(one) for (name, number, _), one in zip(turns, split, strict=True)},
    )
