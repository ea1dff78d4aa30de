"""Shares by counting, forecasts by their age, alarms as runs, and a machine whose story is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.evaluate.risk import (
    RiskRule,
    alarms_of,
    at_risk,
    forecasts_made_before,
    plain_shares,
    severity_of,
    share_outside,
    shares_of_newest,
    still_for,
)

RULE = RiskRule(newest=8, share=0.5, clear=0.25, lead=2, n_equal=4)


def test_severities_are_those_of_the_specification() -> None:
    assert [severity_of(share) for share in (0.3, 0.499, 0.5, 0.8, 0.801, 1.0)] == [
        "low",
        "low",
        "medium",
        "medium",
        "high",
        "high",
    ]


def test_a_share_is_counted_over_what_was_measured() -> None:
    nan = np.nan
    values = np.array([[0.0, nan], [2.0, nan], [-2.0, nan], [nan, 5.0]])
    np.testing.assert_array_equal(share_outside(values, np.array(-1.0), np.array(1.0)), [2 / 3, nan])
    half = share_outside(values[:2], np.array(-1.0), np.array(1.0))
    np.testing.assert_array_equal(half, [0.5, nan])
    on_the_edge = share_outside(np.array([[1.0], [-1.0]]), np.array(-1.0), np.array(1.0))
    assert on_the_edge == [0.0]


def test_the_plain_rule_is_what_a_loop_counts() -> None:
    rng = np.random.default_rng(0)
    contexts, forecasts = rng.normal(size=(20, 12, 3)), 2 * rng.normal(size=(20, 10, 3))
    found = plain_shares(contexts, forecasts)
    for window in range(20):
        for channel in range(3):
            low, high = contexts[window, :, channel].min(), contexts[window, :, channel].max()
            outside = [value for value in forecasts[window, :, channel] if value < low or value > high]
            assert found[window, channel] == len(outside) / 10


@given(
    origins=st.sets(st.integers(0, 40), min_size=1, max_size=20),
    horizon=st.integers(1, 8),
    lead=st.integers(1, 8),
    n_rows=st.integers(1, 50),
)
@settings(deadline=None)
def test_every_row_has_its_newest_forecast_of_the_age(origins: set[int], horizon: int, lead: int, n_rows: int) -> None:
    made = np.array(sorted(origins))
    forecasts = (100 * made[:, None] + np.arange(1, horizon + 1))[:, :, None].astype(float)  # origin and step
    if lead > horizon:
        with pytest.raises(ValueError, match=f"1 to {horizon} steps old when it is judged, found {lead}"):
            forecasts_made_before(made, forecasts, n_rows=n_rows, lead=lead)
        return
    found, steps = forecasts_made_before(made, forecasts, n_rows=n_rows, lead=lead)
    for row in range(n_rows):
        ages = [row - origin for origin in origins if lead <= row - origin <= horizon]
        assert steps[row] == min(ages, default=0)
        if ages:
            assert found[row, 0] == 100 * (row - min(ages)) + min(ages)
        else:
            assert np.isnan(found[row, 0])


def test_shares_of_the_newest_use_the_width_of_each_step() -> None:
    n_rows = 30
    half_width = np.array([[1.0], [2.0], [4.0]])
    steps = np.tile([1, 2, 3], 10)
    predicted = np.zeros((n_rows, 1))
    actual = np.full((n_rows, 1), 3.0)  # outside at steps 1 and 2, inside at step 3
    found = shares_of_newest(actual, predicted, steps, half_width, RiskRule(newest=6))
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[5:], 2 / 3)
    assert shares_of_newest(-actual, predicted, steps, half_width, RiskRule(newest=6))[-1] == found[-1]
    unmeasured = actual.copy()
    unmeasured[-4:] = np.nan
    assert np.isnan(shares_of_newest(unmeasured, predicted, steps, half_width, RiskRule(newest=6))[-1])
    no_forecast = shares_of_newest(actual, np.full_like(predicted, np.nan), np.zeros(30, int), half_width, RULE)
    assert np.isnan(no_forecast).all()


def test_a_still_sensor_is_counted_over_missing_readings() -> None:
    values = np.array([[np.nan], [1.0], [1.0], [np.nan], [1.0], [2.0], [2.0]])
    assert still_for(values)[:, 0].tolist() == [0, 1, 2, 2, 3, 1, 2]
    live = np.random.default_rng(0).normal(size=(500, 4))
    assert still_for(live).max() == 1


def test_an_alarm_begins_at_the_share_and_ends_at_the_lower_one() -> None:
    nan = np.nan
    shares = np.array([0.4, 0.5, 0.3, nan, 0.25, 0.2, 0.4, 0.6])[:, None]
    moving = np.ones((8, 1), int)
    assert at_risk(shares, moving, RULE)[:, 0].tolist() == [False, True, True, True, True, False, False, True]
    still = np.array([1, 2, 3, 4, 5, 1, 1, 1])[:, None]
    low = np.zeros((8, 1))
    assert at_risk(low, still, RULE)[:, 0].tolist() == [False, False, False, True, True, False, False, False]
    assert not at_risk(low, still, RiskRule(n_equal=0)).any()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_alarms_are_the_runs_and_give_the_flags_back(rows: list[tuple[bool, bool]]) -> None:
    flags = np.array(rows)
    again = np.zeros_like(flags)
    alarms = alarms_of(flags)
    for first, end, column in alarms:
        assert first < end
        assert not again[max(first - 1, 0) : end + 1, column].any()  # alarms of a channel never touch
        again[first:end, column] = True
    np.testing.assert_array_equal(again, flags)


def test_an_unplanned_stop_of_hours_is_no_alarm_of_the_default_rule() -> None:
    n_rows, stop = 200, slice(100, 106)
    actual = np.random.default_rng(0).normal(0, 0.1, (n_rows, 1))
    actual[stop] -= 20.0
    actual[106:118] -= 5.0  # and half a day until it is warm again
    shares = shares_of_newest(actual, np.zeros((n_rows, 1)), np.full(n_rows, 24), np.full((24, 1), 0.5), RiskRule())
    assert np.nanmax(shares) == 18 / 48
    assert not at_risk(shares, still_for(actual), RiskRule()).any()
