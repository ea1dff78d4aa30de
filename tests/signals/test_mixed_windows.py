"""Windows of mixed recordings on disk, and the one copy that `gather` makes."""

from pathlib import Path

import numpy as np
import pytest

from foresense.signals import SignalError, read_json, tree_sha256, write_json
from foresense.signals.mixed import CategoricalChannel, NumericChannel
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import MixedWindows, groups_of, open_mixed_windows, write_mixed_windows

SPEED = NumericChannel("speed", "m/s")


def schema(*values: str) -> MixedSchema:
    return MixedSchema(
        numeric=(SPEED,),
        categorical=(CategoricalChannel("mode", values),),
        static_numeric=(),
        static_categorical=(CategoricalChannel("maker", ("A",)),),
        means=(1.0,),
        deviations=(2.0,),
        static_means=(),
        static_deviations=(),
        constant=(),
        unmeasured=(),
        interval_s=60.0,
    )


def windows() -> MixedWindows:
    """Three recordings of four steps, each the test once; modes of the source: idle 2, run 3, stop 4."""
    return MixedWindows(
        numeric=np.arange(12, dtype=np.float32)[:, None],
        categories=np.array([0, 1, 2, 3] * 2 + [4, 4, 3, 0], np.int64)[:, None],
        static_numeric=np.zeros((3, 0), np.float32),
        static_categories=np.array([[2], [3], [0]], np.int64),
        starts=np.array([0, 4, 8], np.int64),
        targets=np.array([0.0, 1.0, 0.0], np.float32),
        classes=np.array([0, 1, 0], np.int64),
        times_ns=np.zeros(3, np.int64),
        owners=np.arange(3, dtype=np.int64),
        parts=np.full(3, -1, np.int64),
        folds=np.array([0, 1, 2], np.int64),
        schemas=(schema("run", "stop"), schema("idle", "run"), schema("idle")),
        categorical=(CategoricalChannel("mode", ("idle", "run", "stop")),),
        static_categorical=(CategoricalChannel("maker", ("A", "B")),),
        length=4,
        ahead=None,
        target=NumericChannel("broke", "1"),
        class_names=("held", "broke"),
        recordings=("x", "y", "z"),
        has_time=False,
        time_zone="UTC",
    )


def test_what_is_written_is_read_and_maps_what_is_large(tmp_path: Path) -> None:
    write_mixed_windows(tmp_path / "a", windows())
    found = open_mixed_windows(tmp_path / "a")
    for name, value in vars(windows()).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(found, name), value)
            assert getattr(found, name).dtype == value.dtype
        else:
            assert getattr(found, name) == value
    assert isinstance(found.numeric, np.memmap)
    assert isinstance(found.categories, np.memmap)
    write_mixed_windows(tmp_path / "b", found)
    assert tree_sha256(tmp_path / "a") == tree_sha256(tmp_path / "b")


def test_a_batch_has_channels_first_and_the_codes_of_its_fold(tmp_path: Path) -> None:
    write_mixed_windows(tmp_path / "a", windows())
    for found in (windows(), open_mixed_windows(tmp_path / "a")):
        batch = found.gather(np.array([2, 0]), fold=0)
        assert batch.numbers.tolist() == [[[8, 9, 10, 11]], [[0, 1, 2, 3]]]
        assert batch.categories.tolist() == [[[3, 3, 2, 0]], [[0, 1, 1, 2]]]  # run 2, stop 3; idle is unseen
        assert found.gather(np.array([2]), fold=2).categories.tolist() == [[[1, 1, 1, 0]]]
        assert batch.static_categories.tolist() == [[0], [2]]
        assert found.gather(np.array([1])).static_categories.tolist() == [[1]]
        assert batch.static_numbers.shape == (2, 0)
        assert (batch.lengths.tolist(), batch.targets.tolist(), batch.classes.tolist()) == ([4, 4], [0, 0], [0, 0])
        assert {array.dtype.name for array in vars(batch).values()} == {"float32", "int64"}
        batch.numbers[:], batch.categories[:], batch.static_categories[:] = -1, 0, 0  # a copy: the windows stay
        assert found.gather(np.array([2]), fold=0).categories.tolist() == [[[3, 3, 2, 0]]]
        assert found.numeric[8, 0] == 8


def test_groups_take_turns() -> None:
    assert [groups_of("test", fold, 3) for fold in range(3)] == [[0], [1], [2]]
    assert [groups_of("validation", fold, 3) for fold in range(3)] == [[1], [2], [0]]
    assert [groups_of("train", fold, 4) for fold in range(4)] == [[2, 3], [0, 3], [0, 1], [1, 2]]
    assert [windows().of_part("train", fold).tolist() for fold in range(3)] == [[2], [0], [1]]


def test_a_fold_that_is_not_there_is_refused() -> None:
    for ask in (lambda: windows().of_part("test", 3), lambda: windows().gather(np.array([0]), -1)):
        with pytest.raises(SignalError, match=r"fold -?\d: expected 0 .. 2; these windows have 3"):
            ask()


def test_windows_that_are_not_there_or_of_another_version_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index.json: not there; run `foresense window icu` first"):
        open_mixed_windows(tmp_path / "icu" / "recordings")
    write_mixed_windows(tmp_path / "a", windows())
    path = tmp_path / "a" / "index.json"
    write_json(path, {**read_json(path), "schema_version": 7})
    with pytest.raises(SignalError, match="expected version 1, found 7; run `foresense window"):
        open_mixed_windows(tmp_path / "a")
