"""From mixed recordings to windows: a channel some steps ahead in parts of time, or an outcome in groups of recordings.

Whatever is fitted, is fitted on the steps of the training part alone.
"""

from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from foresense.config.mixed_pipeline import MixedSplitConfig, MixedWindowConfig
from foresense.signals import PARTS, SignalError
from foresense.signals.mixed import MixedRecording, MixedSet, NumericChannel
from foresense.signals.mixed_columns import MISSING
from foresense.signals.mixed_schema import Stretch, fit_schema
from foresense.signals.mixed_windows import NO_CLASS, NOT_SET, MixedWindows, groups_of

_S_NS = 10**9


@dataclass(frozen=True, eq=False)
class _Cut:
    """Windows before their classes are known; `starts` count from the begin of their recording.

    Attributes:
        starts: (n,), int64.
        owners: (n,), int64: place of the recording.
        parts: (n,), int64: place in PARTS, or -1.
        targets: (n,), float32; NaN: not known.
        times_ns: (n,), int64.
        folds: (n_recordings,), int64, or -1.
        length: Steps of a window.
        training: For each way to choose the parts, the steps that train.
    """

    starts: np.ndarray
    owners: np.ndarray
    parts: np.ndarray
    targets: np.ndarray
    times_ns: np.ndarray
    folds: np.ndarray
    length: int
    training: tuple[tuple[Stretch, ...], ...]


def build_mixed_windows(found: MixedSet, config: MixedWindowConfig) -> tuple[MixedWindows, dict[str, Any]]:
    """Cut windows, choose their parts, and fit a schema on each training part.

    Of a channel: a target lies in its part; a training window lies wholly in the training part; a window of validation
    or test may reach back over the cut, as it will when a model is used. Of an outcome: a window is a whole recording,
    and recordings are dealt into groups that hold each class alike. A window without a target is left out and counted.

    Args:
        found: The recordings, with all of their channels.
        config: Section `window`.

    Returns:
        The windows, and facts for the report.

    Raises:
        SignalError: no such channel or outcome, a set without time that is to be split by it, recordings of different
            lengths, a part without windows, or a class that the training part does not have.
    """
    target, column = _target(found, config)
    cut = _by_recording(found, column, config) if config.split is None else _by_time(found, column, config)
    known = ~np.isnan(cut.targets)
    classes = _classes(cut.targets, config)
    inputs = found.only(**config.channels.model_dump())
    first = np.cumsum([0, *(one.n_steps for one in inputs.recordings)])
    windows = MixedWindows(
        numeric=np.concatenate([one.numeric for one in inputs.recordings]),
        categories=np.concatenate([one.categories for one in inputs.recordings]),
        static_numeric=np.stack([one.static_numeric for one in inputs.recordings]),
        static_categories=np.stack([one.static_categories for one in inputs.recordings]),
        starts=(cut.starts + first[cut.owners])[known],
        targets=cut.targets[known],
        classes=classes[known],
        times_ns=cut.times_ns[known],
        owners=cut.owners[known],
        parts=cut.parts[known],
        folds=cut.folds,
        schemas=tuple(fit_schema(inputs, stretches) for stretches in cut.training),
        categorical=inputs.categorical,
        static_categorical=inputs.static_categorical,
        length=cut.length,
        ahead=config.ahead,
        target=target,
        class_names=config.bin_names,
        recordings=tuple(one.name for one in inputs.recordings),
        has_time=inputs.has_time,
        time_zone=inputs.time_zone,
    )
    _require_windows(windows)
    return windows, _facts(windows, inputs, cut)


def deal_recordings(outcomes: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """(n,), int64: a group for each recording; sizes, and those of each outcome, at most one apart.

    Outcomes are laid in order, equal ones in a random order, and dealt like cards; so that of values, too, every group
    has low and high ones. Unknown outcomes are dealt last.

    Args:
        outcomes: (n,), NaN: not known.
        n_folds: How many groups.
        seed: Of the order, and of which group is dealt first.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(outcomes))
    order = shuffled[np.argsort(outcomes[shuffled], kind="stable")]
    folds = np.empty(len(outcomes), np.int64)
    folds[order] = rng.permutation(n_folds)[np.arange(len(outcomes)) % n_folds]
    return folds


def _target(found: MixedSet, config: MixedWindowConfig) -> tuple[NumericChannel, int]:
    """The channel or outcome that is asked for, and its column."""
    own, other = (found.outcomes, found.numeric) if config.is_outcome else (found.numeric, found.outcomes)
    kind = "outcome" if config.is_outcome else "numeric channel"
    names = [one.name for one in own]
    if config.target in names:
        return own[names.index(config.target)], names.index(config.target)
    if config.target in [one.name for one in other]:
        advice = "say how many steps `ahead`" if config.is_outcome else "leave `ahead` out"
        raise SignalError(
            f"window.target: {config.target!r} is no {kind}, but {'a channel' if config.is_outcome else 'an outcome'}; "
            f"{advice}"
        )
    near = get_close_matches(config.target, names, n=1)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    raise SignalError(f"window.target: no {kind} {config.target!r}{advice} (known: {names})")


def _by_time(found: MixedSet, column: int, config: MixedWindowConfig) -> _Cut:
    if config.split is None or config.length is None or config.ahead is None:
        raise AssertionError("unreachable: the section gives all three with a channel")
    if not found.has_time:
        raise SignalError("window.split: these recordings have no real time; deal them into groups by an outcome")
    span, step_ns = config.length - 1 + config.ahead, round(found.interval_s * _S_NS)
    places: list[np.ndarray] = []
    owners, parts, training = [], [], []
    for owner, one in enumerate(found.recordings):
        steps = _steps_of_parts(one, config.split, found.time_zone, step_ns)
        for part, (first, end) in enumerate(steps):
            stride = config.stride if part == 0 else config.stride_evaluation
            places.append(np.arange(max(first, span), end, stride, dtype=np.int64))
            owners.append(np.full(len(places[-1]), owner, np.int64))
            parts.append(np.full(len(places[-1]), part, np.int64))
        if steps[0][1]:
            training.append(Stretch(owner, 0, steps[0][1]))
    if not training:
        raise SignalError(f"no step before window.split.train_until ({config.split.train_until}); choose a later date")
    place, owner_of = np.concatenate(places), np.concatenate(owners)
    begins = np.array([one.start_ns for one in found.recordings], np.int64)
    targets = np.concatenate(
        [found.recordings[int(own)].numeric[at, column] for own, at in _by_owner(owner_of, place)] or [np.zeros(0)]
    )
    return _Cut(
        starts=place - span,
        owners=owner_of,
        parts=np.concatenate(parts),
        targets=targets.astype(np.float32),
        times_ns=begins[owner_of] + place * step_ns,
        folds=np.full(len(found.recordings), NOT_SET, np.int64),
        length=config.length,
        training=(tuple(training),),
    )


def _by_owner(owners: np.ndarray, places: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(int(owner), places[owners == owner]) for owner in np.unique(owners)]


def _steps_of_parts(
    one: MixedRecording, split: MixedSplitConfig, time_zone: str, step_ns: int
) -> tuple[tuple[int, int], ...]:
    """First step and step after the last of each part; a step that a cut goes through belongs to none."""
    before, after = [], []
    for day in (split.train_until, split.validation_until):
        since_ns = _midnight_ns(day, time_zone) - one.start_ns
        before.append(min(max(since_ns // step_ns, 0), one.n_steps))
        after.append(min(max(-(-since_ns // step_ns), 0), one.n_steps))
    return (0, before[0]), (after[0], before[1]), (after[1], one.n_steps)


def _midnight_ns(day: date, time_zone: str) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone)).timestamp()) * _S_NS


def _by_recording(found: MixedSet, column: int, config: MixedWindowConfig) -> _Cut:
    if config.n_folds is None:
        raise AssertionError("unreachable: the section gives it with an outcome")
    lengths = sorted({one.n_steps for one in found.recordings})
    if len(lengths) > 1:
        raise SignalError(
            f"recordings have {lengths[0]} to {lengths[-1]} steps; a window of an outcome is a whole recording, all of "
            "one length: lay them on one grid in `ingest`"
        )
    targets = np.array([one.outcomes[column] for one in found.recordings], np.float32)
    _require_recordings(targets, config)
    n, n_folds = len(targets), config.n_folds
    folds = deal_recordings(targets, n_folds, config.seed)
    end_ns = round(found.interval_s * _S_NS) * lengths[0]
    times = [one.start_ns + end_ns if found.has_time else 0 for one in found.recordings]
    return _Cut(
        starts=np.zeros(n, np.int64),
        owners=np.arange(n, dtype=np.int64),
        parts=np.full(n, NOT_SET, np.int64),
        targets=targets,
        times_ns=np.array(times, np.int64),
        folds=folds,
        length=lengths[0],
        training=tuple(
            tuple(
                Stretch(int(place), 0, lengths[0])
                for place in np.flatnonzero(np.isin(folds, groups_of("train", fold, n_folds)))
            )
            for fold in range(n_folds)
        ),
    )


def _require_recordings(targets: np.ndarray, config: MixedWindowConfig) -> None:
    n_known = int((~np.isnan(targets)).sum())
    if n_known < (config.n_folds or 0):
        raise SignalError(
            f"window.n_folds is {config.n_folds}, but only {n_known} of {len(targets)} recordings have a known "
            f"{config.target!r}; every group needs one: lower n_folds, or bring more recordings"
        )
    classes = _classes(targets, config)
    for number, name in enumerate(config.bin_names):
        n_own = int((classes[~np.isnan(targets)] == number).sum())
        if n_own < (config.n_folds or 0):
            raise SignalError(
                f"class {name!r} of {config.target!r} has {n_own} recordings, but window.n_folds is {config.n_folds}: "
                "every group needs one of each; lower n_folds, or join classes"
            )


def _classes(targets: np.ndarray, config: MixedWindowConfig) -> np.ndarray:
    """(n,), int64; of an unknown target -1.

    Raises:
        SignalError: an outcome with names of classes is none of their numbers.
    """
    known = ~np.isnan(targets)
    classes = np.full(len(targets), NO_CLASS, np.int64)
    if config.bins:
        classes[known] = np.searchsorted(np.array(config.bins, np.float32), targets[known], side="left")
    elif config.bin_names:
        numbers = targets[known]
        wrong = numbers[~np.isin(numbers, np.arange(len(config.bin_names)))]
        if len(wrong):
            raise SignalError(
                f"{config.target!r} is {wrong[0]:g}, expected a number of the {len(config.bin_names)} classes that "
                f"window.bin_names names, 0 .. {len(config.bin_names) - 1}; correct bin_names, or give bins"
            )
        classes[known] = numbers.astype(np.int64)
    return classes


def _require_windows(windows: MixedWindows) -> None:
    for fold in range(windows.n_folds):
        counts = {part: len(windows.of_part(part, fold)) for part in PARTS}
        if not all(counts.values()):
            raise SignalError(
                f"windows by part: {counts}; every part needs some: move window.split, or shorten window.length or "
                "window.ahead"
            )
        training = windows.classes[windows.of_part("train", fold)]
        absent = [name for number, name in enumerate(windows.class_names) if not (training == number).any()]
        if absent:
            raise SignalError(f"no training window of the classes {absent}; join window.bins, or move window.split")


def _facts(windows: MixedWindows, inputs: MixedSet, cut: _Cut) -> dict[str, Any]:
    is_unknown = np.isnan(cut.targets)
    found: dict[str, Any] = {
        "target": {"name": windows.target.name, "unit": windows.target.unit, "ahead": windows.ahead},
        "length": windows.length,
        "n_recordings": len(windows.recordings),
        "n_windows": len(windows.starts),
    }
    if windows.folds[0] == NOT_SET:
        parts = {part: windows.of_part(part) for part in PARTS}
        found |= {
            "windows": {part: len(numbers) for part, numbers in parts.items()},
            "by_class": {part: _by_class(windows, numbers) for part, numbers in parts.items()},
            "by_recording": {
                name: {part: int((windows.owners[numbers] == place).sum()) for part, numbers in parts.items()}
                for place, name in enumerate(windows.recordings)
            },
            "n_without_target": {part: int(is_unknown[cut.parts == number].sum()) for number, part in enumerate(PARTS)},
        }
    else:
        own = windows.folds[windows.owners]
        groups = [np.flatnonzero(own == fold) for fold in range(windows.n_folds)]
        found |= {
            "by_class": _by_class(windows, np.arange(len(windows.starts))),
            "groups": [{"n_windows": len(numbers), "by_class": _by_class(windows, numbers)} for numbers in groups],
            "n_without_target": int(is_unknown.sum()),
        }
    return found | {
        "missing": _missing(windows, inputs),
        "schemas": [
            {
                "constant": list(schema.constant),
                "unmeasured": list(schema.unmeasured),
                "n_unseen": {name: n for name, n in schema.recode(inputs)[1].items() if n},
            }
            for schema in windows.schemas
        ],
    }


def _by_class(windows: MixedWindows, numbers: np.ndarray) -> dict[str, int]:
    counts = np.bincount(windows.classes[numbers] + 1, minlength=len(windows.class_names) + 1)[1:]
    return dict(zip(windows.class_names, counts.tolist(), strict=True))


def _missing(windows: MixedWindows, inputs: MixedSet) -> dict[str, dict[str, float]]:
    """Share of missing steps of each channel: of the recordings, and of the windows, where a step counts in each."""
    edges = np.zeros(len(windows.numeric) + 1, np.int64)
    np.add.at(edges, windows.starts, 1)
    np.add.at(edges, windows.starts + windows.length, -1)
    n_windows = np.cumsum(edges)[:-1]  # that hold each row
    names = [one.name for one in inputs.numeric] + [one.name for one in inputs.categorical]
    holes = (np.isnan(windows.numeric[:, column]) for column in range(windows.numeric.shape[1]))
    gaps = (windows.categories[:, column] == MISSING for column in range(windows.categories.shape[1]))
    return {
        name: {
            "recordings": round(float(is_missing.mean()), 6),
            "windows": round(float(n_windows[is_missing].sum() / n_windows.sum()), 6),
        }
        for name, is_missing in zip(names, (*holes, *gaps), strict=True)
    }
