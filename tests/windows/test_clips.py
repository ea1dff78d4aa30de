import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from foresense.config.anomaly import AssetSplitConfig, ClipConfig, FoldSplitConfig, HeldOutConfig
from foresense.signals import SignalError
from foresense.signals.clips import CLIP_PARTS, UNKNOWN, UNUSED, Clips, ConditionSet, FoundRecording, join_recordings
from foresense.windows.clips import cut_clips, split_clips, split_facts

RATE_HZ = 100.0
CLASSES = ("healthy", "ball", "inner race")


def bearings(n: int = 1000) -> ConditionSet:
    """One healthy record, and two faults at four loads and two sizes."""
    rng = np.random.default_rng(0)
    faults = [(label, size, load) for label in (1, 2) for size in ("007", "021") for load in ("0", "1", "2", "3")]
    return join_recordings(
        [
            FoundRecording(f"{label}-{size}-{load}", f"{label} {size}", label, noise, {"load": load, "size": size})
            for (label, size, load), noise in zip(
                [(0, "none", "0"), *faults], rng.standard_normal((17, n)).astype(np.float32), strict=True
            )
        ],
        classes=CLASSES,
        unit="g",
        rate_hz=RATE_HZ,
    )


def images(labels: list[int], assets: list[str] | None = None) -> ConditionSet:
    names = [str(number) for number in range(len(labels))]
    return join_recordings(
        [
            FoundRecording(name, asset, label, np.full((4, 3), int(name) % 256, np.uint8), {})
            for name, asset, label in zip(names, assets or names, labels, strict=True)
        ],
        classes=CLASSES,
        unit="grey level",
        rate_hz=None,
    )


def held_out(**asked: object) -> HeldOutConfig:
    return HeldOutConfig.model_validate({"kind": "held_out", "by_time": ["healthy"], "guard_s": 0.5, **asked})


LOAD_3 = {"test": {"load": ["3"]}, "validation": {"load": ["2"]}}


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5), length=st.integers(1, 20), hop=st.integers(1, 25))
def test_every_clip_lies_in_one_recording_and_none_is_missing(lengths: list[int], length: int, hop: int) -> None:
    found = join_recordings(
        [FoundRecording(str(n), "a", 0, np.zeros(rows, np.float32), {}) for n, rows in enumerate(lengths)],
        classes=CLASSES,
        unit="g",
        rate_hz=RATE_HZ,
    )
    expected = [(n, at) for n, rows in enumerate(lengths) for at in range(0, rows - length + 1, hop)]
    if not expected:
        with pytest.raises(SignalError, match=rf"no recording holds a clip of {length} samples, the longest has"):
            cut_clips(found, ClipConfig(length=length, hop=hop))
        return
    clips = cut_clips(found, ClipConfig(length=length, hop=hop))
    assert list(zip(clips.owners.tolist(), clips.offsets.tolist(), strict=True)) == expected


def test_clips_are_the_samples_of_their_recordings() -> None:
    found = bearings()
    clips = cut_clips(found, ClipConfig(length=64, hop=50))
    numbers = np.array([0, 25, 300])
    for number, clip in zip(numbers, clips.gather(numbers), strict=True):
        owner, offset = clips.owners[number], clips.offsets[number]
        own = found.samples[found.starts[owner] : found.ends[owner]]
        np.testing.assert_array_equal(clip, own[offset : offset + 64])
    assert clips.hop_s == 0.5
    assert (clips.parts == UNUSED).all()


def test_an_image_is_a_clip() -> None:
    found = images([0, 1, 2])
    clips = cut_clips(found, ClipConfig())
    np.testing.assert_array_equal(clips.gather(np.array([2, 0])), found.samples[[2, 0]])
    assert clips.hop_s is None
    with pytest.raises(SignalError, match="clips of images: expected length and hop 1, found 2 and 1"):
        cut_clips(found, ClipConfig(length=2))


@given(
    n_assets=st.lists(st.integers(3, 12), min_size=1, max_size=3),
    per_asset=st.integers(1, 3),
    train=st.floats(0.2, 0.7),
    seed=st.integers(0, 99),
)
def test_no_asset_is_in_two_parts_and_each_part_has_every_condition(
    n_assets: list[int], per_asset: int, train: float, seed: int
) -> None:
    labels = [label for label, n in enumerate(n_assets) for _ in range(n * per_asset)]
    assets = [f"{label}-{k}" for label, n in enumerate(n_assets) for k in range(n) for _ in range(per_asset)]
    config = AssetSplitConfig(kind="assets", train=train, validation=0.2, seed=seed)
    clips = split_clips(cut_clips(images(labels, assets), ClipConfig()), config)
    for asset in set(assets):
        assert len(set(clips.parts[clips.assets == asset])) == 1
    for part in CLIP_PARTS:
        assert set(clips.labels[clips.of(part)]) == set(labels)
    assert (clips.parts != UNUSED).all()


def test_shares_are_kept_condition_by_condition() -> None:
    clips = split_clips(
        cut_clips(images([0] * 100 + [1] * 50), ClipConfig()),
        AssetSplitConfig(kind="assets", train=0.6, validation=0.2),
    )
    facts = split_facts(clips)
    assert [facts[part]["healthy"]["assets"] for part in CLIP_PARTS] == [60, 20, 20]
    assert [facts[part]["ball"]["clips"] for part in CLIP_PARTS] == [30, 10, 10]
    assert facts["clip_s"] is None


@given(n_assets=st.lists(st.integers(4, 11), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_over_all_turns_each_asset_tests_once_and_chooses_once(n_assets: list[int], seed: int) -> None:
    labels = [label for label, n in enumerate(n_assets) for _ in range(2 * n)]
    assets = [f"{label}-{k}" for label, n in enumerate(n_assets) for k in range(n) for _ in range(2)]
    cut = cut_clips(images(labels, assets), ClipConfig())
    turns = [split_clips(cut, FoldSplitConfig(kind="folds", n_folds=4, turn=turn, seed=seed)) for turn in range(4)]
    parts = np.stack([clips.parts for clips in turns])
    for number in range(3):
        assert ((parts == number).sum(axis=0) == (2 if number == 0 else 1)).all()
    for clips in turns:
        assert split_facts(clips)["test_assets_in_training"] == []
        for part in CLIP_PARTS:
            assert set(clips.labels[clips.of(part)]) == set(labels)


def test_recordings_of_few_machines_can_be_dealt_as_they_are_published() -> None:
    cut = cut_clips(images([0] * 6 + [1] * 3, ["fan/id_00"] * 9), ClipConfig())
    with pytest.raises(SignalError, match="condition 'healthy' has 1 assets, and each of 3 groups needs one"):
        split_clips(cut, AssetSplitConfig(kind="assets"))
    clips = split_clips(cut, AssetSplitConfig(kind="assets", unit="recording"))
    assert np.bincount(clips.parts[:6]).tolist() == [4, 1, 1]
    assert sorted(clips.parts[6:].tolist()) == [0, 1, 2]
    assert split_facts(clips)["test_assets_in_training"] == ["fan/id_00"]


def test_a_condition_with_too_few_assets_cannot_be_dealt() -> None:
    with pytest.raises(SignalError, match=r"condition 'ball' has 2 assets, and each of 3 groups needs one"):
        split_clips(cut_clips(images([0, 0, 0, 1, 1]), ClipConfig()), AssetSplitConfig(kind="assets"))


def test_what_nobody_knows_is_in_no_part() -> None:
    clips = split_clips(cut_clips(images([0, 0, 0, UNKNOWN]), ClipConfig()), AssetSplitConfig(kind="assets"))
    assert clips.parts.tolist().count(UNUSED) == 1
    assert clips.parts[3] == UNUSED


def recordings_of(clips: Clips, part: str, group: str) -> set[str]:
    own = clips.owners[clips.of(part)]  # type: ignore[arg-type]
    return {clips.found.groups[group][owner] for owner in own if clips.found.labels[owner] > 0}


def test_a_load_that_is_held_out_is_nowhere_else() -> None:
    clips = split_clips(cut_clips(bearings(), ClipConfig(length=64, hop=16)), held_out(**LOAD_3))
    assert recordings_of(clips, "test", "load") == {"3"}
    assert recordings_of(clips, "validation", "load") == {"2"}
    assert recordings_of(clips, "train", "load") == {"0", "1"}


def test_a_size_that_is_held_out_is_nowhere_else_and_another_group_chooses() -> None:
    asked = held_out(test={"size": ["021"]}, validation={"load": ["3"]})
    clips = split_clips(cut_clips(bearings(), ClipConfig(length=64, hop=16)), asked)
    assert recordings_of(clips, "test", "size") == {"021"}
    assert recordings_of(clips, "validation", "size") == recordings_of(clips, "train", "size") == {"007"}
    assert recordings_of(clips, "validation", "load") == {"3"}
    assert recordings_of(clips, "train", "load") == {"0", "1", "2"}


@given(length=st.integers(1, 90), hop=st.integers(1, 40), guard_s=st.floats(0, 0.6), train=st.floats(0.3, 0.6))
def test_the_one_healthy_record_shares_no_sample_between_parts_and_keeps_its_gap(
    length: int, hop: int, guard_s: float, train: float
) -> None:
    """1000 samples: each part has 200, of which at most 60 are the gap, and 90 + 40 a clip and the way to it."""
    asked = held_out(**LOAD_3, guard_s=guard_s, time_train=train)
    clips = split_clips(cut_clips(bearings(), ClipConfig(length=length, hop=hop)), asked)
    last_end = -guard_s * RATE_HZ
    for part in CLIP_PARTS:
        own = clips.of(part)
        begins = clips.offsets[own[clips.labels[own] == 0]]
        assert begins.min() >= last_end + guard_s * RATE_HZ
        last_end = begins.max() + length


def test_a_share_of_the_recordings_that_are_left_can_choose() -> None:
    asked = held_out(test={"load": ["3"]}, validation=0.25, seed=3)
    clips = split_clips(cut_clips(bearings(), ClipConfig(length=64, hop=64)), asked)
    owners = {part: {int(owner) for owner in clips.owners[clips.of(part)]} - {0} for part in CLIP_PARTS}
    assert not owners["train"] & owners["validation"]
    assert len(owners["validation"]) in (3, 4)  # of 13 recordings at other loads, the healthy one may be drawn too
    assert owners["test"] == {4, 8, 12, 16}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"test": {"speed": ["3"]}}, r"no group 'speed' of recordings \(known: load, size\)"),
        ({"test": {"load": ["9"]}}, r"split\.test\.load: no recording has \['9'\] \(there are"),
        ({"by_time": ["rusty"]}, r"split\.by_time: no condition \['rusty'\] \(known: healthy, ball, inner race\)"),
        ({"by_time": []}, "the validation part has no clip of condition 'healthy'"),
        ({"guard_s": 2.5}, "the validation part has no clip of condition 'healthy'"),
        ({"test": {"size": ["none"]}}, "the test part has no anomalous clip"),
    ],
)
def test_splits_that_cannot_be_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(SignalError, match=message):
        split_clips(cut_clips(bearings(), ClipConfig(length=64, hop=64)), held_out(**{**LOAD_3, **asked}))


def test_images_have_no_time() -> None:
    found = images([0] * 4)
    with pytest.raises(SignalError, match=r"no group 'load' of recordings \(known: none\)"):
        split_clips(cut_clips(found, ClipConfig()), held_out(**LOAD_3))
    grouped = ConditionSet(**{**vars(found), "groups": {"load": ("0", "1", "2", "3")}})
    with pytest.raises(SignalError, match=r"split\.by_time: images have no time; split them by asset"):
        split_clips(cut_clips(grouped, ClipConfig()), held_out(**LOAD_3))


def test_shares_that_leave_no_test_part_are_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"train \(0\.8\) and validation \(0\.2\) leave nothing for the test part"
    ):
        AssetSplitConfig(kind="assets", train=0.8)
    with pytest.raises(ValidationError, match=r"time_train \(0\.8\) and time_validation \(0\.2\) leave nothing"):
        held_out(**LOAD_3, time_train=0.8)
    with pytest.raises(ValidationError, match="turn 5: there are 5 groups, counted from 0"):
        FoldSplitConfig(kind="folds", turn=5)
    with pytest.raises(ValidationError, match="at least 1 item"):
        held_out(test={}, validation=0.2)
