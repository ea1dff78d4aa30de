from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.signals import Recording, SignalError, read_recordings, tree_sha256, write_recordings


@pytest.fixture
def lathe():
    """Two hours of a lathe, with one sample missing."""
    samples = np.array([[60.0, 15.0], [61.0, np.nan], [62.0, 16.0]])
    start = pd.Timestamp("2025-03-30 01:00", tz="Europe/Berlin")
    return Recording("lathe-1", samples, ("temp_body", "current"), ("Cel", "A"), 3600.0, start, "Europe/Berlin")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": np.zeros((3, 3))}, r"samples must be \(n_samples, 2\) for channels .* found shape \(3, 3\)"),
        ({"samples": np.zeros(3)}, r"found shape \(3,\)"),
        ({"units": ("Cel",)}, "1 units for 2 channels"),
        ({"start": pd.Timestamp("2025-01-01")}, "has no time zone; localise it first"),
        ({"interval_s": 0.0}, "interval_s must be positive, found 0.0"),
        ({"samples": np.array([[1.0, 2.0], [3.0, -np.inf]])}, "channel 'current' is infinite at row 1"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(lathe, wrong, message):
    with pytest.raises(SignalError, match=f"recording 'lathe-1': .*{message}"):
        replace(lathe, **wrong)


def test_times_are_utc_and_run_through_the_change_of_the_clock(lathe):
    # 01:00 in Berlin is 00:00 UTC; an hour later the clock there says 03:00
    assert [time.isoformat() for time in lathe.times()] == [f"2025-03-30T0{hour}:00:00+00:00" for hour in range(3)]


def test_recordings_come_back_as_written_by_asset_and_time(tmp_path, lathe):
    later = replace(lathe, start=lathe.start + pd.Timedelta(days=1))
    robot = replace(lathe, asset="a robot/2")
    write_recordings(tmp_path / "plant", [later, robot, lathe], facts={"source": "simulate"})
    found = read_recordings(tmp_path / "plant")
    for read, written in zip(found, [robot, lathe, later], strict=True):
        np.testing.assert_array_equal(read.samples, written.samples)
        for name in ("asset", "channels", "units", "interval_s", "start", "time_zone"):
            assert getattr(read, name) == getattr(written, name)


def test_equal_recordings_are_equal_bytes_in_any_order(tmp_path, lathe):
    robot = replace(lathe, asset="robot")
    write_recordings(tmp_path / "one", [lathe, robot], facts={})
    write_recordings(tmp_path / "two", [robot, lathe], facts={})
    assert tree_sha256(tmp_path / "one") == tree_sha256(tmp_path / "two")


def test_recordings_that_are_not_there_say_which_command_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest\.json: not there; run `foresense ingest plant` first"):
        read_recordings(tmp_path / "plant")


@settings(deadline=None, max_examples=15)
@given(rows=st.lists(st.floats(allow_infinity=False, width=64), max_size=20))
def test_every_number_survives_the_disk_bit_for_bit(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("recordings") / "plant"
    samples = np.array(rows, float).reshape(-1, 1)
    start = pd.Timestamp("2025-01-01", tz="UTC")
    write_recordings(folder, [Recording("a", samples, ("current",), ("A",), 2.0, start)], facts={})
    np.testing.assert_array_equal(read_recordings(folder)[0].samples, samples)
