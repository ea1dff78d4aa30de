import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.windows.resample import grid_origin, resample

_NS = 1_000_000_000
_START_NS = pd.Timestamp("2024-05-31T13:00:00", tz="UTC").value


@st.composite
def irregular(draw):
    """Rising times (s) with gaps, temperatures (°C) with holes, and a rate."""
    steps_s = draw(st.lists(st.integers(0, 400), min_size=1, max_size=60))
    values = draw(
        st.lists(st.one_of(st.floats(-50, 120), st.just(float("nan"))), min_size=len(steps_s), max_size=len(steps_s))
    )
    interval_s = draw(st.sampled_from([2, 7, 60, 300]))
    return np.cumsum(steps_s) * _NS + _START_NS, np.array(values)[:, None], float(interval_s)


@given(case=irregular())
@settings(deadline=None, max_examples=100)
def test_it_is_the_mean_of_pandas(case):
    times_ns, samples, interval_s = case
    means, counts = resample(times_ns, samples, interval_s=interval_s, origin_ns=int(times_ns[0]))
    series = pd.Series(samples[:, 0], index=pd.to_datetime(times_ns, utc=True))
    bins = series.resample(pd.Timedelta(seconds=interval_s), origin="start")
    np.testing.assert_allclose(means[:, 0], bins.mean().to_numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(counts[:, 0], bins.count().to_numpy())


@given(case=irregular())
@settings(deadline=None, max_examples=100)
def test_no_valid_sample_is_lost_and_the_mean_is_kept(case):
    times_ns, samples, interval_s = case
    means, counts = resample(times_ns, samples, interval_s=interval_s, origin_ns=int(times_ns[0]))
    assert counts.sum() == np.isfinite(samples).sum()
    np.testing.assert_allclose(np.nansum(means * counts), np.nansum(samples), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.isnan(means), counts == 0)


@given(
    bits=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=50),
    gap=st.integers(0, 9),
)
@settings(deadline=None, max_examples=50)
def test_samples_on_the_grid_come_out_bit_for_bit(bits, gap):
    samples = np.array(bits)[:, None]
    times_ns = _START_NS + np.arange(len(bits)) * 3600 * _NS
    times_ns[len(bits) // 2 :] += gap * 3600 * _NS
    means, _ = resample(times_ns, samples, interval_s=3600.0, origin_ns=int(times_ns[0]))
    kept = means[~np.isnan(means[:, 0]), 0]
    np.testing.assert_array_equal(kept.view(np.int64), samples[:, 0].view(np.int64))


def test_an_empty_interval_is_missing_and_each_channel_has_its_own_mean():
    samples = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 50.0]])
    means, counts = resample(np.array([0, 1, 5]) * _NS, samples, interval_s=2.0, origin_ns=0)
    np.testing.assert_array_equal(means, [[2, 10], [np.nan, np.nan], [5, 50]])
    np.testing.assert_array_equal(counts, [[2, 1], [0, 0], [1, 1]])


def test_nothing_in_nothing_out():
    means, counts = resample(np.empty(0, np.int64), np.empty((0, 3)), interval_s=2.0, origin_ns=0)
    assert means.shape == counts.shape == (0, 3)


@pytest.mark.parametrize(
    ("times", "origin", "message"),
    [([1, 0], 0, "times must rise"), ([0, 1], 1, "before the origin"), ([0], 0, "one for each row")],
)
def test_what_does_not_fit_is_refused(times, origin, message):
    with pytest.raises(ValueError, match=message):
        resample(np.array(times, np.int64), np.zeros((2, 1)), interval_s=1.0, origin_ns=origin)


def test_a_grid_of_its_own_begins_at_its_first_sample():
    half_past = _START_NS + 1800 * _NS + np.arange(5) * 3600 * _NS
    assert grid_origin(half_past, 3600.0, day_start_ns=0) == half_past[0]


@given(offset_s=st.integers(1, 3599), interval_s=st.sampled_from([7.0, 60.0, 3600.0]))
@settings(deadline=None, max_examples=50)
def test_other_grids_are_in_step_with_the_day(offset_s, interval_s):
    times_ns = _START_NS + np.array([offset_s, offset_s + 1, 10_000]) * _NS + 1
    midnight = pd.Timestamp("2024-05-31", tz="UTC").value
    origin = grid_origin(times_ns, interval_s, midnight)
    assert (origin - midnight) % round(interval_s * _NS) == 0
    assert 0 <= times_ns[0] - origin < interval_s * _NS
