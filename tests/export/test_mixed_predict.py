"""What travels with a model of mixed recordings reads a CSV file as the schema encodes a table, or says why not."""

import csv
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foresense.export.mixed_predict import InputError, answer_rows, main, probabilities, read_window
from foresense.signals import write_json
from foresense.signals.mixed import CategoricalChannel, NumericChannel
from foresense.signals.mixed_schema import MixedSchema

SCHEMA = MixedSchema(
    numeric=(NumericChannel("PM2.5", "ug/m3"), NumericChannel("TEMP", "Cel")),
    categorical=(CategoricalChannel("wd", ("4", "N", "NNE")),),
    static_numeric=(NumericChannel("age", "a"),),
    static_categorical=(CategoricalChannel("kind", ("city", "park")),),
    means=(80.0, 10.0),
    deviations=(60.0, 10.0),
    static_means=(50.0,),
    static_deviations=(10.0,),
    constant=(),
    unmeasured=(),
    interval_s=3600.0,
)
MANIFEST: dict[str, Any] = {
    "length": 3,
    "has_time": True,
    "time_zone": "Asia/Shanghai",
    "calendar": False,
    "inputs": ["numbers", "categories", "static_numbers", "static_categories"],
    "classes": [],
    "target": {"name": "PM2.5", "unit": "ug/m3", "ahead": 24},
    "variants": {"onnx-float32": {"file": "onnx-float32.onnx"}},
}
STATICS = ("age=61", "kind=park")
WHOLE = """\
time,PM2.5,TEMP,wd
2017-03-01T00:00,10.5,,N
2017-03-01T01:00,,-3,NNE
2017-03-01T02:00,NA,1e2,
"""


def read(folder: Path, text: str, statics: tuple[str, ...] = STATICS, **changes: Any) -> Any:
    path = folder / "window.csv"
    path.write_text(text)
    return read_window(path, statics, {**MANIFEST, **changes}, SCHEMA.to_json())


def test_a_file_becomes_one_window(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    nan = np.nan
    assert np.array_equal(found.inputs["numbers"], np.array([[[10.5, nan, nan], [nan, -3, 100]]], "f4"), equal_nan=True)
    assert found.inputs["categories"].tolist() == [[[3, 4, 0]]]
    assert found.inputs["static_numbers"].tolist() == [[61]]
    assert found.inputs["static_categories"].tolist() == [[3]]
    assert {name: rows.dtype.name for name, rows in found.inputs.items()} == {
        "numbers": "float32",
        "categories": "int64",
        "static_numbers": "float32",
        "static_categories": "int64",
    }
    assert (found.newest, found.n_older, found.n_unseen) == (datetime(2017, 2, 28, 18, tzinfo=UTC), 0, {})


def test_columns_may_stand_in_any_order_with_their_units(tmp_path: Path) -> None:
    lines = [line.split(",") for line in WHOLE.splitlines()]
    lines[0] = ["time", "PM2.5 [ug/m3]", "TEMP[Cel]", "wd"]
    turned = "\n".join(",".join(reversed(line)) for line in lines)
    found, expected = read(tmp_path, turned), read(tmp_path, WHOLE)
    for name, rows in expected.inputs.items():
        assert np.array_equal(found.inputs[name], rows, equal_nan=rows.dtype.kind == "f")


def test_what_was_never_seen_is_code_1_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE.replace(",NNE", ",up").replace(",N\n", ",4.0\n"), ("age=", "kind=farm"))
    assert found.inputs["categories"].tolist() == [[[2, 1, 0]]]
    assert found.inputs["static_categories"].tolist() == [[1]]
    assert np.isnan(found.inputs["static_numbers"]).all()
    assert found.n_unseen == {"kind": 1, "wd": 1}


def test_the_newest_steps_of_a_longer_file_count_and_the_clock_comes_last(tmp_path: Path) -> None:
    longer = WHOLE.replace("2017-03-01T00:00", "2017-02-28T23:00,7,7,N\n2017-03-01T00:00")
    found = read(tmp_path, longer, calendar=True)
    assert found.n_older == 1
    assert found.inputs["numbers"][0, 0, 0] == 10.5
    turn = 2 * np.pi * np.array([2 / 24, 2 / 12])
    clock = [np.sin(turn[0]), np.cos(turn[0]), np.sin(turn[1]), np.cos(turn[1])]
    assert found.inputs["static_numbers"][0] == pytest.approx([61, *clock], abs=1e-6)


def test_a_zone_in_the_file_counts_and_none_means_local(tmp_path: Path) -> None:
    in_utc = WHOLE.replace("2017-03-01T0", "2017-02-28T1").replace(":00,", ":00Z,")  # 10:00 to 12:00, eight hours back
    assert read(tmp_path, in_utc).newest == datetime(2017, 2, 28, 12, tzinfo=UTC)


def test_recordings_without_time_have_no_such_column(tmp_path: Path) -> None:
    without = "\n".join(line.partition(",")[2] for line in WHOLE.splitlines())
    assert read(tmp_path, without, has_time=False).newest is None
    with pytest.raises(InputError, match=r"column \['time'\] not in schema.json"):
        read(tmp_path, WHOLE, has_time=False)


cells = st.one_of(st.just(""), st.just("NA"), st.floats(-1e6, 1e6, width=32).map(str), st.integers(-999, 999).map(str))
names = st.sampled_from(["", "N", "NNE", "4", "4.0", "up", "SSW"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(cells, cells, names), min_size=3, max_size=3))
def test_a_file_is_read_as_pandas_and_the_schema_do(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "window.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["PM2.5", "TEMP", "wd"], *rows])
    frame = pd.read_csv(path, dtype={"PM2.5": "float64", "TEMP": "float64", "wd": "str"})
    frame["wd"] = frame["wd"].replace("4.0", "4")  # a number that pandas read as one
    expected = SCHEMA.encode(frame)
    found = read_window(path, STATICS, {**MANIFEST, "has_time": False}, SCHEMA.to_json())
    assert np.array_equal(found.inputs["numbers"][0].T, expected.numeric, equal_nan=True)
    assert np.array_equal(found.inputs["categories"][0].T, expected.categories)
    assert found.n_unseen == {name: n for name, n in expected.n_unseen.items() if n}


ALL = "expected ['PM2.5', 'TEMP', 'wd', 'time']"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "TEMP",
            "TEMPERATURE",
            f"no column 'TEMP' (is it 'TEMPERATURE'?); {ALL}, found ['time', 'PM2.5', 'TEMPERATURE', 'wd']; give every "
            "one, with nothing in it where nothing was measured",
        ),
        (
            "PM2.5",
            "PM2.5 [mg/m3]",
            "column 'PM2.5' comes in 'mg/m3', in schema.json it is in 'ug/m3'; convert the values and say the expected "
            "unit, or none",
        ),
        ("wd", "wd [deg]", "column 'wd' comes in 'deg', in schema.json it has no unit; convert the values and say the"),
        ("TEMP", "PM2.5", f"no column 'TEMP'; {ALL}, found ['time', 'PM2.5', 'PM2.5', 'wd']; give every one"),
        (
            "2017-03-01T02:00,NA,1e2,\n",
            "",
            "window.csv: 2 rows, expected at least 3, one every 3600 s; give a longer stretch, with empty cells where "
            "nothing was measured",
        ),
        (
            "T02:00",
            "T03:00",
            "window.csv, line 4: 7200 s after the row before, expected 3600 s; give one row for each step, oldest "
            "first, with empty cells where nothing was measured",
        ),
        ("T02:00", "T00:30", "window.csv, line 4: -1800 s after the row before, expected 3600 s; give one row for"),
        (
            "2017-03-01T01:00",
            "1 March",
            "column 'time', line 3: '1 March' is no time; expected ISO 8601, such as 2024-03-04T12:00:00+01:00",
        ),
        (
            "-3",
            "cold",
            "column 'TEMP', line 3: 'cold' is no number; expected a number, or nothing where nothing was measured",
        ),
        (
            "-3",
            "-inf",
            "column 'TEMP', line 3: '-inf' is infinite in float32; expected a finite number, or nothing where nothing "
            "was measured",
        ),
        ("1e2", "1e39", "column 'TEMP', line 4: '1e39' is infinite in float32; expected a finite number, or nothing"),
        (
            ",-3,",
            ",-3,,",
            "window.csv, line 3: 5 cells, the header has 4; give every channel a cell, empty where nothing was",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, WHOLE.replace(old, new, 1))


def test_a_column_too_many_or_twice_is_refused(tmp_path: Path) -> None:
    more = "\n".join(line + end for line, end in zip(WHOLE.splitlines(), (",No", ",1", ",2", ",3"), strict=True))
    with pytest.raises(InputError, match=re.escape(f"column ['No'] not in schema.json; {ALL}; leave them out")):
        read(tmp_path, more)
    with pytest.raises(InputError, match=re.escape("column ['TEMP'] twice; expected each once; leave one out")):
        read(tmp_path, more.replace("No", "TEMP [Cel]"))
    (tmp_path / "window.csv").write_bytes(b"")
    with pytest.raises(InputError, match=r"window.csv: empty; expected a header with the channels of schema.json"):
        read_window(tmp_path / "window.csv", STATICS, MANIFEST, SCHEMA.to_json())
    with pytest.raises(InputError, match=r"absent.csv: cannot be read \(.*No such file"):
        read_window(tmp_path / "absent.csv", STATICS, MANIFEST, SCHEMA.to_json())


@pytest.mark.parametrize(
    ("statics", "message"),
    [
        (
            ("age=61",),
            "--static: no value 'kind'; expected ['age', 'kind'], found ['age']; give every one, with nothing",
        ),
        ((*STATICS, "ward=3"), "--static: value ['ward'] not in schema.json; expected ['age', 'kind']; leave them out"),
        (
            ("age", "kind=park"),
            "--static age: expected NAME=VALUE, with nothing behind the = where it is not known",
        ),
        (("age [d]=61", "kind=park"), "--static: value 'age' comes in 'd', in schema.json it is in 'a'; convert"),
        (("age=old", "kind=park"), "--static age, value: 'old' is no number; expected a number, or nothing where"),
    ],
)
def test_what_never_changes_is_checked_likewise(tmp_path: Path, statics: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, WHOLE, statics)


def test_a_wrong_file_ends_the_program_with_one_message(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", MANIFEST)
    write_json(tmp_path / "schema.json", SCHEMA.to_json())
    (tmp_path / "window.csv").write_text(WHOLE.replace("TEMP", "WSPM"))
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / "window.csv"), "--static", "age=61", "--static", "kind=park"], tmp_path)
    assert str(left.value.code).startswith(f"{tmp_path / 'window.csv'}: no column 'TEMP'; expected")


def test_answers_are_values_with_their_unit_or_probabilities_of_classes() -> None:
    newest = datetime(2017, 2, 28, 18, tzinfo=UTC)
    assert answer_rows(np.array([[57.25]], np.float32), newest, MANIFEST, 3600.0) == [
        ["time", "target", "unit", "value"],
        ["2017-03-02T02:00:00+08:00", "PM2.5", "ug/m3", "57.25"],
    ]
    of_classes = {**MANIFEST, "classes": ["low", "high"], "target": {"name": "died", "unit": "1", "ahead": None}}
    assert answer_rows(np.log(np.array([[1, 3]], np.float32)), None, of_classes, 3600.0) == [
        ["class", "probability"],
        ["low", "0.250000"],
        ["high", "0.750000"],
    ]
    assert probabilities(np.array([[1000, 0], [-1000, -1000]], np.float32)).tolist() == [[1, 0], [0.5, 0.5]]
