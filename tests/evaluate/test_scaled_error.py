"""The scale of MASE against numbers worked out by hand, and against its definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foresense.evaluate.scaled_error import error_ratio, naive_scale


def test_a_worked_example() -> None:
    # season 2: |4-1|, |2-2|, |7-4|, |6-2| = 3, 0, 3, 4
    samples = np.array([[1.0], [2.0], [4.0], [2.0], [7.0], [6.0]])
    found = naive_scale(samples, np.zeros(6, int), 2)[:, 0]
    np.testing.assert_allclose(found, [np.nan, np.nan, 3, 3 / 2, 2, 10 / 4])
    # forecasts 5 and 8 of the truth 7 and 6, made after four rows: (2 + 2) / 2 / 1.5
    assert np.mean(np.abs([5 - 7, 8 - 6])) / found[3] == 4 / 3


@settings(max_examples=60, deadline=None)
@given(
    samples=arrays(float, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.floats(-50, 50)),
    hole=st.sets(st.integers(0, 39)),
    seam=st.integers(0, 40),
    season=st.integers(1, 12),
)
def test_it_is_the_mean_of_the_seasonal_differences_known_so_far(samples, hole, seam, season) -> None:
    samples[[row for row in hole if row < len(samples)]] = np.nan
    recording = (np.arange(len(samples)) >= seam).astype(int)
    found = naive_scale(samples, recording, season)
    for row in range(len(samples)):
        for channel in range(samples.shape[1]):
            known = [
                abs(samples[at, channel] - samples[at - season, channel])
                for at in range(season, row + 1)
                if recording[at] == recording[at - season] and not np.isnan(samples[[at, at - season], channel]).any()
            ]
            scale = np.mean(known) if known and sum(known) > 0 else np.nan
            np.testing.assert_allclose(found[row, channel], scale, rtol=1e-9)


def test_a_constant_channel_has_no_scale() -> None:
    assert np.isnan(naive_scale(np.full((50, 1), 3.0), np.zeros(50, int), 24)).all()


def test_a_machine_that_stands_still_has_a_perfect_naive_forecast_and_no_finite_ratio() -> None:
    assert error_ratio(2.0, 4.0) == 0.5
    assert error_ratio(0.1, 0.0) == float("inf")
    assert error_ratio(0.0, 0.0) == float("inf")
