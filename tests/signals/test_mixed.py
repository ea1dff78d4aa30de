"""Mixed recordings: containers on disk, the schema of the training part, and what does not fit it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from foresense.signals import SignalError, read_json, write_json
from foresense.signals.mixed import (
    CategoricalChannel,
    MixedRecording,
    MixedSet,
    NumericChannel,
    open_mixed,
    write_mixed,
)
from foresense.signals.mixed_columns import (
    ExtraColumnError,
    InfiniteValueError,
    MissingColumnError,
    NotANumberError,
    OtherIntervalError,
    OtherUnitError,
    SchemaError,
    WrongShapeError,
)
from foresense.signals.mixed_schema import MixedSchema, Stretch, fit_schema

NAN = np.nan
MODES = ("idle", "run", "stop")


def recording(name: str = "a", **other: object) -> MixedRecording:
    """Three hours of a pump: temperature and pressure, its mode, its weight and its maker."""
    return replace(
        MixedRecording(
            name=name,
            numeric=np.array([[20, 1], [NAN, 1], [26, 1]], np.float32),
            categories=np.array([[2], [0], [3]], np.int64),
            static_numeric=np.array([80], np.float32),
            static_categories=np.array([2], np.int64),
            outcomes=np.array([1], np.float32),
            start_ns=0,
        ),
        **other,
    )


def of(*recordings: MixedRecording, **other: object) -> MixedSet:
    return replace(
        MixedSet(
            recordings=recordings,
            numeric=(NumericChannel("temp", "Cel"), NumericChannel("pressure", "hPa")),
            categorical=(CategoricalChannel("mode", MODES),),
            static_numeric=(NumericChannel("weight", "kg"),),
            static_categorical=(CategoricalChannel("maker", ("Acme", "Zeta")),),
            outcomes=(NumericChannel("failed", "1"),),
            interval_s=3600.0,
            has_time=False,
        ),
        **other,
    )


@pytest.fixture
def schema() -> MixedSchema:
    return fit_schema(of(recording()), [Stretch(0, 0, 3)])


def test_a_set_is_written_opened_and_the_same_bytes_again(tmp_path: Path) -> None:
    longer = recording(
        "b", numeric=np.zeros((5, 2), np.float32), categories=np.full((5, 1), 4), start_ns=7, outcomes=np.float32([NAN])
    )
    found = of(recording(), longer, has_time=True, time_zone="Asia/Shanghai")
    write_mixed(tmp_path / "one", found, facts={"set": "pumps"})
    write_mixed(tmp_path / "two", found, facts={"set": "pumps"})
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    opened = open_mixed(tmp_path / "one")
    for before, after in zip(found.recordings, opened.recordings, strict=True):
        assert (before.name, before.start_ns) == (after.name, after.start_ns)
        for name in ("numeric", "categories", "static_numeric", "static_categories", "outcomes"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name), strict=True)
    assert replace(opened, recordings=()).__dict__ == replace(found, recordings=()).__dict__
    assert isinstance(opened.recordings[1].numeric.base, np.memmap)
    assert read_json(tmp_path / "one" / "manifest.json")["set"] == "pumps"


def test_kinds_of_channels_that_are_not_there_are_written_and_opened(tmp_path: Path) -> None:
    bare = of(recording()).only(numeric=[], categorical=[], static_numeric=[], static_categorical=[])
    write_mixed(tmp_path / "set", bare, facts={})
    (one,) = open_mixed(tmp_path / "set").recordings
    assert (one.numeric.shape, one.categories.shape, one.static_numeric.shape) == ((3, 0), (3, 0), (0,))


def test_a_folder_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json: not there; run `foresense ingest air` first"):
        open_mixed(tmp_path / "air")
    with pytest.raises(SignalError, match="not one recording to write; look into what the source refused"):
        write_mixed(tmp_path / "air", of(), facts={})

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("foresense.signals.mixed.write_json", fails)
    with pytest.raises(OSError, match="disk full"):
        write_mixed(tmp_path / "air", of(recording()), facts={})
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_another_kind_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"kind": "labelled", "schema_version": 1})
    with pytest.raises(
        SignalError, match="expected kind 'mixed', version 1, found 'labelled', version 1; run `foresense"
    ):
        open_mixed(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"numeric": np.zeros((3, 2))},
            r"numeric must have 2 dimension\(s\) of float32, found shape \(3, 2\) of float64",
        ),
        ({"categories": np.zeros(3, np.int64)}, r"categories must have 2 dimension\(s\) of int64, found shape \(3,\)"),
        (
            {"numeric": np.full((3, 2), -np.inf, np.float32)},
            r"numeric\[0, 0\] is infinite; expected a finite number, NaN",
        ),
        ({"categories": np.full((3, 1), -1)}, "categories holds codes below 0; 0 is missing, 1 unseen"),
        ({"categories": np.zeros((2, 1), np.int64)}, "3 steps of numbers and 2 of categories; expected as many"),
        (
            {"numeric": np.zeros((0, 2), np.float32), "categories": np.zeros((0, 1), np.int64)},
            "0 steps of numbers and 0",
        ),
    ],
)
def test_a_recording_that_does_not_fit_together_is_refused(other: dict[str, object], message: str) -> None:
    with pytest.raises(SignalError, match=f"recording 'a': .*{message}"):
        recording(**other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: of(recording("b"), recording("a")),
            r"in the order of their names, each name once; found \['b', 'a'\]",
        ),
        (lambda: of(recording(), recording()), "each name once"),
        (lambda: of(recording(), outcomes=()), r"\(2, 1, 1, 1, 1\) .* and outcomes, expected \(2, 1, 1, 1, 0\)"),
        (lambda: of(recording(categories=np.full((3, 1), 5))), r"'mode' has code 5, expected at most 4 \(3 values\)"),
        (lambda: of(recording(static_categories=np.array([4]))), "'maker' has code 4, expected at most 3"),
        (lambda: of(numeric=(NumericChannel("a", "1"),) * 2), r"channels \['a', 'a'\]: a name stands there twice"),
        (
            lambda: of(recording()).only(numeric=["humidity"]),
            r"no channel 'humidity'; known of this kind: \['temp', 'pres",
        ),
    ],
)
def test_a_set_that_does_not_fit_together_is_refused(make, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        make()


def test_only_keeps_what_is_asked_for_in_that_order() -> None:
    found = of(recording()).only(numeric=["pressure", "temp"], categorical=[])
    assert [one.name for one in found.numeric] == ["pressure", "temp"]
    np.testing.assert_array_equal(found.recordings[0].numeric[:, 1], np.float32([20, NAN, 26]))
    assert (found.categorical, found.recordings[0].categories.shape) == ((), (3, 0))
    assert found.static_numeric == of(recording()).static_numeric


def test_a_schema_of_three_hours_by_hand(schema: MixedSchema) -> None:
    assert (schema.means, schema.deviations) == ((23.0, 1.0), (3.0, 1.0))
    assert (schema.static_means, schema.static_deviations) == ((80.0,), (1.0,))
    assert schema.constant == ("pressure", "weight")
    assert schema.unmeasured == ()
    assert schema.categorical == (CategoricalChannel("mode", ("idle", "run")),)
    assert schema.static_categorical == (CategoricalChannel("maker", ("Acme",)),)


def test_nothing_outside_of_the_training_stretches_changes_a_schema() -> None:
    other = recording(
        "a",
        numeric=np.array([[20, 1], [NAN, 1], [26, 1], [999, 2]], np.float32),
        categories=np.array([[2], [0], [3], [4]]),
    )
    test = recording("b", numeric=np.full((3, 2), 1e6, np.float32), static_numeric=np.float32([1]))
    assert fit_schema(of(other, test), [Stretch(0, 0, 3)]) == fit_schema(of(recording()), [Stretch(0, 0, 3)])


@settings(deadline=None)
@given(
    values=arrays(np.float32, (30, 2), elements=st.floats(-1e6, 1e6, width=32) | st.just(NAN)),
    cut=st.integers(1, 29),
)
def test_scales_are_those_of_sklearn(values: np.ndarray, cut: int) -> None:
    one = recording(numeric=values, categories=np.zeros((30, 1), np.int64))
    fitted = fit_schema(of(one), [Stretch(0, 0, cut), Stretch(0, cut, 30)])
    for index in range(2):
        column = values[:, index][~np.isnan(values[:, index])]
        if not len(column):
            assert fitted.numeric[index].name in fitted.unmeasured
            assert (fitted.means[index], fitted.deviations[index]) == (0, 1)
        elif (column == column[0]).all():
            assert fitted.numeric[index].name in fitted.constant
            assert (fitted.means[index], fitted.deviations[index]) == (column[0], 1)
        else:
            theirs = StandardScaler().fit(column.astype(np.float64)[:, None])
            assert fitted.means[index] == pytest.approx(theirs.mean_[0], rel=1e-9, abs=1e-9)
            assert fitted.deviations[index] == pytest.approx(np.std(column, dtype=np.float64), rel=1e-9)


def test_a_small_change_on_a_large_level_is_not_lost_in_float32() -> None:
    values = np.stack([100000 + np.arange(4) / 64, np.zeros(4)], axis=1).astype(np.float32)
    one = recording(numeric=values, categories=np.zeros((4, 1), np.int64))
    assert fit_schema(of(one), [Stretch(0, 0, 4)]).deviations[0] == pytest.approx(np.sqrt(1.25) / 64, rel=1e-9)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ([], "no training stretch"),
        ([Stretch(1, 0, 3)], "there are 1 recordings"),
        ([Stretch(0, 0, 4)], "the recording has 3 steps"),
        ([Stretch(0, 1, 1)], "the recording has 3 steps"),
        ([Stretch(0, 1, 3), Stretch(0, 0, 2)], "overlap: their steps would count twice"),
    ],
)
def test_stretches_that_cannot_be_are_refused(training: list[Stretch], message: str) -> None:
    with pytest.raises(SignalError, match=message):
        fit_schema(of(recording()), training)


def test_a_schema_goes_through_a_file_and_back(tmp_path: Path) -> None:
    numeric = np.array([[0.1, 1], [NAN, 1], [1e-7, 1]], np.float32)
    schema = fit_schema(of(recording(numeric=numeric)), [Stretch(0, 0, 3)])
    write_json(tmp_path / "schema.json", schema.to_json())
    assert MixedSchema.from_json(read_json(tmp_path / "schema.json")) == schema


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "channels.json: expected a schema of version 1, found 2; export it again"),
        ({"extra": 1}, r"channels.json: keys missing \[\], unknown \['extra'\]"),
        ({"means": [1.0]}, r"schema: \[1, 2, 1, 1\] means, .* expected \[2, 2, 1, 1\]"),
        ({"deviations": [1.0, 0.0]}, r"deviations \[1.0, 0.0, 1.0\] must be positive"),
        ({"means": [1.0, NAN]}, "must be finite"),
    ],
)
def test_a_schema_that_was_edited_is_refused(schema: MixedSchema, change: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        MixedSchema.from_json(json.loads(json.dumps(schema.to_json())) | change, "channels.json")


def table(**columns: object) -> dict[str, object]:
    return {"mode": ["run", None], "pressure": [1, 2], "temp": [20.5, NAN], **columns}


def test_a_table_is_encoded_whatever_the_order_of_its_columns(schema: MixedSchema) -> None:
    found = schema.encode(table(), units={"temp": "Cel"})
    np.testing.assert_array_equal(found.numeric, np.float32([[20.5, 1], [NAN, 2]]), strict=True)
    np.testing.assert_array_equal(found.categories, np.int64([[3], [0]]), strict=True)
    assert found.n_unseen == {"mode": 0}
    frame = pd.DataFrame({"temp": [20.5, None], "pressure": pd.array([1, pd.NA], "Int64"), "mode": ["idle", pd.NA]})
    again = schema.encode(frame)
    np.testing.assert_array_equal(again.numeric, np.float32([[20.5, 1], [NAN, NAN]]))
    np.testing.assert_array_equal(again.categories, [[2], [0]])


def test_an_unseen_category_is_counted_and_a_missing_one_is_not(schema: MixedSchema) -> None:
    cells = ["stop", "", "new", " idle ", NAN]
    found = schema.encode(table(mode=cells, temp=np.zeros(5), pressure=np.zeros(5)))
    assert found.categories[:, 0].tolist() == [1, 0, 1, 2, 0]
    assert found.n_unseen == {"mode": 2}


def test_a_whole_number_is_its_digits() -> None:
    kinds = CategoricalChannel("mode", ("10", "4"))
    one = recording(categories=np.array([[2], [3], [3]]))
    schema = fit_schema(of(one, categorical=(kinds,)), [Stretch(0, 0, 3)])
    found = schema.encode(table(mode=np.array([4.0, NAN, 10.0, 4.5]), temp=np.zeros(4), pressure=np.zeros(4)))
    assert found.categories[:, 0].tolist() == [3, 0, 2, 1]


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        (
            {"temp": [1, np.inf]},
            InfiniteValueError,
            r"day.csv: column 'temp', row 1: inf is infinite in float32 \(1 such",
        ),
        ({"temp": [1, 1e39]}, InfiniteValueError, "row 1: 1e.39 is infinite in float32"),
        ({"temp": ["1", "warm"]}, NotANumberError, "day.csv: column 'temp' holds <U4, expected numbers; convert it"),
        ({"temp": [1, "warm"]}, NotANumberError, "column 'temp' holds"),
        (
            {"temp": np.array([1, "warm"], object)},
            NotANumberError,
            "column 'temp', row 1: 'warm' is no number; expected a",
        ),
        (
            {"temp": np.zeros((2, 1))},
            WrongShapeError,
            r"column 'temp' has shape \(2, 1\), expected \(2,\): one value a st",
        ),
        ({"mode": ["run"] * 3}, WrongShapeError, r"column '.*' has shape \(2,\), expected \(3,\)"),
        (
            {"flow": [1, 2]},
            ExtraColumnError,
            r"day.csv: column\(s\) \['flow'\] are no channels of this schema; expected",
        ),
    ],
)
def test_what_does_not_fit_a_schema_says_so(schema, columns: dict[str, object], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        schema.encode(table(**columns), where="day.csv")


def test_a_missing_column_names_the_one_that_may_be_meant(schema: MixedSchema) -> None:
    given = {"Temp": [1], "pressure": [1], "mode": ["run"]}
    with pytest.raises(
        MissingColumnError, match=r"table: no column 'temp' \(is it 'Temp'\?\); expected \['temp', 'press"
    ):
        schema.encode(given)
    with pytest.raises(MissingColumnError, match=r"no column 'temp', 'pressure', 'mode'; expected .*, found \[\]"):
        schema.encode({})
    with pytest.raises(WrongShapeError, match="no step at all"):
        schema.encode(table(mode=[], pressure=[], temp=[]))


def test_a_frame_with_a_column_twice_is_refused(schema: MixedSchema) -> None:
    frame = pd.DataFrame([[20.0, 1.0, "run", 21.0]], columns=["temp", "pressure", "mode", "temp"])
    with pytest.raises(
        ExtraColumnError, match=r"column\(s\) \['temp'\] twice; expected each channel once; leave one out"
    ):
        schema.encode(frame)


def test_another_unit_is_refused(schema: MixedSchema) -> None:
    with pytest.raises(OtherUnitError, match="table: temp in 'K', expected 'Cel'; convert the values"):
        schema.encode(table(), units={"temp": "K", "pressure": "hPa"})
    with pytest.raises(ExtraColumnError, match=r"units for \['mode'\], which are no numeric channels"):
        schema.encode(table(), units={"mode": "1"})


def test_a_static_row_is_encoded(schema: MixedSchema) -> None:
    found = schema.encode_static({"maker": "Zeta", "weight": None})
    np.testing.assert_array_equal(found.numeric, np.float32([NAN]), strict=True)
    assert (found.categories.tolist(), found.n_unseen) == ([1], {"maker": 1})
    with pytest.raises(MissingColumnError, match="static row: no column 'weight'"):
        schema.encode_static({"maker": "Acme"})
    with pytest.raises(WrongShapeError, match=r"static row: \['weight'\] hold several values; expected one"):
        schema.encode_static({"maker": "Acme", "weight": [1, 2]})


def test_recordings_get_the_codes_of_the_training_part() -> None:
    late = recording("b", categories=np.array([[4], [3], [0]]), static_categories=np.array([3]))
    whole = of(recording(), late)
    schema = fit_schema(whole, [Stretch(0, 1, 3)])  # saw missing and 'run', and the maker Acme
    found, n_unseen = schema.recode(whole.only(numeric=["pressure", "temp"]))
    assert [one.categories[:, 0].tolist() for one in found.recordings] == [[1, 0, 2], [1, 2, 0]]
    assert [one.static_categories.tolist() for one in found.recordings] == [[2], [1]]
    assert n_unseen == {"mode": 2, "maker": 1}
    assert (found.numeric, found.categorical) == (schema.numeric, schema.categorical)
    encoded = schema.encode({"temp": [0, 0], "pressure": [0, 0], "mode": ["stop", "run"]})
    assert encoded.categories[:, 0].tolist() == found.recordings[1].categories[:2, 0].tolist()


def test_a_set_of_other_channels_units_or_steps_is_refused(schema: MixedSchema) -> None:
    whole = of(recording())
    with pytest.raises(MissingColumnError, match="set: no column 'temp'"):
        schema.recode(whole.only(numeric=["pressure"]))
    kelvin = (NumericChannel("temp", "K"), NumericChannel("pressure", "hPa"))
    with pytest.raises(OtherUnitError, match="set: temp in 'K', expected 'Cel'"):
        schema.recode(replace(whole, numeric=kelvin))
    with pytest.raises(
        OtherIntervalError, match="set: steps are 60 s apart, expected 3600 s; lay the recordings on that"
    ):
        schema.recode(replace(whole, interval_s=60.0))
    bare = fit_schema(whole.only(categorical=[]), [Stretch(0, 0, 3)])
    with pytest.raises(ExtraColumnError, match=r"\['mode'\] are no channels of this schema"):
        bare.recode(whole)
