"""Main rest periods of people whose nights are known, and sleep in them counted minute by minute."""

import numpy as np
import pandas as pd
import pytest

from foresense.evaluate.measured import ActigraphyError
from foresense.evaluate.rest_periods import Nights, RestRules, main_rest_periods, measure_sleep
from foresense.signals import Recording
from foresense.signals.actigraphy import Minutes, gather_minutes

#: Hours by which an edge may be off: averages of 5 minutes reach 2 over it, and activity begins with any count.
EDGE_H = 0.1


def sleeper(
    start: str, n_minutes: int, bed_h: float = 23, up_h: float = 7, zone: str = "Europe/Oslo", seed: int = 0
) -> Minutes:
    """Somebody who lies down and gets up by the clock, and moves a little at night."""
    rng = np.random.default_rng(seed)
    at = pd.Timestamp(start)
    times = pd.date_range(at, periods=n_minutes, freq="min").tz_convert(zone)
    hour = times.hour + times.minute / 60
    in_bed = (hour >= bed_h) | (hour < up_h) if bed_h > up_h else (hour >= bed_h) & (hour < up_h)
    values = np.where(in_bed, rng.poisson(2, n_minutes) * (rng.random(n_minutes) < 0.2), rng.gamma(1, 200, n_minutes))
    return gather_minutes([Recording("p", values[:, None], ("a",), ("counts",), 60.0, at, zone)], "counts")


def clock_hours(minutes: Minutes, at: np.ndarray) -> np.ndarray:
    return minutes.clock[0, at] % 1440 / 60


def test_nights_are_found_where_they_are() -> None:
    minutes = sleeper("2003-01-06T12:00+01:00", 7 * 1440)
    nights = main_rest_periods(minutes)
    assert nights.found.tolist() == [[True] * 7]
    assert nights.first_night.tolist() == [pd.Timestamp("2003-01-06").value // (86400 * 10**9)]
    np.testing.assert_allclose(clock_hours(minutes, nights.begins[0]), 23, atol=EDGE_H)
    np.testing.assert_allclose(clock_hours(minutes, nights.ends[0]), 7, atol=EDGE_H)


@pytest.mark.parametrize(("bed_h", "up_h"), [(1, 8), (9, 17), (20, 6), (0, 6)])
def test_neither_the_hour_nor_the_length_of_the_night_matters(bed_h: float, up_h: float) -> None:
    minutes = sleeper("2003-01-06T20:00+01:00", 6 * 1440, bed_h, up_h)
    nights = main_rest_periods(minutes)
    begins, ends = nights.begins[nights.found], nights.ends[nights.found]
    assert len(begins) >= 5
    off_h = (clock_hours(minutes, begins) - bed_h + 12) % 24 - 12
    assert np.abs(off_h).max() < EDGE_H
    assert np.abs(clock_hours(minutes, ends) - up_h).max() < EDGE_H


def test_a_night_with_a_clock_change_is_as_long_as_it_was() -> None:
    """From 23:00 to 07:00 by the clock are 7 h on 2003-03-30, and 9 h on 2003-10-26."""
    for start, night, expected_h in (("2003-03-27T12:00Z", 2, 7), ("2003-10-23T12:00Z", 2, 9)):
        minutes = sleeper(start, 6 * 1440)
        nights = main_rest_periods(minutes)
        lengths_h = (nights.ends - nights.begins)[0][nights.found[0]] / 60
        assert lengths_h[night] == pytest.approx(expected_h, abs=2 * EDGE_H)
        np.testing.assert_allclose(np.delete(lengths_h, night), 8, atol=2 * EDGE_H)


def test_nights_that_say_nothing_say_why() -> None:
    minutes = sleeper("2003-01-06T12:00+01:00", 6 * 1440)
    values = minutes.values.copy()
    values[0, 1440 : 2 * 1440] = np.nan  # a day and a night off
    values[0, 2 * 1440 + 13 * 60 : 2 * 1440 + 14 * 60 + 30] = np.nan  # 01:00 to 02:30
    nights = main_rest_periods(minutes.with_values(values))
    assert nights.reasons[0].tolist() == [
        "",
        "not recorded or not worn for more than half of noon to noon",
        "more than 10% of the rest period was not recorded or not worn",
        "",
        "",
        "",
    ]
    late = main_rest_periods(sleeper("2003-01-06T00:00+01:00", 3 * 1440))
    assert late.reasons[0, 0] == "the recording begins or ends in the rest period"
    long = main_rest_periods(minutes, RestRules(max_h=5))
    assert set(long.reasons[0]) == {"rest of more than 5 h without a break"}
    awake = main_rest_periods(minutes, RestRules(min_h=11))
    assert set(awake.reasons[0]) == {"no rest of at least 11 h between noon and noon"}
    empty = main_rest_periods(minutes.with_values(np.full(minutes.values.shape, np.nan)))
    assert set(empty.reasons[0]) == {"not recorded or not worn for more than half of noon to noon"}
    with pytest.raises(ActigraphyError, match="rest_h 24 more or less give_h 3 must lie between 0 and 24"):
        RestRules(rest_h=24)


def plain_night(states: list[int]) -> tuple[float, float, float, float, float]:
    """TIB, TST, SE, SOL, WASO of one rest period, minute by minute."""
    n_asleep = sum(state == 1 for state in states)
    onset = next((at for at in range(len(states) - 9) if all(one == 1 for one in states[at : at + 10])), None)
    efficiency = 100 * n_asleep / len(states)
    if onset is None:
        return len(states), n_asleep, efficiency, np.nan, np.nan
    last = max(at for at, state in enumerate(states) if state == 1)
    waso = sum(state == 0 for state in states[onset : last + 1])
    return len(states), n_asleep, efficiency, onset, waso


def test_sleep_of_a_night_is_counted_minute_by_minute() -> None:
    rng = np.random.default_rng(0)
    runs = [(rng.choice([-1, 0, 1, 1]), rng.integers(1, 40)) for _ in range(400)]
    states = np.concatenate([np.full(length, state, np.int8) for state, length in runs])[: 2 * 3600].reshape(2, 3600)
    states[0, 100:160] = np.tile([1, 0], 30)  # a night without 10 minutes of sleep in a row
    begins = np.array([[100, 700, -1, 2000], [0, 1000, 2000, 3000]])
    ends = np.array([[160, 1200, -1, 2500], [480, 1500, 2010, 3600]])
    reasons = np.where(begins < 0, "off", "").astype(object)
    nights = Nights(np.zeros(2, np.int64), begins, ends, reasons)
    found = measure_sleep(states, nights)
    for row, night in np.ndindex(2, 4):
        got = [
            values[row, night]
            for values in (
                found.time_in_bed_min,
                found.total_sleep_min,
                found.efficiency,
                found.onset_latency_min,
                found.wake_after_onset_min,
            )
        ]
        if begins[row, night] < 0:
            assert np.isnan(got).all()
        else:
            np.testing.assert_allclose(got, plain_night(states[row, begins[row, night] : ends[row, night]].tolist()))
    by_name = {one.name: one for one in found.people}
    np.testing.assert_allclose(by_name["time_in_bed"].values, [(60 + 500 + 500) / 3, (480 + 500 + 10 + 600) / 4])
    assert by_name["n_nights"].values.tolist() == [3, 4]
    assert by_name["sleep_onset_latency"].reasons[0] == "2 night(s) can be measured, at least 3 are needed"
