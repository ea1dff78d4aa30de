import numpy as np
import pandas as pd
import pytest

from foresense.sources import SourceError
from foresense.sources.clock import read_clock


def _utc(clock):
    return pd.to_datetime(clock.times_ns, utc=True)


def test_times_without_a_zone_are_local_and_times_with_one_are_not():
    column = pd.Series(["2024-07-01 12:00", "2024-07-01T12:00:00+05:30", "2024-07-01T12:00:00Z", "2024-07-02"])
    clock = read_clock(column, "Europe/Paris", file="a.csv")
    # Paris is two hours ahead of UTC in July, India five and a half all year.
    assert list(_utc(clock)) == [
        pd.Timestamp("2024-07-01T10:00Z"),
        pd.Timestamp("2024-07-01T06:30Z"),
        pd.Timestamp("2024-07-01T12:00Z"),
        pd.Timestamp("2024-07-01T22:00Z"),
    ]
    assert (clock.reasons == "").all()


def test_the_hour_that_the_clock_skips_is_refused():
    column = pd.Series(["2024-03-31 01:30", "2024-03-31 02:30", "2024-03-31 03:30"])
    clock = read_clock(column, "Europe/Paris", file="a.csv")
    assert list(clock.reasons) == ["", "never happened in Europe/Paris: the clock skipped it", ""]
    assert _utc(clock)[2] - _utc(clock)[0] == pd.Timedelta(hours=1)


@pytest.mark.parametrize("minutes", [10, 60])
def test_the_hour_that_comes_twice_is_told_apart_by_the_step_back(minutes):
    truth = pd.date_range("2024-10-26T22:00Z", "2024-10-27T04:00Z", freq=f"{minutes}min")
    local = pd.Series(truth.tz_convert("Europe/Paris").tz_localize(None))
    for column in (local, local.dt.strftime("%Y-%m-%d %H:%M:%S")):
        clock = read_clock(column, "Europe/Paris", file="a.csv")
        np.testing.assert_array_equal(clock.times_ns, truth.as_unit("ns").asi8)
        assert clock.repeated.sum() == 2 * 60 // minutes
        assert clock.n_second == 60 // minutes


def test_a_single_passage_is_taken_as_the_first():
    clock = read_clock(pd.Series(["2024-10-27 01:30", "2024-10-27 02:30"]), "Europe/Paris", file="a.csv")
    assert _utc(clock)[1] == pd.Timestamp("2024-10-27T00:30Z")
    assert clock.repeated.tolist() == [False, True]
    assert clock.n_second == 0


def test_times_that_cannot_be_read_say_why():
    clock = read_clock(pd.Series(["2024-01-01 00:00", "yesterday", None]), "UTC", file="a.csv")
    assert list(clock.reasons) == ["", "not an ISO 8601 time", "no time"]


def test_a_column_of_other_times_is_refused():
    with pytest.raises(SourceError, match=r"a.csv: no time in column 'when'.*'31.05.2024'.*ISO 8601"):
        read_clock(pd.Series(["31.05.2024"], name="when"), "UTC", file="a.csv")
    with pytest.raises(SourceError, match=r"a.csv: column 'when' holds numbers \('1717160400'\), expected ISO 8601"):
        read_clock(pd.Series([1717160400], name="when"), "UTC", file="a.csv")


def test_an_unknown_zone_is_refused():
    with pytest.raises(SourceError, match="'Europe/Pariss' is no time zone; give an IANA name"):
        read_clock(pd.Series(["2024-01-01"]), "Europe/Pariss", file="a.csv")


def test_datetimes_with_a_zone_need_no_other():
    column = pd.Series(pd.to_datetime(["2024-07-01T12:00+02:00", None]))
    clock = read_clock(column, "Asia/Tokyo", file="a.parquet")
    assert _utc(clock)[0] == pd.Timestamp("2024-07-01T10:00Z")
    assert list(clock.reasons) == ["", "no time"]
