import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.windows import interpolate_short_gaps

NAN = np.nan


def impute(values, *, max_gap, recording=None, piece=None):
    column = np.asarray(values, float)[:, None]
    zeros = np.zeros(len(column), int)
    return interpolate_short_gaps(
        column,
        recording=zeros if recording is None else np.asarray(recording),
        piece=zeros if piece is None else np.asarray(piece),
        max_gap=max_gap,
    )


def test_a_short_gap_is_drawn_as_a_straight_line():
    found = impute([0, NAN, NAN, 3, 4], max_gap=2)
    assert found.samples.ravel().tolist() == [0, 1, 2, 3, 4]
    assert found.interpolated.ravel().tolist() == [False, True, True, False, False]
    assert not found.broken.any()


def test_a_long_gap_is_never_bridged_not_even_in_part():
    found = impute([0, NAN, NAN, NAN, 4], max_gap=2)
    assert found.broken.tolist() == [False, True, True, True, False]
    assert np.isnan(found.samples[1:4]).all()
    assert not found.interpolated.any()
    assert found.n_long_gaps == 1


def test_a_long_gap_in_one_channel_breaks_the_rows_of_all():
    samples = np.array([[0.0, 5], [NAN, 6], [NAN, NAN], [3, 8]])
    found = interpolate_short_gaps(samples, recording=np.zeros(4, int), piece=np.zeros(4, int), max_gap=1)
    assert found.broken.tolist() == [False, True, True, False]
    assert np.isnan(found.samples[1:3]).all()


def test_gaps_at_the_ends_of_a_recording_are_left_to_the_training_mean():
    found = impute([NAN, 1, 2, 3, NAN, NAN, 7, 8], max_gap=2, recording=[0] * 5 + [1] * 3, piece=[0] * 5 + [1] * 3)
    assert found.at_edge.ravel().tolist() == [True, False, False, False, True, True, False, False]
    assert np.isnan(found.samples[[0, 4, 5]]).all()


def test_a_gap_that_touches_a_cut_takes_nothing_from_behind_it():
    values = [0, 1, NAN, NAN, 4, 5]
    for cut in (2, 3, 4):  # the gap begins at the cut, holds it, ends at it
        found = impute(values, max_gap=3, piece=[0] * cut + [1] * (6 - cut))
        assert found.at_edge.ravel().tolist() == [False, False, True, True, False, False]
        assert not found.interpolated.any()


def test_a_long_gap_on_a_cut_stays_long():
    found = impute([0, NAN, NAN, NAN, NAN, 5], max_gap=2, piece=[0, 0, 0, 1, 1, 1])
    assert found.broken.tolist() == [False, True, True, True, True, False]


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.one_of(st.just(NAN), st.floats(-100, 100)), min_size=1, max_size=60),
    max_gap=st.integers(0, 8),
)
def test_it_agrees_with_pandas_on_every_gap_that_it_closes(values, max_gap):
    column = pd.Series(values, dtype=float)
    number = column.notna().cumsum()
    length = column.isna().groupby(number).transform("sum").where(column.isna(), 0)
    is_inside = column.isna() & column.ffill().notna() & column.bfill().notna()
    found = impute(values, max_gap=max_gap)
    np.testing.assert_array_equal(found.interpolated.ravel(), (is_inside & (length <= max_gap)).to_numpy())
    np.testing.assert_array_equal(found.broken, (length > max_gap).to_numpy())
    np.testing.assert_array_equal(found.at_edge.ravel(), (column.isna() & ~is_inside & (length <= max_gap)).to_numpy())
    drawn = found.interpolated.ravel()
    np.testing.assert_allclose(
        found.samples.ravel()[drawn], column.interpolate("linear").to_numpy()[drawn], rtol=1e-9, atol=1e-9
    )
