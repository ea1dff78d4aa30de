"""Regularity of days: closed forms, white noise, other libraries, missing days."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from foresense.evaluate.circadian import (
    fit_cosinor,
    interdaily_stability,
    intradaily_variability,
    least_and_most_active,
    mean_day,
    sleep_regularity,
)
from foresense.evaluate.measured import Measured

PEAK_MINUTE = 839.5  # half a minute, so that the best stretch of an even number of minutes lies around it


def cosine(n_days: int = 7, mean: float = 100.0, amplitude: float = 60.0) -> np.ndarray:
    """(1, n_days, 1440): a cosine of 24 h."""
    angle = 2 * np.pi * (np.arange(1440) - PEAK_MINUTE) / 1440
    return np.tile(mean + amplitude * np.cos(angle), (1, n_days, 1))


def gamma_days(n_people: int = 3, n_days: int = 5) -> np.ndarray:
    return np.random.default_rng(0).gamma(0.5, 100, (n_people, n_days, 1440))


def test_a_cosine_has_its_closed_forms() -> None:
    days = cosine()
    assert interdaily_stability(days).values[0] == pytest.approx(1, abs=1e-12)
    # 168 cyclic differences of (2 a sin(π/24))² / 2 each, less the one over the end; 84 a² around the mean
    over_the_end = math.cos(2 * math.pi * (29.5 - PEAK_MINUTE) / 1440) - math.cos(
        2 * math.pi * (-30.5 - PEAK_MINUTE) / 1440
    )
    expected = 168 / 167 * (336 * math.sin(math.pi / 24) ** 2 - over_the_end**2) / 84
    found = intradaily_variability(days).values[0]
    assert found == pytest.approx(expected, rel=1e-10)
    assert found == pytest.approx(0.0685, abs=6e-4)  # the published limit form, 168/167 · 2 (1 - cos(2π/24))
    rest = least_and_most_active(days, "counts")
    half = math.pi / 1440
    l5, m10 = (100 + sign * 60 * math.sin(n * half) / (n * math.sin(half)) for n, sign in ((300, -1), (600, 1)))
    assert rest.l5.values[0] == pytest.approx(l5, rel=1e-12)
    assert rest.m10.values[0] == pytest.approx(m10, rel=1e-12)
    assert rest.relative_amplitude.values[0] == pytest.approx((m10 - l5) / (m10 + l5), rel=1e-12)
    assert rest.m10_onset.values[0] * 60 == 840 - 300
    assert rest.l5_onset.values[0] * 60 == 120 - 150 + 1440
    wave = fit_cosinor(days, "counts")
    assert wave.mesor.values[0] == pytest.approx(100, rel=1e-12)
    assert wave.amplitude.values[0] == pytest.approx(60, rel=1e-12)
    assert wave.acrophase.values[0] == pytest.approx(PEAK_MINUTE / 60, rel=1e-12)
    assert wave.r_squared.values[0] == pytest.approx(1, abs=1e-12)


def test_white_noise_has_its_expectations() -> None:
    """Independent normal hours: IS ~ Beta(23/2, 144/2), mean 23/167; IV has the mean 2 · 168/167 (von Neumann 1941)."""
    n_people = 300
    hours = np.random.default_rng(0).normal(100, 10, (n_people, 7, 24))
    days = np.repeat(hours, 60, axis=2)
    stability = interdaily_stability(days).values
    deviation = math.sqrt(11.5 * 72 / (83.5**2 * 84.5))
    assert stability.mean() == pytest.approx(23 / 167, abs=4 * deviation / math.sqrt(n_people))
    assert stability.std() == pytest.approx(deviation, rel=0.2)
    variability = intradaily_variability(days).values
    assert variability.mean() == pytest.approx(2 * 168 / 167, abs=4 * variability.std() / math.sqrt(n_people))


def plain_stability(hours: np.ndarray) -> float:
    """Witting 1990, as written: n Σ (x̄_h - x̄)² / (24 Σ (x_i - x̄)²), with pandas."""
    found = pd.Series(hours.ravel())
    by_hour = found.groupby(np.arange(len(found)) % 24).mean()
    return float(len(found) * ((by_hour - found.mean()) ** 2).sum() / (24 * ((found - found.mean()) ** 2).sum()))


def plain_variability(hours: np.ndarray) -> float:
    """Witting 1990, as written, with pandas."""
    found = pd.Series(hours.ravel())
    steps = (found.diff().dropna() ** 2).sum()
    return float(len(found) * steps / ((len(found) - 1) * ((found - found.mean()) ** 2).sum()))


@pytest.mark.parametrize(
    ("ours", "plain"), [(interdaily_stability, plain_stability), (intradaily_variability, plain_variability)]
)
def test_whole_days_have_the_formula_of_the_paper(
    ours: Callable[[np.ndarray], Measured], plain: Callable[[np.ndarray], float]
) -> None:
    days = gamma_days()
    hours = days.reshape(3, 5 * 24, 60).mean(axis=2)
    np.testing.assert_allclose(ours(days).values, [plain(row) for row in hours], rtol=1e-12)


def test_stability_with_missing_hours_is_the_share_of_variance_of_an_analysis_of_variance() -> None:
    """R² of a least squares fit with one level for each hour, by scikit-learn."""
    days = gamma_days(1)
    days[0, 1, 300:700] = np.nan
    days[0, 4, 1000:] = np.nan
    hours = days[0].reshape(-1, 60)
    known = (~np.isnan(hours)).sum(axis=1) >= 30
    x = np.array([np.nanmean(row) for row in hours[known]])
    design = np.eye(24)[(np.arange(len(hours)) % 24)[known]]
    peer = LinearRegression(fit_intercept=False).fit(design, x)
    share = 1 - ((x - peer.predict(design)) ** 2).sum() / ((x - x.mean()) ** 2).sum()
    assert interdaily_stability(days).values[0] == pytest.approx(share, rel=1e-10)


def test_least_and_most_active_hours_are_found_by_trying_every_minute() -> None:
    days = gamma_days()
    days[1, 2, 100:900] = np.nan
    found = least_and_most_active(days, "counts")
    for row in range(3):
        profile = np.nanmean(days[row], axis=0)
        np.testing.assert_allclose(mean_day(days)[row], profile, rtol=1e-13)
        means = {n: [np.take(profile, range(at, at + n), mode="wrap").mean() for at in range(1440)] for n in (300, 600)}
        assert found.l5.values[row] == pytest.approx(min(means[300]), rel=1e-12)
        assert found.m10.values[row] == pytest.approx(max(means[600]), rel=1e-12)
        assert found.l5_onset.values[row] * 60 == np.argmin(means[300])
        assert found.m10_onset.values[row] * 60 == np.argmax(means[600])


def test_the_cosinor_is_least_squares() -> None:
    days = gamma_days()
    days[0, 0, :500] = np.nan
    days[2, 3] = np.nan
    found = fit_cosinor(days, "counts")
    for row in range(3):
        y = days[row].ravel()
        known = ~np.isnan(y)
        angle = (2 * np.pi * np.arange(len(y)) / 1440)[known]
        peer = LinearRegression().fit(np.stack([np.cos(angle), np.sin(angle)], axis=1), y[known])
        assert found.mesor.values[row] == pytest.approx(peer.intercept_, rel=1e-10)
        assert found.amplitude.values[row] == pytest.approx(np.hypot(*peer.coef_), rel=1e-9)
        peak = math.atan2(peer.coef_[1], peer.coef_[0]) * 24 / (2 * math.pi) % 24
        assert found.acrophase.values[row] == pytest.approx(peak, rel=1e-8)
        share = peer.score(np.stack([np.cos(angle), np.sin(angle)], axis=1), y[known])
        assert found.r_squared.values[row] == pytest.approx(share, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.01, 100), hours=st.integers(0, 23))
def test_a_scale_and_a_shift_of_the_clock_change_what_they_should(scale: float, hours: int) -> None:
    days = gamma_days(1, 3)
    turned = np.roll(days.reshape(1, -1), 60 * hours, axis=1).reshape(days.shape) * scale
    np.testing.assert_allclose(interdaily_stability(turned).values, interdaily_stability(days).values, rtol=1e-9)
    before, after = least_and_most_active(days, "counts"), least_and_most_active(turned, "counts")
    np.testing.assert_allclose(after.relative_amplitude.values, before.relative_amplitude.values, rtol=1e-9)
    np.testing.assert_allclose((before.l5_onset.values + hours) % 24, after.l5_onset.values, atol=1e-9)
    np.testing.assert_allclose(after.m10.values, scale * before.m10.values, rtol=1e-9)


def test_a_constant_has_no_rhythm_and_says_so() -> None:
    flat = np.full((2, 3, 1440), 7.1)
    flat[1] = 0
    for found, reason in (
        (interdaily_stability(flat), "activity is the same in every hour"),
        (intradaily_variability(flat), "activity is the same in every hour"),
        (fit_cosinor(flat, "counts").r_squared, "activity is the same in every minute"),
        (least_and_most_active(flat, "counts").l5_onset, "activity is the same in every minute"),
    ):
        assert np.isnan(found.values).all()
        assert found.reasons.tolist() == [reason] * 2
    ratio = least_and_most_active(flat, "counts").relative_amplitude
    assert ratio.values[0] == pytest.approx(0, abs=1e-14)
    assert ratio.reasons.tolist() == ["", "there is no activity at all"]


def test_nothing_and_too_little_say_so() -> None:
    days = np.full((3, 3, 1440), np.nan)
    days[1, 0] = np.arange(1440)  # one day
    days[2, :, :720] = np.random.default_rng(0).gamma(1, 10, (3, 720))  # mornings
    assert interdaily_stability(days).reasons.tolist() == [
        "no activity was recorded while the counter was worn",
        "an hour of the clock is known on fewer than 2 days",
        "an hour of the clock is not known on any day",
    ]
    rest = least_and_most_active(days, "counts")
    assert rest.relative_amplitude.reasons.tolist()[::2] == [
        "no activity was recorded while the counter was worn",
        "a minute of the clock is not known on any day",
    ]
    assert intradaily_variability(days).reasons.tolist()[1].startswith("fewer than 24 pairs of hours")


def test_two_missing_days_leave_a_week_with_its_metrics() -> None:
    days = cosine()
    days[0, 2:4] = np.nan
    assert interdaily_stability(days).values[0] == pytest.approx(1, abs=1e-12)
    whole, part = intradaily_variability(cosine()).values[0], intradaily_variability(days).values[0]
    assert part == pytest.approx(whole, rel=0.02)  # one pair over two days is not taken for a step
    assert fit_cosinor(days, "counts").amplitude.values[0] == pytest.approx(60, rel=1e-12)


def test_the_regularity_index_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    states = rng.integers(-1, 2, (3, 4 * 1440)).astype(np.int8)
    found = sleep_regularity(states).values
    for row in range(3):
        pairs = [(a, b) for a, b in zip(states[row], states[row][1440:], strict=False) if a >= 0 and b >= 0]
        assert found[row] == pytest.approx(200 * sum(a == b for a, b in pairs) / len(pairs) - 100, rel=1e-12)
    night = np.tile(np.repeat([1, 0], [480, 960]), (1, 3)).astype(np.int8)
    opposite = np.concatenate([night[:, :1440], 1 - night[:, :1440]], axis=1)
    assert sleep_regularity(night).values.tolist() == [100]
    assert sleep_regularity(opposite).values.tolist() == [-100]
    assert sleep_regularity(np.zeros((1, 5000), np.int8)).reasons.tolist() == ["every minute is scored alike"]
    assert sleep_regularity(night[:, :2000]).reasons[0].startswith("fewer than 24 h of minutes")
    assert sleep_regularity(np.full((1, 5000), -1, np.int8)).reasons[0] == "no minute is scored as sleep or wake"
