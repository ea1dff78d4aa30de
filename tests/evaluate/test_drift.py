"""Distances against scipy and hand sums, residuals on signals with a known week, verdicts on known shifts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, median_abs_deviation

from foresense.evaluate.distances import ks_statistic, population_stability_index, robust_centre
from foresense.evaluate.drift import (
    DriftRule,
    Reference,
    fit_reference,
    fleet_of,
    is_alarm,
    measure_drift,
    moves_of,
    read_reference,
)
from foresense.evaluate.moves import FLEET_WEIGHT
from foresense.evaluate.week import hours_of_week

HOUR = 3600
START = int(pd.Timestamp("2025-03-01", tz="Europe/Berlin").timestamp())
ZONE = "Europe/Berlin"
N_TRAIN, N_NIGHT = 2016, 24 + 336


def week(n_rows: int, *, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Two channels with a strong local week: (n_rows, 2) samples and their times; independent noise."""
    times_s = START + np.arange(n_rows) * HOUR
    hours = hours_of_week(times_s, ZONE)
    shift = np.where((hours % 24 >= 6) & (hours % 24 < 20) & (hours < 120), 10.0, 2.0)
    rng = np.random.default_rng(seed)
    return np.stack([shift, 5 + 0.5 * shift], axis=1) + noise * rng.normal(size=(n_rows, 2)), times_s


def fitted(n_train: int = N_TRAIN):
    samples, times_s = week(n_train + 14 * 24, seed=1)
    reference = fit_reference(
        samples[:n_train], times_s[:n_train], channels=("a", "b"), time_zone=ZONE, interval_s=HOUR
    )
    return reference, samples, times_s


@given(
    st.lists(st.floats(-5, 5), min_size=4, max_size=60),
    st.lists(st.floats(-5, 5), min_size=4, max_size=60),
)
@settings(deadline=None)
def test_the_two_sample_statistic_is_scipys(first: list[float], second: list[float]) -> None:
    expected = ks_2samp(first, second, method="asymp").statistic
    assert ks_statistic(np.array(first), np.sort(second)) == pytest.approx(expected, abs=1e-12)


def test_the_index_is_the_textbook_sum() -> None:
    edges = np.array([1.0, 2.0, 3.0])
    sample = np.array([0.0, 0.5, 1.5, 2.5, 2.6, 2.7, 2.8, 3.0, 9.0, 10.0])  # 2, 1, 4 and 3 of ten
    expected = sum((q - 0.25) * np.log(q / 0.25) for q in (0.2, 0.1, 0.4, 0.3))
    assert population_stability_index(sample, edges) == pytest.approx(expected)
    assert population_stability_index(np.array([0.0, 1.5, 2.5, 3.5]), edges) == 0
    only_first = 0.75 * np.log(1 / 0.25) + 3 * (0.125 - 0.25) * np.log(0.125 / 0.25)  # an empty bin is half of 4 values
    assert population_stability_index(np.zeros(4), edges) == pytest.approx(only_first)


def test_the_index_of_the_same_distribution_is_a_chi_squared_over_n() -> None:
    # 2 x (q - p) ln(q / p) is symmetric relative entropy: n PSI tends to chi squared with 9 degrees (Yurdakul 2018).
    rng = np.random.default_rng(0)
    edges = np.linspace(0.1, 0.9, 9)
    found = [500 * population_stability_index(rng.random(500), edges) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(9, abs=0.4)
    assert np.var(found) == pytest.approx(18, rel=0.2)


def test_a_stop_does_not_pull_the_centre() -> None:
    values = np.r_[np.zeros(20), np.full(4, -50.0)]
    assert abs(robust_centre(values)) < 0.7 < abs(values.mean())
    assert robust_centre(np.array([1.0, 2.0, 3.0])) == 2


def test_hours_of_the_week_are_local_over_the_change_of_clocks() -> None:
    monday = pd.date_range("2025-03-24", periods=168, freq="h", tz=ZONE)  # the clock goes forward on Sunday the 30th
    found = hours_of_week(monday.as_unit("s").asi8, ZONE)
    assert list(found[:3]) == [0, 1, 2]
    assert 146 not in found  # Sunday 2:00 did not happen
    assert found[-1] == 0  # 168 hours after Monday 0:00 it is Monday 0:00, and an hour was skipped: 1 hour of the next
    assert sorted(set(found)) == [hour for hour in range(168) if hour != 146]


def test_levels_are_the_week_itself_and_deviations_those_of_the_noise() -> None:
    reference, _, _ = fitted()
    hours = np.arange(168)
    shift = np.where((hours % 24 >= 6) & (hours % 24 < 20) & (hours < 120), 10.0, 2.0)
    np.testing.assert_allclose(reference.level, np.stack([shift, 5 + 0.5 * shift], axis=1), atol=0.45)
    # a level is a median of 9 values of other weeks: its variance, pi / 2 / 9, comes on top
    np.testing.assert_allclose(reference.deviation, 0.3 * (1 + np.pi / 18) ** 0.5, rtol=0.06)


def test_the_week_is_no_drift_and_raw_values_would_call_it_one() -> None:
    reference, samples, times_s = fitted()
    nights = [
        [one.moved for one in measure_drift(reference, samples[end - N_NIGHT : end], times_s[end - N_NIGHT : end])]
        for end in range(N_TRAIN + 24, len(samples) + 1, 24)
    ]
    assert len(nights) == 14
    for channel in zip(*nights, strict=True):
        assert not any(is_alarm(channel[: end + 1], 2) for end in range(len(channel)))
    sunday = samples[(hours_of_week(times_s, ZONE) >= 144)][:24, 0]
    deciles = np.quantile(samples[:N_TRAIN, 0], np.arange(0.1, 0.95, 0.1))
    assert population_stability_index(sunday, deciles) > 0.25


@pytest.mark.parametrize(("change", "sign"), [(2.0, 1), (-2.0, -1)])
def test_a_shift_of_one_channel_is_called_with_its_size(change: float, sign: int) -> None:
    reference, samples, times_s = fitted()
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    shifted = samples.copy()
    shifted[N_TRAIN + 24 :, 1] += change
    first, second = measure_drift(reference, shifted[rows], times_s[rows])
    assert not first.moved
    assert second.moved
    assert np.sign(second.shift) == sign
    assert second.deviations == pytest.approx(change / reference.deviation[1], abs=0.7)
    assert second.ks == pytest.approx(1, abs=0.02)
    assert second.p_value == pytest.approx(2 / (1 + reference.null.shape[1]))  # as far as the null can tell, for two


def test_a_spread_that_is_halved_is_called() -> None:
    reference, samples, times_s = fitted()
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    level = reference.level[hours_of_week(times_s, ZONE)]
    narrow = samples.copy()
    narrow[N_TRAIN + 24 :, 0] = (level + 0.4 * (samples - level))[N_TRAIN + 24 :, 0]
    first, second = measure_drift(reference, narrow[rows], times_s[rows])
    assert first.moved
    assert first.spread < -2.75
    assert abs(first.shift) < 2.5
    assert not second.moved


def machine(index: int) -> Reference:
    samples, times_s = week(N_TRAIN, seed=100 + index)
    return fit_reference(samples, times_s, channels=("a", "b"), time_zone=ZONE, interval_s=HOUR)


def test_typical_moves_are_deviations_that_scipy_knows() -> None:
    reference, _, _ = fitted()
    shifts, log_spreads = reference.null[2, :, 1], reference.null[3, :, 1]
    found = moves_of(reference)["b"]
    assert found.shift == pytest.approx(median_abs_deviation(shifts, center=lambda *_, **__: 0.0, scale="normal"))
    assert found.spread == pytest.approx(median_abs_deviation(log_spreads, scale="normal"))


def test_a_fleet_draws_an_odd_machine_to_its_middle() -> None:
    machines = [machine(index) for index in range(5)]
    nervous = replace(machines[0], null=machines[0].null * np.array([1, 1, 4, 1])[:, None, None])
    fleet = fleet_of([nervous, *machines[1:]])
    assert fleet.channels["a"].shift == pytest.approx(
        np.median([4 * moves_of(machines[0])["a"].shift, *(moves_of(one)["a"].shift for one in machines[1:])])
    )
    samples, times_s = week(N_TRAIN + 48, seed=100)
    samples[N_TRAIN + 24 :, 0] += 1
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    alone = measure_drift(nervous, samples[rows], times_s[rows])[0]
    among = measure_drift(nervous, samples[rows], times_s[rows], fleet=fleet)[0]
    own, middle = moves_of(nervous)["a"].shift, fleet.channels["a"].shift
    assert own > 2 * middle
    assert among.shift / alone.shift == pytest.approx((own / middle) ** FLEET_WEIGHT)
    assert (among.deviations, among.p_value) == (alone.deviations, alone.p_value)


def test_a_fleet_of_one_says_what_the_machine_says() -> None:
    reference, samples, times_s = fitted()
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    for among, alone in zip(
        measure_drift(reference, samples[rows], times_s[rows], fleet=fleet_of([reference])),
        measure_drift(reference, samples[rows], times_s[rows]),
        strict=True,
    ):
        assert among.verdict == alone.verdict
        assert (among.shift, among.spread) == pytest.approx((alone.shift, alone.spread))


def test_a_constant_channel_says_nothing_of_others_nor_they_of_it() -> None:
    samples, times_s = week(N_TRAIN)
    samples[:, 0] = 7.0
    still = fit_reference(samples, times_s, channels=("a", "b"), time_zone=ZONE, interval_s=HOUR)
    lively = machine(0)
    fleet = fleet_of([still, still, still, lively])
    assert fleet.channels["a"] == moves_of(lively)["a"]
    own = moves_of(still)["a"]
    assert own.towards(fleet.channels["a"]) == own
    assert fleet_of([still]).channels.keys() == {"b"}
    assert fleet_of([]).channels == {}


def test_channels_are_found_by_name_and_those_without_nights_are_left_out() -> None:
    reference = machine(0)
    unknown = replace(reference, null=np.where(np.arange(2) == 1, np.nan, reference.null))
    other = replace(machine(1), channels=("b", "c"))
    assert moves_of(unknown).keys() == {"a"}
    fleet = fleet_of([unknown, other])
    assert fleet.channels.keys() == {"a", "b", "c"}
    assert fleet.channels["a"] == moves_of(reference)["a"]
    assert fleet.channels["b"] == moves_of(other)["b"]


def test_slow_change_is_followed_and_a_fast_one_is_not() -> None:
    reference, samples, times_s = fitted()
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    season = 0.0002 * np.arange(len(samples))[:, None]  # 0.07 in the two weeks of history, 0.45 since training began
    slow = measure_drift(reference, (samples + season)[rows], times_s[rows])
    assert not any(one.moved for one in slow)
    fast = measure_drift(reference, (samples + 40 * season)[rows], times_s[rows])
    assert all(one.moved for one in fast)


def test_too_little_data_is_unknown_and_not_false() -> None:
    reference, samples, times_s = fitted()
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    holes = samples.copy()
    holes[N_TRAIN + 24 : N_TRAIN + 37, 0] = np.nan  # 11 of 24 hours are left
    first, second = measure_drift(reference, holes[rows], times_s[rows])
    assert (first.verdict, first.n_samples, first.moved) == ("unknown", 11, False)
    assert np.isnan([first.psi, first.ks, first.p_value, first.shift, first.spread]).all()
    assert (second.verdict, second.n_samples) == ("same", 24)
    no_history = slice(N_TRAIN + 24, N_TRAIN + 48)
    assert {one.verdict for one in measure_drift(reference, samples[no_history], times_s[no_history])} == {"unknown"}


def test_hours_that_training_never_saw_are_left_out_of_the_verdict() -> None:
    samples, times_s = week(N_TRAIN + 14 * 24)
    hours = hours_of_week(times_s, ZONE)
    train = samples[:N_TRAIN].copy()
    train[hours[:N_TRAIN] >= 144] = np.nan  # no Sunday
    reference = fit_reference(train, times_s[:N_TRAIN], channels=("a", "b"), time_zone=ZONE, interval_s=HOUR)
    assert np.isnan(reference.level[144:]).all()
    nights = []
    for end in range(N_TRAIN + 24, len(samples) + 1, 24):
        rows = slice(end - N_NIGHT, end)
        n_sundays = int(np.sum(hours[end - 24 : end] >= 144))
        found = measure_drift(reference, samples[rows], times_s[rows])[0]
        assert found.n_samples == 24 - n_sundays
        assert (found.verdict == "unknown") == (n_sundays > 12)
        nights.append(None if found.verdict == "unknown" else found.moved)
    assert nights.count(None) == 2
    assert not any(is_alarm(nights[: end + 1], 2) for end in range(len(nights)))


def test_rows_that_are_absent_are_as_rows_without_values() -> None:
    reference, samples, times_s = fitted()
    rows = np.arange(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    holes = samples.copy()
    gone = rows[np.random.default_rng(0).random(len(rows)) < 0.2]
    gone = gone[gone != rows[-1]]
    holes[gone] = np.nan
    kept = np.setdiff1d(rows, gone)
    assert measure_drift(reference, holes[rows], times_s[rows]) == measure_drift(
        reference, samples[kept], times_s[kept]
    )


def test_a_reference_is_compact_json_and_judges_alike(tmp_path) -> None:
    reference, samples, times_s = fitted()
    path = tmp_path / "reference.json"
    reference.write(path)
    assert path.stat().st_size < 40_000
    again = read_reference(path)
    rows = slice(N_TRAIN + 48 - N_NIGHT, N_TRAIN + 48)
    for found, expected in zip(
        measure_drift(again, samples[rows], times_s[rows]),
        measure_drift(reference, samples[rows], times_s[rows]),
        strict=True,
    ):
        assert found.verdict == expected.verdict
        assert found.shift == pytest.approx(expected.shift, rel=1e-3, abs=1e-3)
        assert found.ks == pytest.approx(expected.ks, abs=0.06)
    gaps = replace(reference, level=np.full_like(reference.level, np.nan))
    gaps.write(path)
    assert np.isnan(read_reference(path).level).all()


def test_too_short_a_training_part_is_refused_with_what_is_needed() -> None:
    samples, times_s = week(815)
    with pytest.raises(ValueError, match="needs 816 h of training rows for 20 nights of its own, found 815 h"):
        fit_reference(samples, times_s, channels=("a", "b"), time_zone=ZONE, interval_s=HOUR)


def test_rows_that_do_not_fit_are_refused() -> None:
    reference, samples, times_s = fitted()
    with pytest.raises(ValueError, match=r"expected samples of shape \(50, 2\)"):
        measure_drift(reference, samples[:50, :1], times_s[:50])
    with pytest.raises(ValueError, match="times must be ascending"):
        measure_drift(reference, samples[:50], times_s[:50][::-1])
    with pytest.raises(ValueError, match="drift of no rows"):
        measure_drift(reference, samples[:0], times_s[:0])


def test_an_alarm_takes_nights_in_a_row_and_an_unknown_one_does_not_break_them() -> None:
    assert not is_alarm([True, False, True], 2)
    assert is_alarm([False, True, True], 2)
    assert is_alarm([True, None, True, None], 2)
    assert not is_alarm([True, True, False], 2)
    assert not is_alarm([None, True], 2)
    assert not is_alarm([], 1)
    with pytest.raises(ValueError, match="found n_consecutive 0"):
        is_alarm([True], 0)


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_more_nights_asked_for_are_fewer_alarms(nights: list[bool], n: int) -> None:
    assert not is_alarm(nights, n + 1) or is_alarm(nights, n)


def test_stricter_rules_call_less() -> None:
    rule = DriftRule()
    assert rule.says(0.1, -3.1, 0.0)
    assert not rule.says(rule.max_p + 0.01, 30.0, 0.0)
    assert not rule.says(0.0, 2.7, 0.0)
    assert rule.says(0.0, 0.0, -2.8)
    assert not rule.says(0.0, 0.0, 2.8)
    assert rule.says(0.0, 0.0, 5.5)
