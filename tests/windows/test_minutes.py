"""Epochs to minutes: sums of counts, means of ENMO, maxima for the formulas of Cole and Kripke."""

import numpy as np
import pandas as pd
import pytest

from foresense.signals import Recording, SignalError
from foresense.windows.minutes import minute_maxima, to_minutes


def epochs(values: list[float], interval_s: float = 10.0, start: str = "2024-01-01T00:00Z") -> Recording:
    return Recording("p", np.array(values)[:, None], ("activity",), ("counts",), interval_s, pd.Timestamp(start))


def test_counts_are_added_and_enmo_is_averaged() -> None:
    given = epochs([1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, np.nan, 1])
    np.testing.assert_array_equal(to_minutes(given, "counts").samples, [[21], [np.nan]])
    np.testing.assert_array_equal(to_minutes(given, "mims").samples, [[21], [np.nan]])
    np.testing.assert_array_equal(to_minutes(given, "enmo").samples, [[3.5], [np.nan]])
    assert to_minutes(given, "counts").interval_s == 60.0


def test_minutes_begin_on_the_minute() -> None:
    made = to_minutes(epochs([9, 1, 2, 3, 4], 30.0, "2024-01-01T00:00:30Z"), "counts")
    assert made.start == pd.Timestamp("2024-01-01T00:01Z")
    assert made.samples.tolist() == [[3], [7]]
    whole = epochs([1, 2], 60.0)
    assert to_minutes(whole, "unknown") is whole


def test_maxima_of_a_minute() -> None:
    given = epochs([1, 5, 5, 1, 0, 0] * 2, 5.0)  # 60 s
    assert minute_maxima(given, over_s=10, overlapping=False).samples.tolist() == [[6]]
    assert minute_maxima(given, over_s=10, overlapping=True).samples.tolist() == [[10]]
    assert minute_maxima(given, over_s=30, overlapping=False).samples.tolist() == [[12]]


@pytest.mark.parametrize(
    ("given", "unit", "message"),
    [
        (epochs([1, 2], 7.0), "counts", "epochs of 7 s do not divide a minute"),
        (epochs([1, 2], 120.0), "counts", "epochs of 120 s do not divide a minute"),
        (epochs([1] * 6), "unknown", r"unknown unit cannot become minutes: .*say which it is \(ingest.unit\)"),
        (epochs([1] * 5), "counts", "5 epochs of 10 s hold no whole minute"),
        (epochs([1] * 9, start="2024-01-01T00:00:03Z"), "counts", "never begin a minute; shift the start"),
    ],
)
def test_what_cannot_become_minutes_says_why(given: Recording, unit: str, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        to_minutes(given, unit)  # type: ignore[arg-type]


def test_epochs_that_are_too_long_for_a_maximum_say_so() -> None:
    with pytest.raises(SignalError, match="sums over 10 s cannot be made of epochs of 30 s"):
        minute_maxima(epochs([1, 2], 30.0), over_s=10, overlapping=False)
