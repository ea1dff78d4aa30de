import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.signals import Scaler, SignalError, Windows, group_folders, read_scaler, write_json

CHANNELS = ("temp_body", "current")


@pytest.fixture
def scaler():
    return Scaler("minmax", CHANNELS, np.array([55.0, 10.0]), np.array([25.0, 0.1]), np.array([62.0, 14.0]))


def windows_of(samples, *, context, horizon, scaler=None):
    none = np.array([], np.int64)
    n_rows, n_channels = samples.shape
    names = tuple(f"channel_{index}" for index in range(n_channels))
    return Windows(
        group="lathe",
        samples=samples,
        channels=names,
        units=("1",) * n_channels,
        context=context,
        horizon=horizon,
        starts={"train": none, "validation": none, "test": none},
        row_times_s=np.arange(n_rows),
        asset_of_row=np.zeros(n_rows, np.int32),
        assets=("lathe",),
        interval_s=1.0,
        time_zone="UTC",
        scaler=scaler or Scaler("minmax", names, np.zeros(n_channels), np.ones(n_channels), np.zeros(n_channels)),
    )


@settings(deadline=None, max_examples=80)
@given(
    n_channels=st.integers(1, 5),
    context=st.integers(1, 12),
    horizon=st.integers(1, 6),
    more=st.integers(0, 30),
    data=st.data(),
)
def test_gathered_windows_are_numpys_sliding_windows(n_channels, context, horizon, more, data):
    length = context + horizon
    samples = np.arange((length + more) * n_channels, dtype=np.float32).reshape(-1, n_channels)
    starts = np.array(data.draw(st.lists(st.integers(0, more), max_size=8)), np.int64)
    view = np.lib.stride_tricks.sliding_window_view(samples, length, axis=0)  # (n, n_channels, length)
    found = windows_of(samples, context=context, horizon=horizon).gather(starts)
    np.testing.assert_array_equal(found, view[starts].transpose(0, 2, 1))


def test_gathered_windows_are_a_copy_that_can_be_written_to():
    samples = np.zeros((10, 2), np.float32)
    batch = windows_of(samples, context=3, horizon=1).gather(np.array([0, 1]))
    batch += 1
    assert not samples.any()


@pytest.mark.parametrize("start", [7, 2**40])
def test_a_start_behind_the_last_window_is_refused(start):
    with pytest.raises(IndexError, match=f"index {start} is out of bounds"):
        windows_of(np.zeros((10, 2), np.float32), context=3, horizon=1).gather(np.array([start]))


@pytest.mark.parametrize("method", ["transform", "inverse"])
@pytest.mark.parametrize("other", [CHANNELS[::-1], ("temp_body",), (*CHANNELS, "vibration_magnitude")])
def test_a_scaler_refuses_other_channels_and_another_order(scaler, method, other):
    with pytest.raises(SignalError, match=r"fitted on channels \['temp_body', 'current'\], in this order; found"):
        getattr(scaler, method)(np.zeros((1, len(other))), other)


def test_a_scaler_is_the_stated_affine_map_without_clipping(scaler):
    scaled = scaler.transform(np.array([[55.0, 10.0], [80.0, 10.1], [105.0, 9.9]]), CHANNELS)
    np.testing.assert_allclose(scaled, [[0, 0], [1, 1], [2, -1]], atol=1e-9)


def test_a_scaler_survives_the_disk_bit_for_bit(tmp_path, scaler):
    scaler.write(tmp_path / "scaler.json")
    read = read_scaler(tmp_path / "scaler.json")
    assert (read.kind, read.channels) == (scaler.kind, scaler.channels)
    for name in ("shift", "scale", "mean"):
        np.testing.assert_array_equal(getattr(read, name), getattr(scaler, name))


def test_group_folders_come_from_the_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `foresense window plant` first"):
        group_folders(tmp_path / "plant")
    write_json(tmp_path / "plant" / "manifest.json", {"groups": ["lathe", "robot"]})
    assert group_folders(tmp_path / "plant") == [tmp_path / "plant" / "lathe", tmp_path / "plant" / "robot"]
