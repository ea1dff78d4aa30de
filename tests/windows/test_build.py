from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foresense.config import SplitConfig, WindowConfig
from foresense.signals import PARTS, Recording, SignalError, open_windows, tree_sha256
from foresense.windows import build_windows, write_windows

START = pd.Timestamp("2025-01-01", tz="UTC")


def recording(samples, *, asset="lathe", start=START):
    samples = np.asarray(samples, float)
    names = ("temp_body", "current")[: samples.shape[1]]
    return Recording(asset, samples, names, ("Cel", "A")[: samples.shape[1]], 3600.0, start, "Europe/Berlin")


def cycle(n_rows, *, seed=0):
    """Daily cycle of a machine's temperature (Cel) and current (A), hourly, with noise."""
    hours = np.arange(n_rows)[:, None]
    rng = np.random.default_rng(seed)
    return [60, 15] + [8, 4] * np.sin(2 * np.pi * hours / 24) + rng.normal(0, 0.3, (n_rows, 2))


def small(**values):
    return WindowConfig(**{"context": 24, "horizon": 6, "max_gap": 3, **values})


@st.composite
def cases(draw):
    """Recordings of one asset with random gaps, and a way of cutting them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    context, horizon = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(2, 120), min_size=1, max_size=3))
    assume(sum(lengths) >= context + 3 * horizon)
    recordings, start = [], START
    for length in lengths:
        samples = rng.normal(0, 1, (length, 2))
        for _ in range(draw(st.integers(0, 4))):
            first, size, channel = rng.integers(0, length), rng.integers(1, 7), rng.integers(0, 2)
            samples[first : first + size, channel] = np.nan
        recordings.append(recording(samples, start=start))
        start += pd.Timedelta(hours=length + 5)
    train, validation = draw(st.sampled_from([(0.6, 0.2), (0.7, 0.15), (0.5, 0.3)]))
    config = WindowConfig(
        context=context,
        horizon=horizon,
        split=SplitConfig(train=train, validation=validation, test=1 - train - validation),
        scaler=draw(st.sampled_from(["minmax", "standard"])),
        max_gap=draw(st.integers(0, 4)),
        stride_evaluation=draw(st.integers(1, 5)),
    )
    return recordings, config


def built(recordings, config):
    try:
        return build_windows("lathe", recordings, config)
    except SignalError:
        assume(False)


def by_hand(recordings, config):
    """Starts by part, found row by row, and for each reason how many were left out."""
    samples = np.concatenate([one.samples for one in recordings])
    number = [index for index, one in enumerate(recordings) for _ in range(len(one.samples))]
    n_rows = len(samples)
    ends = [int(n_rows * config.split.train + 1e-9)]
    ends += [int(n_rows * (config.split.train + config.split.validation) + 1e-9), n_rows]
    part_of = [sum(row >= end for end in ends[:2]) for row in range(n_rows)]
    broken, drawn = set(), set()
    for channel in range(samples.shape[1]):
        row = 0
        while row < n_rows:
            if not np.isnan(samples[row, channel]):
                row += 1
                continue
            end = row
            while end < n_rows and np.isnan(samples[end, channel]) and number[end] == number[row]:
                end += 1
            if end - row > config.max_gap:
                broken |= set(range(row, end))
            elif row > 0 and end < n_rows and (number[row - 1], part_of[row - 1]) == (number[end], part_of[end]):
                drawn |= set(range(row, end))
            row = end
    firsts = [0, *ends[:2]]
    starts = {}
    for index, part in enumerate(PARTS):
        low = 0 if part == "train" else max(0, firsts[index] - config.context)
        stride = 1 if part == "train" else config.stride_evaluation
        starts[part] = []
        for start in range(low, n_rows, stride):
            end = start + config.context + config.horizon
            if end > ends[index] or broken & set(range(start, end)) or number[start] != number[end - 1]:
                continue
            if start + config.context - 1 not in drawn - broken:
                starts[part].append(start)
    return starts, ends


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_exactly_the_windows_found_by_hand_and_no_target_in_two_parts(case):
    recordings, config = case
    windows, facts = built(recordings, config)
    expected, ends = by_hand(recordings, config)
    targets = {part: set() for part in PARTS}
    for part in PARTS:
        assert windows.starts[part].tolist() == expected[part]
        assert facts["windows"][part] == len(expected[part])
        for start in expected[part]:
            targets[part] |= set(range(start + config.context, start + config.context + config.horizon))
        assert np.isfinite(windows.gather(windows.starts[part])).all()
    assert max(targets["train"]) < ends[0] <= min(targets["validation"])
    assert max(targets["validation"]) < ends[1] <= min(targets["test"])
    assert max(targets["test"]) < ends[2]


@settings(deadline=None, max_examples=60)
@given(case=cases(), shift=st.floats(-50, 50))
def test_training_sees_nothing_after_its_part(case, shift):
    recordings, config = case
    windows, facts = built(recordings, config)
    end = facts["rows"]["train"]
    changed, seen = [], 0
    for one in recordings:
        samples = one.samples.copy()
        samples[max(0, end - seen) :] += shift
        seen += len(samples)
        changed.append(replace(one, samples=samples))
    other, _ = build_windows("lathe", changed, config)
    np.testing.assert_array_equal(other.samples[:end], windows.samples[:end])
    for name in ("shift", "scale", "mean"):
        np.testing.assert_array_equal(getattr(other.scaler, name), getattr(windows.scaler, name))


@settings(deadline=None, max_examples=60)
@given(case=cases(), data=st.data())
def test_a_context_holds_nothing_of_its_answer(case, data):
    recordings, config = case
    windows, _ = built(recordings, config)
    part = data.draw(st.sampled_from(["validation", "test"]))
    start = data.draw(st.sampled_from(windows.starts[part].tolist()))
    origin = start + config.context
    changed, seen = [], 0
    for one in recordings:
        samples = one.samples.copy()
        samples[max(0, origin - seen) :] += 7.0
        seen += len(samples)
        changed.append(replace(one, samples=samples))
    other, _ = build_windows("lathe", changed, config)
    before, after = (found.gather(np.array([start]))[0] for found in (windows, other))
    np.testing.assert_array_equal(after[: config.context], before[: config.context])
    assert not np.array_equal(after[config.context :], before[config.context :])


def test_a_window_is_the_scaled_slice_of_its_recording():
    samples = cycle(300)
    windows, _ = build_windows("lathe", [recording(samples)], small())
    low, high = samples[:210].min(axis=0), samples[:210].max(axis=0)  # 0.7 of 300 rows
    start = int(windows.starts["test"][3])
    np.testing.assert_allclose(
        windows.gather(np.array([start]))[0], (samples[start : start + 30] - low) / (high - low), rtol=1e-5, atol=1e-6
    )
    assert windows.row_times_s[start] == START.timestamp() + 3600 * start


def test_everything_that_was_filled_or_left_out_is_counted():
    samples = cycle(300)
    samples[0, 0] = np.nan  # short, at the start: mean
    samples[50:53, 1] = np.nan  # short: interpolated
    samples[100:110, 0] = np.nan  # long: breaks the block
    windows, facts = build_windows("lathe", [recording(samples)], small())
    assert facts["n_mean_filled"] == 1
    assert facts["n_interpolated"] == 3
    assert facts["n_long_gaps"] == 1
    assert facts["n_blocks"] == 2
    # of 210 - 30 + 1 training candidates, those that hold a row of 100..109, and three that end in 50..52
    assert facts["left_out"] == {"over_gap": 39, "unmeasured_origin": 3}
    assert facts["windows"]["train"] == 181 - 39 - 3
    assert windows.imputed.sum() == 4
    mean = np.nanmean(samples[:210, 0])
    np.testing.assert_allclose(windows.scaler.inverse(windows.samples, windows.channels)[0, 0], mean, rtol=1e-6)


def test_no_window_crosses_from_one_asset_to_the_next():
    recordings = [recording(cycle(200, seed=1), asset="robot"), recording(cycle(150), asset="lathe")]
    windows, facts = build_windows("all", recordings, small(group="all"))
    assert windows.assets == ("lathe", "robot")
    for part in PARTS:
        rows = windows.starts[part][:, None] + np.arange(windows.length)
        assert (np.ptp(windows.asset_of_row[rows], axis=1) == 0).all()
        assert set(windows.asset_of_row[windows.starts[part]]) == {0, 1}
    alone = [build_windows(one.asset, [one], small())[1] for one in recordings]
    assert facts["windows"] == {part: sum(one["windows"][part] for one in alone) for part in PARTS}


def test_evaluation_windows_keep_their_grid_over_a_gap():
    samples = cycle(600)
    samples[450:460] = np.nan
    windows, _ = build_windows("lathe", [recording(samples)], small(stride_evaluation=24))
    for part, cut in (("validation", 420), ("test", 510)):
        origins = windows.starts[part] + 24
        assert ((origins - cut) % 24 == 0).all()


def test_the_problems_of_all_assets_come_together():
    recordings = [recording(cycle(20), asset="lathe"), recording(cycle(30), asset="robot")]
    with pytest.raises(SignalError, match=r"(?s)asset 'lathe': 20 rows, but 42 .*asset 'robot': 30 rows, but 42"):
        build_windows("all", recordings, small(group="all"))


def test_a_part_lost_to_gaps_says_why():
    samples = cycle(300)
    samples[260:300:10] = np.nan
    with pytest.raises(SignalError, match=r"no window of 24 \+ 6 rows in the test part: 40 candidates hold a long gap"):
        build_windows("lathe", [recording(samples)], small(max_gap=0))


def test_recordings_that_overlap_are_refused_with_their_times():
    later = recording(cycle(100), start=START + pd.Timedelta(hours=99))
    with pytest.raises(
        SignalError, match="begins at 2025-01-05T03:00:00 UTC, but the one before it ends at 2025-01-05T03"
    ):
        build_windows("lathe", [recording(cycle(100)), later], small())


def test_one_group_needs_one_layout():
    with pytest.raises(SignalError, match=r"channels of 'robot' is \('temp_body',\), of 'lathe'"):
        build_windows("all", [recording(cycle(100)), recording(cycle(100)[:, :1], asset="robot")], small())


def test_what_is_written_is_read_back_and_equal_windows_are_equal_bytes(tmp_path):
    windows, _ = build_windows("lathe", [recording(cycle(300))], small())
    write_windows(tmp_path / "one", windows)
    write_windows(tmp_path / "two", build_windows("lathe", [recording(cycle(300))], small())[0])
    assert tree_sha256(tmp_path / "one") == tree_sha256(tmp_path / "two")
    read = open_windows(tmp_path / "one")
    assert isinstance(read.samples, np.memmap)
    for name in ("samples", "row_times_s", "asset_of_row", "imputed"):
        np.testing.assert_array_equal(getattr(read, name), getattr(windows, name))
    for part in PARTS:
        np.testing.assert_array_equal(read.starts[part], windows.starts[part])
    for name in ("group", "channels", "units", "context", "horizon", "assets", "interval_s", "time_zone"):
        assert getattr(read, name) == getattr(windows, name)
