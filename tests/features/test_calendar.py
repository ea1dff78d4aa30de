from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.features import Contexts
from foresense.features.calendar import calendar


def at(seconds, time_zone):
    issued_s = np.atleast_1d(np.asarray(seconds, np.int64))
    empty = np.zeros((len(issued_s), 1, 1))
    found = calendar(Contexts(empty, empty.astype(bool), issued_s, ("current",), ("A",), 3600.0, time_zone))
    return dict(zip(found.names, found.values.T, strict=True))


def seconds(text):
    return int(pd.Timestamp(text).timestamp())


def turn(found, name):
    """Share of the cycle, 0..1, told back from sine and cosine."""
    return np.arctan2(found[f"{name}_sin"], found[f"{name}_cos"]) / (2 * np.pi) % 1


def test_six_on_a_local_monday_morning_at_new_year():
    found = at(seconds("2024-01-01T05:00:00Z"), "Europe/Berlin")  # a Monday
    assert turn(found, "hour")[0] == pytest.approx(6 / 24)
    assert found["weekday_cos"][0] == pytest.approx(1)
    assert found["day_of_year_cos"][0] == pytest.approx(1)


def test_the_hour_follows_the_change_of_the_clock():
    # Berlin, 2024-03-31: 02:00 becomes 03:00; 2024-10-27: 03:00 becomes 02:00
    spring = [seconds("2024-03-31T00:59:59Z"), seconds("2024-03-31T01:00:00Z")]
    assert turn(at(spring, "Europe/Berlin"), "hour") * 24 == pytest.approx([1 + 3599 / 3600, 3])
    autumn = [seconds("2024-10-27T00:30:00Z"), seconds("2024-10-27T01:30:00Z")]
    assert turn(at(autumn, "Europe/Berlin"), "hour") * 24 == pytest.approx([2.5, 2.5])


def test_the_last_day_of_a_leap_year_does_not_meet_new_year():
    found = at(seconds("2024-12-31T12:00:00Z"), "UTC")
    assert turn(found, "day_of_year")[0] == pytest.approx(365 / 366)


@settings(deadline=None, max_examples=100)
@given(
    second=st.integers(0, 4_000_000_000),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_it_agrees_with_the_standard_library(second, zone):
    local = datetime.fromtimestamp(second, ZoneInfo(zone))
    found = at(second, zone)
    days = local.timetuple().tm_yday - 1
    year = 366 if local.year % 4 == 0 and (local.year % 100 != 0 or local.year % 400 == 0) else 365
    expected = {
        "hour": (local.hour * 3600 + local.minute * 60 + local.second) / 86400,
        "weekday": local.weekday() / 7,
        "day_of_year": days / year,
    }
    for name, share in expected.items():
        assert found[f"{name}_sin"][0] == pytest.approx(np.sin(2 * np.pi * share), abs=1e-12)
        assert found[f"{name}_cos"][0] == pytest.approx(np.cos(2 * np.pi * share), abs=1e-12)
