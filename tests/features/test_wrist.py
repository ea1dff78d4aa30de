from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.wrist_reference import wrist_windows
from foresense.features import Contexts
from foresense.features.statistical import NAMES, UNITS, statistical_features
from foresense.features.wrist import statistical, time_of_day
from foresense.signals import SignalError


@pytest.fixture
def contexts():
    """Four windows of 10 s at 20 Hz, in g."""
    samples = wrist_windows(4, length=200, rate_hz=20.0)
    issued_s = 1_735_689_600 + 10 * np.arange(4)
    return Contexts(
        samples, np.zeros(samples.shape, bool), issued_s, ("x", "y", "z"), ("g",) * 3, 0.05, "Europe/Berlin"
    )


def times(seconds, time_zone):
    """The five numbers at one moment, by name."""
    empty = np.zeros((1, 1, 1))
    found = time_of_day(Contexts(empty, empty.astype(bool), np.array([seconds]), ("temp",), ("Cel",), 1.0, time_zone))
    return dict(zip(found.names, found.values[0], strict=True))


def test_the_family_is_the_56_statistics_at_the_rate_of_the_contexts(contexts):
    found = statistical(contexts)
    assert (found.names, found.units) == (NAMES[2], UNITS[2])
    np.testing.assert_array_equal(found.values, statistical_features(contexts.samples, 20.0))


@pytest.mark.parametrize("channels", [("z", "x", "y"), ("wrist_z", "wrist_x", "wrist_y")])
def test_channels_are_found_by_name_in_any_order(contexts, channels):
    turned = replace(contexts, samples=contexts.samples[..., [2, 0, 1]], channels=channels)
    np.testing.assert_array_equal(statistical(turned).values, statistical(contexts).values)


def test_other_units_are_refused_with_what_to_do(contexts):
    with pytest.raises(
        SignalError,
        match=r"three channels in g, found \['x \(m/s2\)', 'y \(g\)', 'z \(g\)'\]; .* \(m/s2: divide by 9\.80665\)",
    ):
        statistical(replace(contexts, units=("m/s2", "g", "g")))


def test_more_or_fewer_channels_are_refused(contexts):
    two = replace(contexts, samples=contexts.samples[..., :2], channels=("x", "y"), units=("g", "g"))
    with pytest.raises(SignalError, match=r"expects three channels in g, found \['x \(g\)', 'y \(g\)'\]; leave out"):
        statistical(two)


@pytest.mark.parametrize("channels", [("a", "b", "c"), ("x", "x", "z"), ("head_x", "y", "w")])
def test_channels_that_name_no_axes_are_refused(contexts, channels):
    with pytest.raises(SignalError, match=r"expects channels named x, y, z \(or ending in _x, _y, _z\), found \['"):
        statistical(replace(contexts, channels=channels))


def test_samples_in_the_wrong_unit_are_refused_whatever_their_unit_is_called(contexts):
    with pytest.raises(ValueError, match=r"looks like m/s2; divide the samples by 9\.80665"):
        statistical(replace(contexts, samples=9.80665 * contexts.samples))


def test_half_past_six_on_a_local_saturday():
    found = times(int(pd.Timestamp("2024-06-01T04:30:59Z").timestamp()), "Europe/Berlin")
    assert found == {"hour": 6 / 24, "minute": 0.5, "weekday": 5 / 7, "is_weekend": 1, "quarter_of_day": 1}


def test_the_weekend_begins_at_local_midnight():
    friday = int(pd.Timestamp("2024-06-07T21:59:59Z").timestamp())
    assert [times(friday + later, "Europe/Berlin")["is_weekend"] for later in (0, 1)] == [0, 1]
    assert [times(friday + later, "UTC")["is_weekend"] for later in (0, 1)] == [0, 0]


@settings(deadline=None, max_examples=100)
@given(
    second=st.integers(0, 4_000_000_000),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_time_agrees_with_the_standard_library(second, zone):
    local = datetime.fromtimestamp(second, ZoneInfo(zone))
    assert times(second, zone) == {
        "hour": local.hour / 24,
        "minute": local.minute / 60,
        "weekday": local.weekday() / 7,
        "is_weekend": local.isoweekday() > 5,
        "quarter_of_day": sum(local.hour >= start for start in (6, 12, 18)),
    }
