"""Step `window` of a pipeline of minute actigraphy: weeks that count, who is held out when, and the references."""

from collections import Counter
from typing import Any

import numpy as np

from foresense.config.actigraphy_pipeline import ActigraphyWindowConfig
from foresense.signals import (
    SignalError,
    WindowReport,
    read_json,
    read_recordings,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.signals.actigraphy import gather_minutes
from foresense.signals.weeks import TEST, TRAIN, VALIDATION, WeekWindows, write_week_windows
from foresense.steps.frame import StepRun
from foresense.windows.minute_scaler import fit_minute_scaler
from foresense.windows.wear import find_wear
from foresense.windows.weeks import cut_weeks

#: Name of the one group of windows: all people share a model.
GROUP = "weeks"


def window_actigraphy(run: StepRun, config: ActigraphyWindowConfig) -> WindowReport:
    """Cut recordings into weeks, deal people into groups, fit the reference of each turn on its training people.

    Args:
        run: The step's run.
        config: Section `window`.

    Returns:
        The report, written to `reports/<pipeline>/window.json`; weeks and `scaler-<turn>.safetensors` lie in
        `data/windows/<pipeline>/weeks/`.

    Raises:
        FileNotFoundError: the step `ingest` has not finished.
        SignalError: a label that nobody has, or fewer people of a label than groups.
        WeekError: a minute of the week without a deviation.
    """
    recordings = read_recordings(run.paths.recordings)
    manifest = read_json(run.paths.recordings / "manifest.json")
    recordings_sha256 = tree_sha256(run.paths.recordings)
    minutes = gather_minutes(recordings, manifest["unit"])
    wear = find_wear(minutes, config.wear)
    weeks, refused = cut_weeks(minutes, wear, config.weeks)
    by_name = {one["name"]: one["label"] for one in manifest["people"]}
    with_weeks = np.unique(weeks.owners)
    people = tuple(minutes.people[row] for row in with_weeks)
    labels = np.array([int(by_name[name] == config.positive) for name in people], np.int64)
    windows = WeekWindows(
        values=weeks.values.astype(np.float32),
        owners=np.searchsorted(with_weeks, weeks.owners),
        first_days=weeks.first_days,
        people=people,
        labels=labels,
        roles=deal(labels, config),
        unit=minutes.unit,
        positive=config.positive,
        device=config.device,
    )
    with replaced_folder(run.paths.windows) as beside:
        write_week_windows(beside / GROUP, windows)
        for turn in range(len(windows.roles)):
            rows = windows.weeks_of(turn, TRAIN)
            scaler = fit_minute_scaler(
                weeks.values[rows],
                windows.weekdays[rows],
                windows.owners[rows],
                unit=windows.unit,
                device=windows.device,
                pool_min=config.pool_min,
            )
            scaler.save(beside / GROUP / f"scaler-{turn}.safetensors")
        rules = {"wear": config.wear.model_dump(mode="json"), "weeks": config.weeks.model_dump(mode="json")}
        write_json(beside / GROUP / "rules.json", rules)
        content = {"schema_version": 1, "groups": [GROUP], "recordings_sha256": recordings_sha256}
        write_json(beside / "manifest.json", content)
    facts = {
        **_facts(windows),
        "n_people_without_a_week": len(minutes.people) - len(people),
        "refused": dict(Counter(one.reason for one in refused).most_common()),
        "n_filled_minutes": int(weeks.n_filled.sum()),
        "wear_h": [round(float(value), 1) for value in np.quantile(weeks.wear_h, (0, 0.5, 1))],
    }
    return run.finish(WindowReport, data_sha256=recordings_sha256, seed=config.seed, groups={GROUP: facts})


def deal(labels: np.ndarray, config: ActigraphyWindowConfig) -> np.ndarray:
    """Deal people into groups, label by label, and give each of them each role in turn.

    Args:
        labels: (n_people,), of 0 and 1.
        config: How many groups and dealings.

    Returns:
        (n_repeats * n_folds, n_people), int8: in turn k of a dealing group k tests, group k + 1 chooses.

    Raises:
        SignalError: fewer people of a label than groups.
    """
    rng = np.random.default_rng(config.seed)
    turns = []
    for label, n in enumerate(np.bincount(labels, minlength=2).tolist()):
        if n < config.n_folds:
            what = config.positive if label else f"another label than {config.positive}"
            raise SignalError(
                f"{n} people with {what} have a week that counts, window.n_folds asks for {config.n_folds} groups with "
                "at least one each: correct window.positive, lower n_folds, or bring more people"
            )
    for _ in range(config.n_repeats):
        groups = np.empty(len(labels), np.int64)
        n_dealt = 0
        for label in (0, 1):
            rows = rng.permutation(np.flatnonzero(labels == label))
            groups[rows] = (np.arange(len(rows)) + n_dealt) % config.n_folds  # the next label goes on where one ended
            n_dealt += len(rows)
        for turn in range(config.n_folds):
            roles = np.full(len(labels), TRAIN, np.int8)
            roles[groups == turn] = TEST
            roles[groups == (turn + 1) % config.n_folds] = VALIDATION
            turns.append(roles)
    return np.stack(turns)


def _facts(windows: WeekWindows) -> dict[str, Any]:
    names = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
    turns = range(len(windows.roles))
    return {
        "n_people": len(windows.people),
        "n_positive": int(windows.labels.sum()),
        "n_weeks": len(windows.owners),
        "n_turns": len(windows.roles),
        "people": {name: [len(windows.people_of(turn, role)) for turn in turns] for role, name in names.items()},
        "windows": {name: [len(windows.weeks_of(turn, role)) for turn in turns] for role, name in names.items()},
    }
