"""Weeks by the wall clock: which are cut, which are refused, and what a week that somebody gives must be."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from foresense.config.actigraphy import WeekConfig
from foresense.signals import Recording
from foresense.signals.actigraphy import Minutes, gather_minutes
from foresense.windows.wear import find_wear
from foresense.windows.weeks import WeekError, check_week, cut_weeks

WEEK = 10080


def recording(start: str, values: np.ndarray, zone: str = "UTC") -> Recording:
    return Recording("p", values[:, None], ("activity",), ("counts",), 60.0, pd.Timestamp(start), zone)


def active(n_minutes: int) -> np.ndarray:
    return 10.0 + np.random.default_rng(0).poisson(50, n_minutes)


def one(start: str, values: np.ndarray, zone: str = "UTC") -> Minutes:
    return gather_minutes([recording(start, values, zone)], "counts")


def test_weeks_begin_with_the_first_whole_day_and_do_not_overlap() -> None:
    values = active(18 * 1440)
    minutes = one("2024-01-01T15:00Z", values)  # a Monday; whole from Tuesday on
    weeks, refused = cut_weeks(minutes, find_wear(minutes))
    assert weeks.values.shape == (2, WEEK)
    assert weeks.weekdays.tolist() == [1, 1]
    assert np.diff(weeks.first_days).tolist() == [7]
    np.testing.assert_array_equal(weeks.values[0], values[9 * 60 : 9 * 60 + WEEK])
    assert weeks.n_valid_days.tolist() == [7, 7]
    np.testing.assert_allclose(weeks.wear_h, [168, 168])
    assert refused == ()
    assert len(cut_weeks(minutes, find_wear(minutes), WeekConfig(stride_days=1))[0].values) == 11
    assert weeks.taken(np.array([1])).first_days.tolist() == weeks.first_days[1:].tolist()


def test_a_week_with_a_clock_change_is_filled_from_its_other_days() -> None:
    values = active(7 * 1440 - 60)
    minutes = one("2003-03-24T23:00Z", values, "Europe/Oslo")
    weeks, refused = cut_weeks(minutes, find_wear(minutes))
    assert refused == ()
    assert weeks.n_filled.tolist() == [60]
    days = weeks.values.reshape(7, 24, 60)
    others = np.delete(days, 5, axis=0)[:, 2]
    np.testing.assert_allclose(days[5, 2], others.mean(axis=0), rtol=1e-15)
    np.testing.assert_array_equal(days[5, 3], values[5 * 1440 + 120 : 5 * 1440 + 180])
    assert cut_weeks(minutes, find_wear(minutes), WeekConfig(max_missing_min=59))[0].values.shape == (0, WEEK)


def test_a_week_that_does_not_count_is_refused_with_the_reason() -> None:
    gap = active(14 * 1440)
    gap[1440 + 100 : 1440 + 200] = np.nan
    gap[7 * 1440 : 11 * 1440] = 0
    minutes = one("2024-01-01T00:00Z", gap)
    weeks, refused = cut_weeks(minutes, find_wear(minutes))
    assert len(weeks.values) == 0
    assert [found.reason for found in refused] == [
        "100 minutes are missing, at most 60 can be filled",
        "3 day(s) with at least 10 h of wear, at least 4 are needed",
    ]


def test_two_missing_days_cost_one_week_and_not_the_next() -> None:
    gap = active(14 * 1440)
    gap[2 * 1440 : 4 * 1440] = np.nan
    minutes = one("2024-01-01T00:00Z", gap)
    weeks, refused = cut_weeks(minutes, find_wear(minutes))
    assert [found.reason for found in refused] == ["2880 minutes are missing, at most 60 can be filled"]
    assert weeks.first_days.tolist() == [refused[0].first_day + 7]


def given(**changed: object) -> dict[str, object]:
    return {
        "values": active(WEEK),
        "unit": "counts",
        "epoch_s": 60,
        "start": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        "time_zone": "Europe/Oslo",
    } | changed


def test_a_good_week_says_where_it_begins_and_how_long_it_was_worn() -> None:
    facts = check_week(**given())  # type: ignore[arg-type]
    assert (facts.weekday, facts.start_minute, facts.wear_h, facts.n_valid_days) == (0, 0, 168.0, 7)
    assert check_week(**given(start=datetime(2024, 1, 6))).weekday == 5  # type: ignore[arg-type]


ZEROS = np.zeros(WEEK)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"values": active(WEEK - 1)},
            r"expected 10080 numbers, one for each minute of a week, found shape \(10079,\)",
        ),
        ({"values": np.array(["1"] * WEEK)}, r"expected 10080 numbers, .* of <U1"),
        ({"values": np.r_[active(WEEK - 1), np.nan]}, r"1 value\(s\) are not finite, the first at minute 10079"),
        ({"values": active(WEEK) - 60}, r"value\(s\) are below zero, .* as it was recorded, not scaled"),
        ({"values": ZEROS}, r"activity is 0 throughout \(deviation 0\): the device was not worn; worn on 0 day"),
        (
            {"values": np.r_[active(3 * 1440), ZEROS[: 4 * 1440]]},
            r"worn on 3 day\(s\) .*\(72 h of the week\), at least 4",
        ),
        ({"unit": "g"}, "unit is 'g', expected one of counts, mims, enmo, unknown"),
        ({"epoch_s": 30}, "epochs are 30 s long, expected 60 s; convert them"),
        ({"time_zone": "Oslo"}, "'Oslo' is no time zone; give an IANA name"),
        (
            {"start": datetime(2024, 1, 1, tzinfo=UTC)},
            r"begins at 01:00:00 local time \(Europe/Oslo\), expected midnight",
        ),
    ],
)
def test_a_bad_week_says_what_is_wrong(changed: dict[str, object], message: str) -> None:
    with pytest.raises(WeekError, match=message):
        check_week(**given(**changed))  # type: ignore[arg-type]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(WeekError, match=r"midnight; unit is 'x'.*; epochs are 1 s long.*; expected 10080 numbers"):
        check_week(np.zeros(5), unit="x", epoch_s=1, start=datetime(2024, 1, 1, 3), time_zone="UTC")
