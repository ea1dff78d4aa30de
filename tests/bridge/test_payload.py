"""Payloads: what the schema says is taken, everything else is refused with the field named, and nothing falls over."""

import json
import math
import re
import time
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faults import HOSTILE
from foresense.bridge.assemble import assemble
from foresense.bridge.payload import AHEAD_NS, CHANNELS, FIRST_NS, MAX_BYTES, Schema

NOW_NS = 1_750_000_000 * 10**9
AT = NOW_NS - 10**9
SCHEMA = Schema()


def parse(content: object, now_ns: int = NOW_NS):
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return SCHEMA.parse(payload, now_ns)


def batch_of(*contents: object):
    return assemble(SCHEMA, [(NOW_NS, json.dumps(content).encode()) for content in contents]).batch


def reasons(content: object) -> str:
    parsed = parse(content)
    assert parsed.n_refused >= 1
    return "; ".join(parsed.reasons)


def sample(**others: object) -> dict[str, object]:
    return {"workspace_id": "lathe", "time_ns": AT, "temp_body": 60.5} | others


numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53))
records = st.fixed_dictionaries(
    {"workspace_id": st.sampled_from(["a", "b"]), "time_ns": st.integers(FIRST_NS, NOW_NS)},
    optional=dict.fromkeys(CHANNELS, numbers),
).filter(lambda record: len(record) > 2)


@given(found=st.lists(records, min_size=1, max_size=20))
def test_one_by_one_batched_and_in_columns_give_the_same_samples(found) -> None:
    one_by_one, batched = batch_of(*found), batch_of({"samples": found})
    columns = [
        {"workspace_id": asset, "time_ns": [record["time_ns"] for record in of]}
        | {name: [record.get(name) for record in of] for name in CHANNELS}
        for asset in ("a", "b")
        if (of := [record for record in found if record["workspace_id"] == asset])
    ]
    in_columns = batch_of(*columns)
    assert len(one_by_one) == len(batched) == len(in_columns) == len(found)
    np.testing.assert_array_equal(one_by_one.values, batched.values)
    for asset in one_by_one.assets:
        mine = [batch.values[np.array(batch.assets)[batch.asset_index] == asset] for batch in (one_by_one, in_columns)]
        np.testing.assert_array_equal(mine[0], mine[1])
    expected = [[math.nan if record.get(name) is None else record[name] for name in CHANNELS] for record in found]
    np.testing.assert_array_equal(one_by_one.values, np.array(expected, np.float64))
    np.testing.assert_array_equal(one_by_one.times_ns, [record["time_ns"] for record in found])


@given(junk=st.one_of(st.binary(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["workspace_id", "time_ns", "time", "samples",
                                                                      "temp_body", "accX", "current", "x"]), inner),
).map(lambda content: json.dumps(content).encode())))  # fmt: skip
def test_whatever_comes_is_taken_or_refused_and_never_raises(junk: bytes) -> None:
    parsed = SCHEMA.parse(junk, NOW_NS)
    n_block = len(parsed.block.times_ns) if parsed.block is not None else 0
    assert parsed.n_refused + len(parsed.rows) + n_block >= 1
    found = assemble(SCHEMA, [(NOW_NS, junk)])
    assert not np.isinf(found.batch.values).any()
    assert ((found.batch.times_ns >= FIRST_NS) & (found.batch.times_ns <= NOW_NS + AHEAD_NS)).all()


@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_message_is_refused_once(payload: bytes) -> None:
    parsed = SCHEMA.parse(payload, NOW_NS)
    assert (parsed.n_refused, len(parsed.rows)) == (1, 0)
    assert parsed.block is None or not len(parsed.block.times_ns)


def test_a_field_that_is_missing_or_null_stays_missing_and_is_never_zero() -> None:
    batch = batch_of(sample(current=None))
    assert batch.values[0, 0] == 60.5
    assert np.isnan(batch.values[0, 1:]).all()


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("2025-01-31T12:00:00Z", 1738324800 * 10**9),
        ("2025-01-31T13:00:00.5+01:00", 1738324800 * 10**9 + 500_000_000),
        ("2025-01-31t12:00:00.123456789z", 1738324800 * 10**9 + 123_456_789),
        ("2025-01-31 06:30:00-05:30", 1738324800 * 10**9),
    ],
)
def test_rfc_3339_is_read_to_the_nanosecond(text: str, time_ns: int) -> None:
    assert parse({"workspace_id": "a", "time": text, "current": 1}).times_ns == [time_ns]


@given(moment=st.datetimes(datetime(2000, 1, 1), datetime(2025, 6, 15), timezones=st.just(UTC)))
def test_times_agree_with_the_standard_library(moment: datetime) -> None:
    expected = int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
    assert parse({"workspace_id": "a", "time": moment.isoformat(), "current": 1}).times_ns == [expected]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_ns": None}, "time_ns: expected whole nanoseconds since 1970, found nothing"),
        ({"time_ns": 1.5}, "time_ns: expected whole nanoseconds since 1970, found the number 1.5"),
        ({"time_ns": 0}, "time_ns: lies before 2000; is the device's clock set?"),
        ({"time_ns": FIRST_NS - 1}, "lies before 2000"),
        ({"time_ns": NOW_NS + AHEAD_NS + 1}, "time_ns: lies more than a day ahead of its arrival"),
        ({"time_ns": 2**64 - 1}, "lies more than a day ahead"),
        ({"time_ns": -(2**63)}, "lies before 2000"),
        ({"time": "2025-01-01T00:00:00Z"}, "time: is there beside time_ns; which one holds?"),
        ({"workspace_id": None}, "workspace_id: expected the asset's name, found nothing"),
        ({"workspace_id": 7}, "workspace_id: expected the asset's name, found the number 7"),
        ({"workspace_id": " "}, "workspace_id: a name has 1 to 128 letters and no control characters"),
        ({"workspace_id": "a\nb"}, "no control characters"),
        ({"workspace_id": "x" * 129}, "1 to 128 letters"),
        ({"temp_body": "60"}, "temp_body: expected a number or null, found the text '60'"),
        ({"temp_body": False}, "temp_body: expected a number or null, found false"),
        ({"temp_body": [1]}, "temp_body: expected a number or null, found a list of 1"),
        ({"temp_body": {}}, "temp_body: expected a number or null, found an object"),
        ({"temp_body": math.nan}, "temp_body: expected a number or null, found the number nan"),
        ({"current": math.inf}, "current: expected a number or null, found the number inf"),
        ({"tempA": 1}, "tempA: is there twice, under its old name and its new one"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], message: str) -> None:
    assert message in reasons(sample(**change))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "is no JSON in UTF-8"),
        (b"7", "expected an object, found the number 7"),
        (b"[" * 9000, "is no JSON in UTF-8: depth limit exceeded"),
        (b"[" * 90000 + b"NaN", "is no JSON in UTF-8: maximum recursion depth exceeded"),
        (b" " * (MAX_BYTES + 1), "1048577 bytes; at most 1048576, so send fewer samples in one message"),
        ({"samples": []}, "samples: expected a list with records, found a list of 0"),
        ({"samples": [3]}, "samples[0]: expected an object, found the number 3"),
        ({"workspace_id": "a", "current": 1}, "no time and no time_ns: a sample without its own time could not"),
        ({"workspace_id": "a", "time_ns": AT, "x": 1}, "no field that is known; known: temp_body"),
        ({"workspace_id": "a", "time": 5, "current": 1}, "time: expected a time with zone like"),
        ({"workspace_id": "a", "time": "2025-01-01T00:00:00", "current": 1}, "time: expected a time with zone like"),
        ({"workspace_id": "a", "time": "2025-02-30T00:00:00Z", "current": 1}, "is no time: day is out of range"),
        ({"workspace_id": "a", "time": "0001-01-01T00:00:00+23:59", "current": 1}, "lies before 2000"),
        ({"workspace_id": "a", "time": "2025-01-01T00:00:00+25:00", "current": 1}, "is no time"),
        ({"workspace_id": "a", "time": "2025-01-01T00:00:00+01:99", "current": 1}, "a zone of 99 minutes"),
        ({"workspace_id": "a", "time_ns": [], "current": []}, "no samples; known columns: temp_body"),
        ({"workspace_id": "a", "time_ns": [AT], "current": 1}, "current: expected a list of 1 values like time_ns"),
        ({"workspace_id": "a", "time_ns": [AT], "current": [1, 2]}, "current: 2 values for 1 times"),
        ({"workspace_id": "a", "time_ns": [AT], "time": "x", "current": [1]}, "time: is there beside time_ns"),
        ({"workspace_id": "a", "time_ns": [AT], "tempA": [1], "temp_body": [1]}, "temp_body: is there twice"),
    ],
    ids=range(20),
)
def test_a_wrong_message_is_told_what_is_expected(content: object, message: str) -> None:
    assert message in reasons(content)


def test_of_a_batch_only_the_bad_records_are_refused() -> None:
    good = sample()
    batch = parse({"samples": [good, sample(temp_body="x"), good]})
    assert (len(batch.rows), batch.n_refused) == (2, 1)
    assert batch.reasons == ["samples[1]: temp_body: expected a number or null, found the text 'x'"]
    columns = {"workspace_id": "a", "time_ns": [AT, 0, AT + 1, AT + 2, 2**63, "t"], "current": [1, 2, True, 3, 4, 5]}
    parsed = parse(columns)
    assert parsed.block is not None
    assert parsed.block.times_ns.tolist() == [AT, AT + 2]
    assert [re.split("[:;]", reason)[0] for reason in parsed.reasons] == ["row 1", "row 2", "row 4", "row 5"]
    odd = parse(b'{"workspace_id": "a", "time_ns": [%d, %d, %d], "current": [1, NaN, null]}' % (AT, AT + 1, AT + 2))
    assert odd.reasons == ["row 1: current: expected a number or null, found the number nan"]
    assert odd.block is not None
    assert len(odd.block.times_ns) == 2


def test_of_many_reasons_the_first_are_kept_and_all_are_counted() -> None:
    parsed = parse({"samples": [sample(temp_body="x")] * 50})
    assert (parsed.n_refused, len(parsed.reasons)) == (50, 10)


def test_an_unknown_field_is_counted_by_name_and_the_rest_is_kept() -> None:
    found = assemble(SCHEMA, [(NOW_NS, orjson.dumps(sample(pressure=3, note="x")))] * 2)
    assert found.unknown == {"pressure": 2, "note": 2}
    assert len(found.batch) == 2


@given(axes=st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=8))
def test_the_older_format_becomes_the_four_channels_with_the_magnitude_of_each_sample(axes) -> None:
    old = [
        {
            "workspace_id": "a",
            "time_ns": AT + i,
            "tempA": 60,
            "tempB": 65,
            "current": 12,
            "accX": x,
            "accY": y,
            "accZ": z,
        }
        for i, (x, y, z) in enumerate(axes)
    ]
    columns = {"workspace_id": "a"} | {key: [record[key] for record in old] for key in old[0] if key != "workspace_id"}
    expected = [[60, 65, 12, math.hypot(*xyz)] for xyz in axes]
    for batch in (batch_of(*old), batch_of(columns)):
        np.testing.assert_allclose(batch.values, expected, rtol=1e-14, atol=1e-100)  # squares of less are 0


def test_without_one_axis_there_is_no_magnitude() -> None:
    batch = batch_of({"workspace_id": "a", "time_ns": AT, "accX": 1, "accY": None, "accZ": 2, "tempA": 5})
    np.testing.assert_array_equal(batch.values, [[5, np.nan, np.nan, np.nan]])
    huge = batch_of({"workspace_id": "a", "time_ns": AT, "accX": 1e300, "accY": 1e300, "accZ": 1, "tempA": 5})
    assert np.isnan(huge.values[0, 3])


def test_messages_keep_their_order_whatever_their_form() -> None:
    column = {"workspace_id": "a", "time_ns": [AT], "current": [2]}
    found = assemble(SCHEMA, [(NOW_NS, orjson.dumps(one)) for one in (sample(), column, sample(workspace_id="b"))])
    assert found.owners.tolist() == [0, 1, 2]
    assert [found.batch.assets[index] for index in found.batch.asset_index] == ["lathe", "a", "b"]


def test_other_channels_need_no_axes() -> None:
    schema = Schema(("pressure",))
    found = assemble(schema, [(NOW_NS, orjson.dumps({"workspace_id": "a", "time_ns": AT, "pressure": 3, "accX": 1}))])
    assert found.batch.values.tolist() == [[3.0]]
    assert found.unknown == {"accX": 1}


def test_columns_are_read_faster_than_150_000_points_a_second() -> None:
    """A floor with a wide margin (seen: millions), which a loop in Python over the values would miss."""
    times_ns = [AT - i for i in range(5000)]
    payload = orjson.dumps({"workspace_id": "a", "time_ns": times_ns} | {name: [1.25] * 5000 for name in CHANNELS})
    began = time.process_time()
    for _ in range(10):
        assemble(SCHEMA, [(NOW_NS, payload)])
    assert 10 * 5000 * len(CHANNELS) / (time.process_time() - began) > 150_000
