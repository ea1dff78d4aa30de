"""Minutes and days by the wall clock, with the hour that is skipped and the one that comes twice."""

import numpy as np
import pandas as pd
import pytest

from foresense.signals import Recording, SignalError
from foresense.signals.actigraphy import Minutes, days_by_clock, gather_minutes


def recording(start: str, values: np.ndarray, person: str = "p", zone: str = "Europe/Oslo") -> Recording:
    return Recording(person, values[:, None].astype(float), ("activity",), ("counts",), 60.0, pd.Timestamp(start), zone)


def test_the_hour_that_the_clock_skips_has_no_value() -> None:
    # 2003-03-30 01:00 UTC: Oslo goes from 02:00 to 03:00
    minutes = gather_minutes([recording("2003-03-29T23:00Z", np.arange(23 * 60.0))], "counts")
    days = days_by_clock(minutes)
    assert days.values.shape == (1, 1, 1440)
    assert days.weekdays.tolist() == [[6]]
    assert days.first_day.tolist() == [pd.Timestamp("2003-03-30").value // (86400 * 10**9)]
    hours = days.values.reshape(24, 60)
    assert np.isnan(hours[2]).all()
    np.testing.assert_array_equal(hours[1], np.arange(60, 120))
    np.testing.assert_array_equal(hours[3], np.arange(120, 180))
    assert not np.isnan(np.delete(hours, 2, axis=0)).any()


def test_the_hour_that_comes_twice_has_the_mean_of_both() -> None:
    # 2003-10-26 01:00 UTC: Oslo goes from 03:00 back to 02:00
    values = np.arange(25 * 60.0)
    values[190] = np.nan  # second passage of 02:10
    days = days_by_clock(gather_minutes([recording("2003-10-25T22:00Z", values)], "counts"))
    hours = days.values.reshape(-1, 24, 60)[0]
    expected = np.arange(120, 180) + 30.0
    expected[10] = 130.0
    np.testing.assert_array_equal(hours[2], expected)
    np.testing.assert_array_equal(hours[3], np.arange(240, 300))


def test_people_keep_their_own_clock_and_shorter_rows_end_with_nan() -> None:
    short = recording("2003-01-05T23:30Z", np.array([1.0, 2.0]), "a", "UTC")
    long = recording("2003-01-06T12:00Z", np.arange(3.0), "b")
    minutes = gather_minutes([short, long], "counts")
    np.testing.assert_array_equal(minutes.values, [[1, 2, np.nan], [0, 1, 2]])
    assert minutes.clock[:, 0].tolist() == [
        pd.Timestamp(text).value // (60 * 10**9) for text in ("2003-01-05T23:30", "2003-01-06T13:00")
    ]
    days = days_by_clock(minutes)
    assert days.weekdays[:, 0].tolist() == [6, 0]
    assert np.nansum(days.values, axis=(1, 2)).tolist() == [3, 3]


def test_what_cannot_be_minutes_says_why() -> None:
    day = np.ones(10)
    with pytest.raises(SignalError, match=r"one recording for each person, found \['p'\] more than once"):
        gather_minutes([recording("2003-01-05T00:00Z", day), recording("2003-01-09T00:00Z", day)], "counts")
    fast = Recording("p", day[:, None], ("activity",), ("counts",), 30.0, pd.Timestamp("2003-01-05", tz="UTC"))
    with pytest.raises(SignalError, match=r"1 channel\(s\) every 30 s, expected one channel every 60 s; convert"):
        gather_minutes([fast], "counts")
    clock = np.arange(2)[None]
    with pytest.raises(SignalError, match="person 'p': minute 1 is -1; expected a finite value of at least 0"):
        Minutes(("p",), np.array([[0.0, -1.0]]), clock, "counts")
    with pytest.raises(SignalError, match="unit 'g'; expected one of counts, mims, enmo, unknown"):
        Minutes(("p",), np.zeros((1, 2)), clock, "g")  # type: ignore[arg-type]
    with pytest.raises(SignalError, match=r"2 people, values \(1, 2\) and clock \(1, 2\) do not fit together"):
        Minutes(("p", "q"), np.zeros((1, 2)), clock, "counts")
