"""Line protocol: exact text, and everything that was written comes back from a real server bit by bit."""

import uuid

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from foresense.stores.batch import Batch
from foresense.stores.influxql import FIRST_NS, LAST_NS
from foresense.stores.lines import Layout, name_problem, to_lines

_LAYOUT = Layout("sensor_data", "workspace_id", "machine")
_NAN = np.nan
_LETTERS = st.one_of(st.sampled_from(" ,=\"'\\#/;`{}ä€😀\u00a0\u2028"), st.characters(exclude_categories=["Cs", "Cc"]))
_NAMES = st.text(_LETTERS, min_size=1, max_size=12).filter(lambda name: name_problem(name) is None)
_CHANNELS = _NAMES.filter(lambda name: name not in ("time", "sensor_type", "workspace_id"))
_FLOATS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**60), 2**60).map(float))


def _lines(batch, layout=_LAYOUT):
    lines, refused = to_lines(batch, layout)
    return lines.between(0, len(lines)).decode(), refused


def test_a_row_is_a_line_without_what_was_not_measured():
    values = np.array([[0.1, 61.0], [_NAN, -0.0], [_NAN, _NAN], [1e22, 5e-324]])
    batch = Batch(("lathe 1", "mill"), np.array([0, 1, 1, 0], np.int32), np.arange(4), ("a", "b,c"), values)
    lines, refused = to_lines(batch, _LAYOUT)
    assert lines.between(0, 3).decode() == (
        "sensor_data,sensor_type=machine,workspace_id=lathe\\ 1 a=0.1,b\\,c=61 0\n"
        "sensor_data,sensor_type=machine,workspace_id=mill b\\,c=-0 1\n"
        "sensor_data,sensor_type=machine,workspace_id=lathe\\ 1 a=1e+22,b\\,c=5e-324 3\n"
    )
    assert lines.text(1) == "sensor_data,sensor_type=machine,workspace_id=mill b\\,c=-0 1"
    assert (lines.rows.tolist(), refused) == ([0, 1, 3], [])


def test_tags_are_in_the_order_of_their_keys_and_everything_is_escaped():
    batch = Batch.of_asset("a=b", np.array([-1]), ("x y",), np.ones((1, 1)))
    text, _ = _lines(batch, Layout("my data,v2", "asset id", "press 1"))
    assert text == "my\\ data\\,v2,asset\\ id=a\\=b,sensor_type=press\\ 1 x\\ y=1 -1\n"


@pytest.mark.parametrize("n_rows", [0, 2])
def test_a_batch_without_a_value_is_no_line(n_rows):
    batch = Batch.of_asset("lathe", np.arange(n_rows), ("a",), np.full((n_rows, 1), _NAN))
    assert _lines(batch) == ("", [])
    assert _lines(Batch.of_asset("lathe", np.arange(n_rows), (), np.zeros((n_rows, 0)))) == ("", [])


@pytest.mark.parametrize(
    ("asset", "channel", "reason"),
    [
        ("", "a", "asset is empty"),
        ("lathe\nmill,x=y z", "a", "asset 'lathe\\nmill,x=y z' holds a control character, which line protocol cannot"),
        (
            "lathe\\",
            "a",
            "asset 'lathe\\\\' has a backslash at its end or before a blank, comma, quote or =, which it would",
        ),
        ("lathe", "a\\ b", "channel 'a\\\\ b' has a backslash at its end or before a blank"),
        ("lathe", '\\"', "channel '\\\\\"' has a backslash at its end or before a blank, comma, quote or ="),
        ("\ud800", "a", "asset '\\ud800' is not text that UTF-8 can hold"),
        ("lathe", "", "channel is empty"),
        ("lathe", "a\x00", "channel 'a\\x00' holds a control character"),
        ("lathe", "time", "channel 'time' is the name of a column that every sample has"),
        ("lathe", "workspace_id", "channel 'workspace_id' is the name of a column"),
    ],
)
def test_rows_that_line_protocol_cannot_hold_are_refused_alone(asset, channel, reason):
    values = np.array([[1.0, 2.0], [3.0, _NAN], [_NAN, _NAN]])
    bad = Batch.of_asset(asset, np.arange(3), ("good", channel), values)
    text, refused = _lines(bad)
    rows = [0, 1] if asset != "lathe" else [0]
    assert [found.row for found in refused] == rows
    assert all(found.reason.startswith(reason) for found in refused)
    assert text.count("\n") == 2 - len(rows)


@st.composite
def _batches(draw):
    assets = tuple(draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True)))
    channels = tuple(draw(st.lists(_CHANNELS, min_size=1, max_size=4, unique=True)))
    times = draw(st.lists(st.integers(FIRST_NS, LAST_NS), min_size=1, max_size=12))
    n = len(times)
    cells = st.lists(st.one_of(st.just(_NAN), _FLOATS), min_size=n * len(channels), max_size=n * len(channels))
    index = draw(st.lists(st.integers(0, len(assets) - 1), min_size=n, max_size=n))
    values = np.array(draw(cells), np.float64).reshape(n, len(channels))
    return Batch(assets, np.array(index, np.int32), np.array(times, np.int64), channels, values)


def _by_cell(batch, names):
    """(asset, time, channel) -> bits of the value; of two the later one."""
    return {
        (names[batch.asset_index[row]], int(batch.times_ns[row]), channel): value.tobytes()
        for row in range(len(batch))
        for channel, value in zip(batch.channels, batch.values[row], strict=True)
        if not np.isnan(value)
    }


@tried(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=_batches())
@example(
    Batch.of_asset('a\\b "=,\\\\c', np.array([LAST_NS, FIRST_NS, 0]), ('c"\\d ',), np.array([[-0.0], [1e308], [1e21]]))
)
def test_what_was_written_comes_back_bit_by_bit(store, batch):
    mark = uuid.uuid4().hex  # examples share one measurement
    assets = tuple(f"{name}{mark}" for name in batch.assets)
    sent = Batch(assets, batch.asset_index, batch.times_ns, batch.channels, batch.values)
    assert store.write(sent) == []
    found = {}
    for asset in assets:
        read = store.read(asset, FIRST_NS, LAST_NS + 1, channels=sent.channels)
        assert (np.diff(read.times_ns.astype(object)) > 0).all()
        found |= _by_cell(read, read.assets)
    assert found == _by_cell(sent, assets)
