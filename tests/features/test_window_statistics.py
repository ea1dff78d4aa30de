import numpy as np
import pytest
from scipy.stats import linregress

from foresense.features import Contexts
from foresense.features.window_statistics import window_statistics


def of(channel, *, interval_s=3600.0, imputed=None):
    """Statistics of one context of one channel (A)."""
    samples = np.asarray(channel, float)[None, :, None]
    mask = np.zeros(samples.shape, bool) if imputed is None else np.asarray(imputed)[None, :, None]
    found = window_statistics(Contexts(samples, mask, np.zeros(1, np.int64), ("current",), ("A",), interval_s, "UTC"))
    return dict(zip(found.names, found.values[0], strict=True)), dict(zip(found.names, found.units, strict=True))


def test_level_spread_last_and_slope_agree_with_numpy_and_scipy():
    samples = np.random.default_rng(0).normal(20, 3, 300) + 0.02 * np.arange(300)
    found, units = of(samples, interval_s=900.0)
    assert found["current__level"] == pytest.approx(np.mean(samples))
    assert found["current__spread"] == pytest.approx(np.std(samples))
    assert found["current__last"] == samples[-1]
    assert found["current__slope"] == pytest.approx(linregress(np.arange(300) / 4, samples).slope)
    assert (units["current__level"], units["current__slope"], units["current__share_missing"]) == ("A", "A/h", "1")


@pytest.mark.parametrize("interval_s", [600.0, 3600.0, 7200.0])
def test_autocorrelation_is_the_biased_estimate_at_24_and_168_hours(interval_s):
    rng = np.random.default_rng(1)
    samples = np.cumsum(rng.normal(0, 1, int(200 * 3600 / interval_s)))
    centred = samples - samples.mean()
    full = np.correlate(centred, centred, "full")[len(samples) - 1 :] / (centred @ centred)
    found, _ = of(samples, interval_s=interval_s)
    assert found["current__daily_autocorrelation"] == pytest.approx(full[int(24 * 3600 / interval_s)])
    assert found["current__weekly_autocorrelation"] == pytest.approx(full[int(168 * 3600 / interval_s)])


def test_a_daily_sine_over_whole_days_has_the_daily_autocorrelation_of_its_overlap():
    # lag 24 of 10 days of a sine of period 24: 9 of the 10 days overlap, each with the full power
    found, _ = of(np.sin(2 * np.pi * np.arange(240) / 24))
    assert found["current__daily_autocorrelation"] == pytest.approx(0.9)


def test_a_context_without_a_whole_week_has_no_weekly_feature():
    assert "current__weekly_autocorrelation" not in of(np.arange(168.0))[0]
    assert "current__weekly_autocorrelation" in of(np.arange(169.0))[0]


def test_samples_rarer_than_a_day_have_no_daily_feature():
    assert "current__daily_autocorrelation" not in of(np.arange(50.0), interval_s=3 * 86400.0)[0]


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-300])
def test_a_channel_that_stands_still_has_no_trend_and_no_cycle(value):
    found, _ = of(np.full(200, value))
    assert found["current__daily_autocorrelation"] == 0
    assert found["current__weekly_autocorrelation"] == 0
    assert found["current__slope"] == pytest.approx(0, abs=1e-15)


def test_a_context_of_one_sample_has_slope_0():
    assert of([5.0])[0]["current__slope"] == 0


def test_share_missing_counts_what_was_filled_in():
    imputed = np.zeros(200, bool)
    imputed[:50] = True
    assert of(np.arange(200.0), imputed=imputed)[0]["current__share_missing"] == 0.25
