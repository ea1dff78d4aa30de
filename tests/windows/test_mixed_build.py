"""Windows of mixed recordings: nothing of validation or test is in a training window, or in what is fitted."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from foresense.config.mixed_pipeline import MixedWindowConfig
from foresense.signals import PARTS, SignalError
from foresense.signals.mixed import CategoricalChannel, MixedRecording, MixedSet, NumericChannel
from foresense.signals.mixed_columns import FIRST_VALUE, MISSING, UNSEEN
from foresense.signals.mixed_windows import MixedWindows, groups_of
from foresense.windows.mixed import build_mixed_windows, deal_recordings

HOUR_NS = 3600 * 10**9
ZONE = "Asia/Shanghai"
BEGIN = datetime(2020, 1, 1, tzinfo=ZoneInfo(ZONE))
N_HOURS = 20 * 24
SPLIT = {"train_until": "2020-01-11", "validation_until": "2020-01-16"}
CUTS = (240, 360)  # in hours since BEGIN


def ns_of(time: datetime) -> int:
    return int(time.timestamp()) * 10**9


def station(name: str, seed: int, n_hours: int = N_HOURS, start_ns: int = ns_of(BEGIN)) -> MixedRecording:
    rng = np.random.default_rng(seed)
    numeric = rng.normal(50, 30, (n_hours, 2)).astype(np.float32)
    numeric[rng.random((n_hours, 2)) < 0.1] = np.nan
    return MixedRecording(
        name=name,
        numeric=numeric,
        categories=rng.integers(0, 2 + 3, (n_hours, 1)),
        static_numeric=np.array([seed], np.float32),
        static_categories=np.array([FIRST_VALUE + seed % 2], np.int64),
        outcomes=np.array([seed % 2], np.float32),
        start_ns=start_ns,
    )


def of(*recordings: MixedRecording, has_time: bool = True) -> MixedSet:
    return MixedSet(
        recordings=recordings,
        numeric=(NumericChannel("dust", "ug/m3"), NumericChannel("temp", "Cel")),
        categorical=(CategoricalChannel("wind", ("E", "N", "S")),),
        static_numeric=(NumericChannel("height", "m"),),
        static_categorical=(CategoricalChannel("site", ("rural", "urban")),),
        outcomes=(NumericChannel("closed", "1"),),
        interval_s=3600.0,
        has_time=has_time,
        time_zone=ZONE,
    )


def ahead(**changed: object) -> MixedWindowConfig:
    base = {"target": "dust", "length": 12, "ahead": 6, "stride": 1, "split": SPLIT}
    return MixedWindowConfig.model_validate({**base, **changed})


def outcome(**changed: object) -> MixedWindowConfig:
    return MixedWindowConfig.model_validate(
        {"target": "closed", "n_folds": 3, "bin_names": ["open", "closed"], **changed}
    )


TWO = of(station("a", 1), station("b", 2))


def place_of(windows: MixedWindows) -> tuple[np.ndarray, np.ndarray]:
    """Hours since BEGIN of the first step of each window, and of its target."""
    targets = (windows.times_ns - ns_of(BEGIN)) // HOUR_NS
    return targets - (windows.length - 1) - (windows.ahead or 0), targets


@settings(deadline=None, max_examples=40)
@given(
    length=st.integers(1, 40),
    ahead_steps=st.integers(1, 30),
    stride=st.integers(1, 9),
    stride_evaluation=st.integers(1, 9),
    first_day=st.integers(3, 9),
    days=st.integers(1, 6),
    late_h=st.integers(0, 30),
)
def test_every_target_lies_in_its_part_and_training_windows_reach_nowhere_else(
    length: int, ahead_steps: int, stride: int, stride_evaluation: int, first_day: int, days: int, late_h: int
) -> None:
    found = of(station("a", 1), station("b", 2, start_ns=ns_of(BEGIN) + late_h * HOUR_NS))
    ends = [BEGIN + timedelta(days=first_day), BEGIN + timedelta(days=first_day + days)]
    windows, facts = build_mixed_windows(
        found,
        ahead(
            length=length,
            ahead=ahead_steps,
            stride=stride,
            stride_evaluation=stride_evaluation,
            split={"train_until": ends[0].date(), "validation_until": ends[1].date()},
        ),
    )
    starts, targets = place_of(windows)
    train, validation, test = (windows.of_part(part) for part in PARTS)
    cuts = [int((end - BEGIN).total_seconds()) // 3600 for end in ends]
    assert (starts >= np.where(windows.owners == 0, 0, late_h)).all()
    assert (targets[train] < cuts[0]).all()
    assert ((targets[validation] >= cuts[0]) & (targets[validation] < cuts[1])).all()
    assert (targets[test] >= cuts[1]).all()
    assert sorted(np.concatenate([train, validation, test]).tolist()) == list(range(len(windows.starts)))
    assert (np.diff(targets[train][windows.owners[train] == 0]) % stride == 0).all()
    assert (np.diff(targets[test][windows.owners[test] == 1]) % stride_evaluation == 0).all()
    assert facts["windows"] == {"train": len(train), "validation": len(validation), "test": len(test)}


def test_with_a_stride_of_one_no_target_is_left_out_but_those_that_nobody_measured() -> None:
    windows, facts = build_mixed_windows(TWO, ahead())
    assert sum(facts["windows"].values()) + sum(facts["n_without_target"].values()) == 2 * (N_HOURS - 11 - 6)
    for owner, one in enumerate(TWO.recordings):
        own = windows.owners == owner
        known = np.flatnonzero(~np.isnan(one.numeric[:, 0]))
        assert place_of(windows)[1][own].tolist() == known[known >= 17].tolist()
        np.testing.assert_array_equal(windows.targets[own], one.numeric[place_of(windows)[1][own], 0])
    assert facts["by_recording"]["a"]["train"] + facts["by_recording"]["b"]["train"] == facts["windows"]["train"]


def test_a_window_is_the_steps_before_its_target_and_a_test_window_reaches_back() -> None:
    windows, _ = build_mixed_windows(TWO, ahead())
    number = int(windows.of_part("test")[0])
    start, target = (int(places[number]) for places in place_of(windows))
    assert start < CUTS[1] <= target
    batch = windows.gather(np.array([number]))
    one = TWO.recordings[int(windows.owners[number])]
    np.testing.assert_array_equal(batch.numbers[0], one.numeric[start : start + 12].T)
    np.testing.assert_array_equal(batch.categories[0], one.categories[start : start + 12].T)  # all values in training
    assert batch.targets[0] == one.numeric[target, 0]
    assert batch.lengths.tolist() == [12]


def test_a_step_that_a_cut_goes_through_belongs_to_no_part() -> None:
    late = station("a", 1, start_ns=ns_of(BEGIN) + HOUR_NS // 2)
    numeric = np.where(np.isnan(late.numeric), np.float32(1), late.numeric)
    windows, _ = build_mixed_windows(of(replace(late, numeric=numeric)), ahead(length=1, ahead=1))
    found = {part: (windows.times_ns[windows.of_part(part)] - late.start_ns) // HOUR_NS for part in PARTS}
    assert found["train"].tolist() == list(range(1, CUTS[0] - 1))
    assert found["validation"].tolist() == list(range(CUTS[0], CUTS[1] - 1))
    assert found["test"].tolist() == list(range(CUTS[1], N_HOURS))
    assert windows.schemas[0].means == pytest.approx(numeric[: CUTS[0] - 1].mean(axis=0, dtype=np.float64))


def test_cuts_are_midnights_of_the_stations() -> None:
    windows, _ = build_mixed_windows(TWO, ahead())
    times = pd.to_datetime(windows.times_ns, unit="ns", utc=True).tz_convert(ZONE)
    for part, first, last in (("validation", date(2020, 1, 11), date(2020, 1, 15)),):
        days = times[windows.of_part(part)].date
        assert (days.min(), days.max()) == (first, last)
    assert times[windows.of_part("test")].min().date() == date(2020, 1, 16)
    assert datetime.fromtimestamp(windows.times_ns[0] / 1e9, UTC) > BEGIN


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), n_more=st.integers(-100, 100), share=st.floats(0, 1))
def test_nothing_after_the_training_end_changes_a_schema_or_a_training_window(
    seed: int, n_more: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    changed = []
    for one in TWO.recordings:
        n = N_HOURS + n_more
        other = station(one.name, seed + 3, max(n, N_HOURS))
        numeric, categories = other.numeric[:n] * 100, np.where(rng.random((n, 1)) < share, 5, other.categories[:n])
        numeric[: CUTS[0]], categories[: CUTS[0]] = one.numeric[: CUTS[0]], one.categories[: CUTS[0]]
        changed.append(replace(one, numeric=numeric, categories=categories))
    found = replace(of(), categorical=(CategoricalChannel("wind", ("E", "N", "S", "W")),), recordings=tuple(changed))
    before, _ = build_mixed_windows(TWO, ahead())
    after, _ = build_mixed_windows(found, ahead())
    assert after.schemas == before.schemas
    first, second = (windows.gather(windows.of_part("train")) for windows in (before, after))
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_what_only_validation_and_test_have_is_unseen() -> None:
    late = np.arange(N_HOURS)[:, None] >= CUTS[0]
    one = replace(TWO.recordings[0], categories=np.where(late, 4, 2))
    windows, facts = build_mixed_windows(of(one), ahead())
    assert windows.schemas[0].categorical[0].values == ("E",)
    assert set(windows.gather(windows.of_part("train")).categories.ravel().tolist()) == {2}
    assert set(windows.gather(windows.of_part("test")).categories[-1].ravel().tolist()) == {UNSEEN}
    assert facts["schemas"][0]["n_unseen"] == {"wind": N_HOURS - CUTS[0]}


def test_a_schema_is_that_of_scikit_learn_on_the_training_steps() -> None:
    windows, _ = build_mixed_windows(TWO, ahead())
    rows = np.concatenate([one.numeric[: CUTS[0]] for one in TWO.recordings]).astype(np.float64)
    scaler = StandardScaler().fit(rows)
    np.testing.assert_allclose(windows.schemas[0].means, scaler.mean_, rtol=1e-9)
    np.testing.assert_allclose(windows.schemas[0].deviations, scaler.scale_, rtol=1e-9)


def test_a_class_is_above_an_edge_and_up_to_the_next_one() -> None:
    edges = [35.0, 75.0, 115.0, 150.0, 250.0]
    values = np.array([0, 35, 35.001, 75, 75.5, 115, 116, 150, 151, 250, 250.5, 900], np.float32)
    numeric = np.tile(np.stack([values, values], axis=1), (40, 1))
    one = replace(TWO.recordings[0], numeric=numeric, categories=TWO.recordings[0].categories)
    windows, facts = build_mixed_windows(of(one), ahead(bins=edges, bin_names=list("abcdef")))
    expected = pd.cut(windows.targets.astype(np.float64), [-1, *edges, 1e9], labels=False)
    np.testing.assert_array_equal(windows.classes, expected)
    assert windows.classes[windows.targets == np.float32(35)].max() == 0
    counted = {name: int((windows.classes[windows.of_part("test")] == n).sum()) for n, name in enumerate("abcdef")}
    assert facts["by_class"]["test"] == counted


def test_shares_of_missing_steps_count_a_step_once_for_each_window() -> None:
    windows, facts = build_mixed_windows(TWO, ahead(stride=3, stride_evaluation=7))
    batch = windows.gather(np.arange(len(windows.starts)))
    assert facts["missing"]["temp"]["windows"] == pytest.approx(np.isnan(batch.numbers[:, 1]).mean(), abs=1e-6)
    assert facts["missing"]["wind"]["windows"] == pytest.approx((batch.categories == MISSING).mean(), abs=1e-6)
    rows = np.concatenate([one.numeric[:, 1] for one in TWO.recordings])
    assert facts["missing"]["temp"]["recordings"] == pytest.approx(np.isnan(rows).mean(), abs=1e-6)


def test_channels_are_chosen_and_the_target_need_not_be_one_of_them() -> None:
    windows, _ = build_mixed_windows(TWO, ahead(channels={"numeric": ["temp"], "categorical": []}))
    assert [one.name for one in windows.schemas[0].numeric] == ["temp"]
    batch = windows.gather(windows.of_part("train")[:4])
    assert (batch.numbers.shape, batch.categories.shape) == ((4, 1, 12), (4, 0, 12))
    assert windows.target.name == "dust"


@pytest.mark.parametrize(
    ("config", "found", "message"),
    [
        (
            ahead(target="dusty"),
            TWO,
            r"no numeric channel 'dusty'; did you mean 'dust'\? \(known: \['dust', 'temp'\]\)",
        ),
        (ahead(target="closed"), TWO, "'closed' is no numeric channel, but an outcome; leave `ahead` out"),
        (outcome(target="dust"), TWO, "'dust' is no outcome, but a channel; say how many steps `ahead`"),
        (ahead(), of(station("a", 1), has_time=False), "window.split: these recordings have no real time"),
        (
            ahead(length=400),
            TWO,
            r"windows by part: \{'train': 0, 'validation': 0, 'test': \d+\}; every part needs some",
        ),
        (
            ahead(split={"train_until": "2019-01-01", "validation_until": "2020-01-16"}),
            TWO,
            r"no step before window.split.train_until \(2019-01-01\)",
        ),
        (ahead(bins=[1e6], bin_names=["low", "high"]), TWO, r"no training window of the classes \['high'\]"),
        (ahead(channels={"numeric": ["dirt"]}), TWO, "no channel 'dirt'"),
        (outcome(), of(station("a", 1, 10), station("b", 2, 11)), "recordings have 10 to 11 steps"),
        (outcome(bin_names=[]), TWO, "window.n_folds is 3, but only 2 of 2 recordings have a known 'closed'"),
        (
            outcome(),
            of(*(station(n, 2, 5) for n in "abcd")),
            r"class 'closed' of 'closed' has 0 recordings, but window.n_folds is 3",
        ),
        (
            outcome(),
            of(*(replace(station(n, 2, 5), outcomes=np.array([2], np.float32)) for n in "abcd")),
            r"'closed' is 2, expected a number of the 2 classes that window.bin_names names, 0 .. 1",
        ),
    ],
)
def test_what_cannot_be_cut_is_said(config: MixedWindowConfig, found: MixedSet, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        build_mixed_windows(found, config)


STAYS = of(*(station(f"{n:02d}", n, 6) for n in range(20)), has_time=False)


def test_a_recording_of_an_outcome_is_one_window_and_each_group_is_the_test_once() -> None:
    windows, facts = build_mixed_windows(STAYS, outcome(n_folds=4))
    assert (windows.length, windows.n_folds, len(windows.starts)) == (6, 4, 20)
    for fold in range(4):
        parts = {part: set(windows.of_part(part, fold).tolist()) for part in PARTS}
        assert set.union(*parts.values()) == set(range(20))
        assert sum(map(len, parts.values())) == 20
        assert {int(windows.folds[own]) for own in parts["validation"]} == {(fold + 1) % 4}
    tests = np.concatenate([windows.of_part("test", fold) for fold in range(4)])
    assert sorted(tests.tolist()) == list(range(20))
    assert facts["by_class"] == {"open": 10, "closed": 10}
    assert sum(group["n_windows"] for group in facts["groups"]) == 20
    assert windows.classes.tolist() == [n % 2 for n in range(20)]
    assert (windows.times_ns == 0).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), fold=st.integers(0, 3))
def test_recordings_that_do_not_train_change_no_schema_of_their_fold(seed: int, fold: int) -> None:
    before, _ = build_mixed_windows(STAYS, outcome(n_folds=4))
    training = groups_of("train", fold, 4)
    changed = [
        one
        if before.folds[place] in training
        else replace(station(one.name, seed + 100, 6), outcomes=one.outcomes, numeric=one.numeric * 7 + 1)
        for place, one in enumerate(STAYS.recordings)
    ]
    after, _ = build_mixed_windows(of(*changed, has_time=False), outcome(n_folds=4))
    assert after.schemas[fold] == before.schemas[fold]
    np.testing.assert_array_equal(after.folds, before.folds)
    first, second = (windows.gather(windows.of_part("train", fold), fold) for windows in (before, after))
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_fold_has_the_schema_of_its_own_training_recordings() -> None:
    windows, _ = build_mixed_windows(STAYS, outcome(n_folds=4))
    for fold in range(4):
        owners = windows.owners[windows.of_part("train", fold)]
        rows = np.concatenate([STAYS.recordings[own].numeric for own in owners]).astype(np.float64)
        np.testing.assert_allclose(windows.schemas[fold].means, np.nanmean(rows, axis=0), rtol=1e-9)
        heights = [STAYS.recordings[own].static_numeric[0] for own in owners]
        assert windows.schemas[fold].static_means[0] == pytest.approx(np.mean(heights))
    assert len({schema.means for schema in windows.schemas}) == 4


def test_a_recording_of_unknown_outcome_is_no_window_and_is_counted() -> None:
    unknown = replace(STAYS.recordings[3], outcomes=np.array([np.nan], np.float32))
    found = replace(STAYS, recordings=(*STAYS.recordings[:3], unknown, *STAYS.recordings[4:]))
    windows, facts = build_mixed_windows(found, outcome())
    assert 3 not in windows.owners
    assert (len(windows.starts), facts["n_without_target"]) == (19, 1)
    assert (windows.folds >= 0).all()


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any),
    n_folds=st.integers(3, 7),
    seed=st.integers(0, 99),
)
def test_groups_hold_each_class_alike(counts: list[int], n_folds: int, seed: int) -> None:
    outcomes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.float32)
    folds = deal_recordings(outcomes, n_folds, seed)
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    for number in range(len(counts)):
        own = np.bincount(folds[outcomes == number], minlength=n_folds)
        assert own.max() - own.min() <= 1
    np.testing.assert_array_equal(folds, deal_recordings(outcomes, n_folds, seed))


def test_another_seed_deals_otherwise() -> None:
    outcomes = np.zeros(50, np.float32)
    assert (deal_recordings(outcomes, 5, 0) != deal_recordings(outcomes, 5, 1)).any()
