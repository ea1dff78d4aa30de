"""From labelled recordings to windows: inside one stretch and one label, people dealt into groups."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from foresense.config.activity import ActivityWindowConfig
from foresense.signals import SignalError
from foresense.signals.labelled import UNLABELLED, LabelledRecording, LabelledSet, LabelledWindows


def build_labelled_windows(found: LabelledSet, config: ActivityWindowConfig) -> tuple[LabelledWindows, dict[str, Any]]:
    """Cut windows and deal people into groups.

    A window lies in one run: samples of one stretch that follow one another with one label. Windows of a run begin
    every `stride_s`; those that begin at whole lengths from the run's start are the ones that are judged. A sequence of
    windows ends where a stretch does, and where more than a window's length holds none.

    Args:
        found: The people.
        config: Section `window`.

    Returns:
        The windows, and facts for the report: windows by class, by person and by group, samples left out.

    Raises:
        SignalError: no window at all, a class without one, or fewer people than groups.
    """
    length, stride = round(config.length_s * found.rate_hz), round(config.stride_s * found.rate_hz)
    if stride < 1 or length % stride:
        raise SignalError(
            f"window.stride_s ({config.stride_s:g}) must be whole samples at {found.rate_hz:g} Hz that divide those of "
            f"window.length_s ({config.length_s:g}), found {stride} and {length}"
        )
    people = [one for one in found.people if len(one.samples)]
    if len(people) < config.n_folds:
        raise SignalError(
            f"window.n_folds is {config.n_folds}, but only {len(people)} people have samples; every group needs one "
            "person: lower n_folds, or bring more people"
        )
    starts, labels, owners, sequences, times, apart = ([] for _ in range(6))
    offset, sequence, n_short, n_unlabelled = 0, 0, 0, 0
    for owner, one in enumerate(people):
        n_unlabelled += int((one.labels == UNLABELLED).sum())
        before = None
        for first, end, stretch in _runs(one):
            begins = np.arange(first, end - length + 1, stride, dtype=np.int64)
            if not len(begins):
                n_short += end - first
                continue
            follows = before is not None and before[0] == stretch and first - before[1] <= length
            sequence += not follows
            apart.append((begins - first) % length == 0)
            before = (stretch, first + int(apart[-1].sum()) * length)
            starts.append(begins + offset)
            labels.append(np.full(len(begins), one.labels[first], np.int64))
            owners.append(np.full(len(begins), owner, np.int64))
            sequences.append(np.full(len(begins), sequence, np.int64))
            since_ns = np.rint((begins - one.stretches[stretch]) * (1e9 / found.rate_hz)).astype(np.int64)
            times.append(one.start_ns[stretch] + since_ns if found.has_time else np.zeros(len(begins), np.int64))
        offset += len(one.samples)
    if not starts:
        raise SignalError(f"no run of one label holds a window of {config.length_s:g} s; shorten window.length_s")
    folds = deal_people(len(people), config.n_folds, config.seed)
    windows = LabelledWindows(
        samples=np.concatenate([np.asarray(one.samples, np.float32) for one in people]),
        starts=np.concatenate(starts),
        labels=np.concatenate(labels),
        owners=np.concatenate(owners),
        sequences=np.concatenate(sequences),
        times_ns=np.concatenate(times),
        is_apart=np.concatenate(apart),
        folds=folds,
        length=length,
        people=tuple(one.person for one in people),
        channels=found.channels,
        units=found.units,
        rate_hz=found.rate_hz,
        classes=found.classes,
        has_time=found.has_time,
        time_zone=found.time_zone,
    )
    counts = np.bincount(windows.labels[windows.is_apart], minlength=len(found.classes))
    absent = [name for name, count in zip(found.classes, counts, strict=True) if not count]
    if absent:
        raise SignalError(
            f"classes {absent} have no window of {config.length_s:g} s; shorten window.length_s, or leave them out"
        )
    return windows, _facts(windows, counts, n_short, n_unlabelled)


def deal_people(n_people: int, n_folds: int, seed: int) -> np.ndarray:
    """(n_people,), int64: a group for each person, sizes at most one apart; a function of the three numbers."""
    order = np.random.default_rng(seed).permutation(n_people)
    folds = np.empty(n_people, np.int64)
    folds[order] = np.arange(n_people) % n_folds
    return folds


def _runs(one: LabelledRecording) -> Iterator[tuple[int, int, int]]:
    """First sample, sample after the last, and stretch of every labelled run, in order."""
    changes = np.flatnonzero(np.diff(one.labels)) + 1
    edges = np.unique(np.concatenate([one.stretches, changes, [len(one.samples)]]))
    stretch = np.searchsorted(one.stretches, edges[:-1], side="right") - 1
    for first, end, number in zip(edges[:-1], edges[1:], stretch, strict=True):
        if one.labels[first] != UNLABELLED:
            yield int(first), int(end), int(number)


def _facts(windows: LabelledWindows, counts: np.ndarray, n_short: int, n_unlabelled: int) -> dict[str, Any]:
    judged = windows.owners[windows.is_apart]
    return {
        "n_people": len(windows.people),
        "n_windows": len(windows.starts),
        "n_judged": int(windows.is_apart.sum()),
        "by_class": dict(zip(windows.classes, counts.tolist(), strict=True)),
        "by_person": dict(
            zip(windows.people, np.bincount(judged, minlength=len(windows.people)).tolist(), strict=True)
        ),
        "groups": [
            [name for name, fold in zip(windows.people, windows.folds, strict=True) if fold == number]
            for number in range(windows.n_folds)
        ],
        "n_sequences": len(np.unique(windows.sequences)),
        "n_samples_in_short_runs": n_short,
        "n_samples_unlabelled": n_unlabelled,
    }
