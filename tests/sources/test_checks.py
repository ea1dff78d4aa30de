from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.sources import RawTable, SourceError
from foresense.sources.checks import Gap, check_rate, gaps_of, grid_findings, in_order_once

_H = 3600 * 1_000_000_000


def _table(hours, values, asset="pump"):
    n = len(hours)
    return RawTable(
        asset=asset,
        times_ns=np.asarray(hours, np.int64) * _H,
        values=np.asarray(values, np.float64).reshape(n, -1),
        rows=np.arange(2, n + 2),
        files=np.zeros(n, np.int64),
        file_names=("pump.csv",),
    )


def test_rows_in_order_pass_untouched():
    table = _table([0, 1, 2], [1, 2, 3])
    same, findings = in_order_once(table, ["current"])
    assert same is table
    assert findings == []


def test_rows_out_of_order_are_sorted_and_named():
    table, findings = in_order_once(_table([0, 2, 1, 3], [0, 2, 1, 3]), ["current"])
    assert table.values[:, 0].tolist() == [0, 1, 2, 3]
    assert [(f.kind, f.n, f.where) for f in findings] == [("unsorted", 1, "pump.csv:4")]


def test_equal_rows_are_kept_once_and_named():
    table, findings = in_order_once(_table([0, 1, 1, 1, 2], [0, np.nan, np.nan, np.nan, 2]), ["current"])
    assert (table.times_ns // _H).tolist() == [0, 1, 2]
    assert [(f.kind, f.n, f.where) for f in findings] == [("duplicate", 2, "pump.csv:4, pump.csv:5")]


@pytest.mark.parametrize("values", [[0, 5, 6], [0, 5, np.nan]])
def test_one_time_with_two_values_is_an_error_that_names_them(values):
    expected = r"pump: 1 pair.*1970-01-01T01:00:00\+00:00 at pump.csv:3 and pump.csv:4 \(current is 5 and (6|nan)\)"
    with pytest.raises(SourceError, match=expected):
        in_order_once(_table([0, 1, 1], values), ["current"])


@given(hours=st.lists(st.integers(0, 30), min_size=1, max_size=40))
@settings(deadline=None, max_examples=50)
def test_times_rise_and_none_is_lost(hours):
    table, _ = in_order_once(_table(hours, hours), ["current"])
    assert (table.times_ns // _H).tolist() == sorted(set(hours))
    assert table.values[:, 0].tolist() == sorted(set(hours))


@given(present=st.lists(st.booleans(), max_size=60))
@settings(deadline=None, max_examples=50)
def test_gaps_are_the_missing_rows(present):
    samples = np.where(np.array(present, bool)[:, None], 1.0, np.nan) * np.ones((1, 2))
    gaps = gaps_of(samples)
    missing = [row for gap in gaps for row in range(gap.row, gap.row + gap.n_samples)]
    assert missing == [row for row, is_there in enumerate(present) if not is_there]
    assert all(after.row > gap.row + gap.n_samples for gap, after in pairwise(gaps))


def test_gaps_missing_values_and_constant_channels_are_found():
    samples = np.array([[1, 5], [np.nan, np.nan], [np.nan, np.nan], [2, 5], [np.nan, 5]], float)
    times = pd.date_range("2024-01-01", periods=5, freq="h", tz="UTC")
    gaps = gaps_of(samples)
    assert gaps == [Gap(row=1, n_samples=2)]
    findings = grid_findings("pump", samples, ["current", "flow"], times, gaps)
    assert [(f.kind, f.n, f.where) for f in findings] == [
        ("gap", 1, "2024-01-01T01:00:00+00:00 (2)"),
        ("missing", 1, "2024-01-01T04:00:00+00:00"),
        ("constant", 3, "2024-01-01T00:00:00+00:00"),
    ]
    assert findings[2].message.startswith("channel 'flow' is 5 throughout")


def test_a_channel_without_a_value_is_an_error():
    times = pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC")
    with pytest.raises(SourceError, match=r"pump: channel\(s\) \['flow'\] have no value in 2 samples"):
        grid_findings("pump", np.array([[1, np.nan], [2, np.nan]]), ["current", "flow"], times, [])


def test_samples_slower_than_declared_are_an_error():
    table = _table([0, 1, 2], [1, 2, 3])
    check_rate(table, 3600.0)
    with pytest.raises(
        SourceError, match=r"interval_s is 60, but timestamps are 3600 s apart .*; set interval_s to 3600"
    ):
        check_rate(table, 60.0)


def test_a_stray_time_does_not_stretch_the_grid():
    table = _table([0, *range(2_000_000, 2_000_005)], range(6))
    with pytest.raises(
        SourceError, match=r"6 rows would make a grid of 2000004 samples.*pump.csv:2 .*remove the stray"
    ):
        check_rate(table, 3600.0)
