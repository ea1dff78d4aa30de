from pathlib import Path

import numpy as np
import pytest

from foresense.signals import SignalError
from foresense.signals.clips import (
    Clips,
    ConditionSet,
    FoundRecording,
    join_recordings,
    open_clips,
    read_conditions,
    write_clips,
    write_conditions,
)

TWO = [
    FoundRecording("a.wav", "fan", 0, np.arange(5, dtype=np.float32), {"load": "0"}),
    FoundRecording("b.wav", "fan", 1, np.arange(3, dtype=np.float32), {"load": "3"}),
]


def two(**changed: object) -> ConditionSet:
    found = join_recordings(TWO, classes=("normal", "anomaly"), unit="1", rate_hz=16_000.0)
    return ConditionSet(**{**vars(found), **changed})  # type: ignore[arg-type]


def test_a_set_comes_back_as_it_was_written_and_equal_sets_are_equal_bytes(tmp_path: Path) -> None:
    write_conditions(tmp_path / "fan", two(), facts={"licence": "none"})
    write_conditions(tmp_path / "again", two(), facts={"licence": "none"})
    found = read_conditions(tmp_path / "fan")
    for name, value in vars(two()).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert isinstance(found.samples, np.memmap)
    for file in (tmp_path / "fan").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_clips_come_back_as_they_were_written(tmp_path: Path) -> None:
    clips = Clips(two(), np.array([0, 2, 5]), np.array([0, 0, 1]), np.array([0, 2, -1]), length=3, hop=2)
    write_clips(tmp_path / "fan" / "clips", clips)
    found = open_clips(tmp_path / "fan" / "clips")
    for name in ("starts", "owners", "parts", "length", "hop", "labels", "assets", "offsets", "hop_s"):
        np.testing.assert_array_equal(getattr(found, name), getattr(clips, name))
    np.testing.assert_array_equal(found.gather(np.arange(3)), [[0, 1, 2], [2, 3, 4], [0, 1, 2]])
    assert found.of("test").tolist() == [1]


def test_what_is_not_there_says_which_step_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `foresense ingest fan` first"):
        read_conditions(tmp_path / "fan")
    with pytest.raises(FileNotFoundError, match="run `foresense window fan` first"):
        open_clips(tmp_path / "fan" / "clips")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"assets": ("fan",)}, r"2 recordings, but \{'assets': 1\}; one value for each"),
        ({"groups": {"load": ("0",)}}, r"2 recordings, but \{\"group 'load'\": 1\}"),
        ({"starts": np.array([0, 8])}, "rise from 0 and lie inside the 8 samples"),
        ({"starts": np.array([1, 5])}, "rise from 0 and lie inside"),
        ({"rate_hz": None}, r"expected 3 axes \(images\), found shape \(8,\) with rate_hz None"),
        ({"labels": np.array([0, 2])}, r"expected -1 or an index into \('normal', 'anomaly'\)"),
        ({"samples": np.array([0, 1, 2, 3, 4, 5, np.nan, 7])}, r"recording 'b\.wav': sample 1 is not finite"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(SignalError, match=message):
        two(**changed)


def test_no_recording_is_no_set() -> None:
    with pytest.raises(SignalError, match="no recording: at least one is needed"):
        join_recordings([], classes=("normal",), unit="g", rate_hz=1.0)
