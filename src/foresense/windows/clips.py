"""From recordings of machines to clips: cut inside recordings, split by what must not be on both sides.

Neighbouring clips of one recording are nearly the same. So a part of a split holds whole assets, or whole recordings by
a group such as the load; only a condition that has a single recording is cut by time, with a gap at each cut. A clip is
never dealt by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from foresense.config.anomaly import AssetSplitConfig, ClipConfig, FoldSplitConfig, HeldOutConfig
from foresense.signals import SignalError
from foresense.signals.clips import CLIP_PARTS, NORMAL, UNKNOWN, UNUSED, Clips, ConditionSet

_TRAIN, _VALIDATION, _TEST = range(len(CLIP_PARTS))


def cut_clips(found: ConditionSet, config: ClipConfig) -> Clips:
    """Cut every recording from its begin; what is left at its end is not used. No clip belongs to a part yet.

    Args:
        found: The recordings.
        config: Section `clips`; for images length and hop are 1.

    Raises:
        SignalError: images with another length, or not one recording that holds a clip.
    """
    if found.is_image and (config.length, config.hop) != (1, 1):
        raise SignalError(f"clips of images: expected length and hop 1, found {config.length} and {config.hop}")
    starts = [
        np.arange(first, end - config.length + 1, config.hop, dtype=np.int64)
        for first, end in zip(found.starts, found.ends, strict=True)
    ]
    counts = [len(own) for own in starts]
    if not sum(counts):
        longest = int((found.ends - found.starts).max())
        raise SignalError(
            f"no recording holds a clip of {config.length} samples, the longest has {longest}; shorten clips.length"
        )
    return Clips(
        found=found,
        starts=np.concatenate(starts),
        owners=np.repeat(np.arange(len(counts)), counts),
        parts=np.full(sum(counts), UNUSED, np.int64),
        length=config.length,
        hop=config.hop,
    )


def split_clips(clips: Clips, config: AssetSplitConfig | FoldSplitConfig | HeldOutConfig) -> Clips:
    """The same clips, each in a part or in none.

    Raises:
        SignalError: groups or conditions that are not there, too few assets, or a part that a condition is missing
            from: see `deal_shares`, `deal_folds` and `hold_out`.
    """
    match config:
        case AssetSplitConfig():
            return deal_shares(clips, config)
        case FoldSplitConfig():
            return deal_folds(clips, config)
        case HeldOutConfig():
            return hold_out(clips, config)


def deal_shares(clips: Clips, config: AssetSplitConfig) -> Clips:
    """Deal assets into parts, condition by condition, so that each part has its share of every condition.

    An asset with recordings of several conditions goes with the first of them. Recordings whose condition nobody
    knows belong to no part.

    Raises:
        SignalError: a condition with fewer than three assets.
    """

    def parts(n: int) -> np.ndarray:
        n_validation = max(1, round(config.validation * n))
        n_train = min(max(1, round(config.train * n)), n - n_validation - 1)
        return np.repeat([_TRAIN, _VALIDATION, _TEST], [n_train, n_validation, n - n_train - n_validation])

    return _dealt(clips, config.unit, config.seed, at_least=len(CLIP_PARTS), parts_of=parts)


def deal_folds(clips: Clips, config: FoldSplitConfig) -> Clips:
    """Deal assets into groups, condition by condition; group `turn` tests, the next one chooses, the others train.

    An asset with recordings of several conditions goes with the first of them. Recordings whose condition nobody
    knows belong to no part.

    Raises:
        SignalError: a condition with fewer assets than groups.
    """
    part_of_fold = np.full(config.n_folds, _TRAIN)
    part_of_fold[[config.turn, (config.turn + 1) % config.n_folds]] = _TEST, _VALIDATION

    def parts(n: int) -> np.ndarray:
        return part_of_fold[np.arange(n) % config.n_folds]

    return _dealt(clips, config.unit, config.seed, at_least=config.n_folds, parts_of=parts)


def hold_out(clips: Clips, config: HeldOutConfig) -> Clips:
    """Recordings with the values of `config.test` test, those with the values of `config.validation` choose.

    Recordings of the conditions `by_time` are cut by time: after each of the two cuts no clip begins for `guard_s`,
    and no clip reaches over a cut. Recordings whose condition nobody knows belong to no part.

    Raises:
        SignalError: no such group, value or condition; images by time; a part without a clip of normal machines, or a
            test part without one of others where the set has some.
    """
    found = clips.found
    absent = sorted(set(config.by_time) - set(found.classes))
    if absent:
        raise SignalError(f"split.by_time: no condition {absent} (known: {', '.join(found.classes)})")
    known = found.labels != UNKNOWN
    is_test = _matches(found, config.test, "test")
    if isinstance(config.validation, Mapping):
        is_validation = _matches(found, config.validation, "validation")
    else:
        left = np.random.default_rng(config.seed).permutation(np.flatnonzero(known & ~is_test))
        is_validation = np.isin(np.arange(len(known)), left[: max(1, round(config.validation * len(left)))])
    parts = np.where(is_test, _TEST, np.where(is_validation, _VALIDATION, _TRAIN))
    split = _whole(clips, np.where(known, parts, UNUSED))
    by_time = np.isin(split.labels, [found.classes.index(name) for name in config.by_time])
    if by_time.any():
        split = replace(split, parts=np.where(by_time, _parts_by_time(clips, config), split.parts))
    _check(split)
    return split


def split_facts(clips: Clips) -> dict[str, Any]:
    """For the report: clips, recordings and assets of each condition in each part, and what is not used.

    `test_assets_in_training` names what a split by another group than the asset leaves on both sides: with a load held
    out, bearings are the same.
    """
    found, labels = clips.found, clips.labels
    facts: dict[str, Any] = {
        "n_clips": len(clips.starts),
        "n_unused": int((clips.parts == UNUSED).sum()),
        "clip_s": None if found.rate_hz is None else clips.length / found.rate_hz,
        "hop_s": clips.hop_s,
        "test_assets_in_training": sorted(set(clips.assets[clips.of("test")]) & set(clips.assets[clips.of("train")])),
    }
    for part in CLIP_PARTS:
        own = clips.of(part)
        facts[part] = {
            name: {
                "clips": int((mine := labels[own] == label).sum()),
                "recordings": len(np.unique(clips.owners[own][mine])),
                "assets": len(np.unique(clips.assets[own][mine])),
            }
            for label, name in enumerate(found.classes)
        }
    return facts


def _dealt(
    clips: Clips,
    unit: Literal["asset", "recording"],
    seed: int,
    *,
    at_least: int,
    parts_of: Callable[[int], np.ndarray],
) -> Clips:
    """Units of each condition, in an order that follows from `seed`, in the parts that `parts_of` their number says."""
    found, rng = clips.found, np.random.default_rng(seed)
    names, owners = np.unique(np.asarray(found.assets if unit == "asset" else found.names), return_inverse=True)
    labels = np.full(len(names), np.iinfo(np.int64).max)
    known = found.labels != UNKNOWN
    np.minimum.at(labels, owners[known], found.labels[known])
    part_of = np.full(len(names), UNUSED, np.int64)
    for label in np.unique(found.labels[known]):
        own = rng.permutation(np.flatnonzero(labels == label))
        if len(own) < at_least:
            raise SignalError(
                f"condition {found.classes[label]!r} has {len(own)} {unit}s, and each of {at_least} groups needs one: "
                "bring more, leave the condition out, or split by `held_out`"
            )
        part_of[own] = parts_of(len(own))
    return _whole(clips, np.where(known, part_of[owners], UNUSED))


def _whole(clips: Clips, part_of_recording: np.ndarray) -> Clips:
    return replace(clips, parts=part_of_recording[clips.owners].astype(np.int64))


def _matches(found: ConditionSet, wanted: Mapping[str, tuple[str, ...]], which: str) -> np.ndarray:
    """(n_recordings,), bool: has one of the wanted values in every group."""
    matches = np.ones(len(found.names), bool)
    for group, values in wanted.items():
        has = found.group(group)
        absent = sorted(set(values) - set(has))
        if absent:
            raise SignalError(f"split.{which}.{group}: no recording has {absent} (there are {sorted(set(has))})")
        matches &= np.isin(has, values)
    return matches


def _parts_by_time(clips: Clips, config: HeldOutConfig) -> np.ndarray:
    """(n,), int64: the part of each clip, were its recording cut by time."""
    found = clips.found
    if found.rate_hz is None:
        raise SignalError("split.by_time: images have no time; split them by asset")
    lengths = (found.ends - found.starts)[clips.owners]
    guard = config.guard_s * found.rate_hz
    begins, ends = clips.offsets, clips.offsets + clips.length
    first_cut = lengths * config.time_train
    second_cut = lengths * (config.time_train + config.time_validation)
    parts = np.full(len(begins), UNUSED, np.int64)
    parts[ends <= first_cut] = _TRAIN
    parts[(begins >= first_cut + guard) & (ends <= second_cut)] = _VALIDATION
    parts[begins >= second_cut + guard] = _TEST
    return parts


def _check(clips: Clips) -> None:
    labels, found = clips.labels, clips.found
    for part in CLIP_PARTS:
        own = labels[clips.of(part)]
        if not (own == NORMAL).any():
            raise SignalError(
                f"the {part} part has no clip of condition {found.classes[NORMAL]!r}: hold out less of it, shorten "
                "split.guard_s or clips.length, or name it in split.by_time"
            )
    if (labels > NORMAL).any() and not (labels[clips.of("test")] > NORMAL).any():
        raise SignalError("the test part has no anomalous clip: hold out values that some of them have")
