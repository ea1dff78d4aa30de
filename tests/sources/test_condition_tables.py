"""One's own machines in known conditions: rows of a table, and folders of sounds and images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import TypeAdapter
from scipy.io import wavfile

from foresense.config.anomaly import AnomalyIngestConfig
from foresense.signals.clips import NORMAL, UNKNOWN
from foresense.sources import Places, SourceError
from foresense.sources.conditions import FoundConditions, load_conditions

TABLE: dict[str, Any] = {
    "source": "csv",
    "raw": "set",
    "rate_hz": 1000,
    "value_column": "ax [mg]",
    "unit": "g",
    "found_unit": "mg",
    "condition_column": "Zustand",
    "normal": "i.O.",
    "asset_column": "Pumpe",
    "group_columns": ["Last"],
}


def read(folder: Path, **asked: Any) -> FoundConditions:
    config = TypeAdapter(AnomalyIngestConfig).validate_python(asked)
    return load_conditions(config.source)(config, Places(folder, folder, folder))


def write(folder: Path, *rows: str, header: str = "Pumpe,Zustand,Last,ax [mg]", name: str = "m.csv") -> None:
    (folder / "set").mkdir(exist_ok=True)
    (folder / "set" / name).write_text("\n".join([header, *rows]) + "\n")


# Tables


def test_a_recording_is_one_asset_in_one_condition_under_one_load(tmp_path: Path) -> None:
    rows = ["P1,i.O.,voll,1000", "P1,i.O.,voll,2000", "P2,Lager,voll,5000", "P1,i.O.,halb,3000", "P1,Lager,,4000"]
    write(tmp_path, *rows, "P3,,voll,1")
    found = read(tmp_path, **TABLE)
    one = found.recordings
    assert one.classes == ("i.O.", "Lager")
    assert one.classes[NORMAL] == "i.O."
    np.testing.assert_array_equal(one.samples, np.float32([1, 2, 3, 4, 5, 0.001]))  # rows of P1 lie around one of P2
    assert one.starts.tolist() == [0, 2, 3, 4, 5]
    assert one.names == ("m.csv:2", "m.csv:5", "m.csv:6", "m.csv:4", "m.csv:7")
    assert one.labels.tolist() == [0, 0, 1, 1, UNKNOWN]
    assert one.groups == {
        "asset": ("P1", "P1", "P1", "P2", "P3"),
        "Last": ("voll", "halb", "none", "voll", "voll"),
    }
    assert (one.unit, one.rate_hz) == ("g", 1000)
    assert [(finding.kind, finding.n) for finding in found.findings] == [("left_out", 1)]


def test_a_missing_sample_or_another_file_ends_a_recording(tmp_path: Path) -> None:
    write(tmp_path, "P1,i.O.,voll,1", "P1,i.O.,voll,x", "P1,i.O.,voll,3", "P1,i.O.,voll,4", "P2,Lager,voll,")
    write(tmp_path, "P1,i.O.,voll,5", "P1,Lager,voll,6", name="n.csv")
    found = read(tmp_path, **TABLE)
    assert found.recordings.names == ("m.csv:2", "m.csv:4", "n.csv:2", "n.csv:3")
    assert [(one.row, one.value, one.reason) for one in found.refusals] == [(3, "x", "not a number")]
    assert {(one.asset, one.kind): one.where for one in found.findings} == {
        ("", "refused"): "m.csv:3 ('x')",
        ("P1", "missing"): "m.csv:3",
        ("P2", "missing"): "m.csv:6",
    }


def clocked(times: pd.DatetimeIndex) -> list[str]:
    return [
        f"P{number % 2},{('i.O.', 'Lager')[number % 2]},voll,{number},{at.isoformat()}"
        for at in times
        for number in (0, 1)
    ]


def test_a_clock_gives_the_rate_and_a_gap_ends_a_recording(tmp_path: Path) -> None:
    asked = TABLE | {"time_column": "t"}
    times = pd.date_range("2025-01-01", periods=20, freq="ms")
    rows = clocked(times.delete([7]))
    write(tmp_path, *rows[::-1], rows[0], header="Pumpe,Zustand,Last,ax [mg],t")
    found = read(tmp_path, **asked)
    assert found.recordings.starts.tolist() == [0, 7, 19, 26]
    assert {(one.asset, one.kind): one.n for one in found.findings} == {
        ("P0", "unsorted"): 18,
        ("P0", "duplicate"): 1,
        ("P1", "unsorted"): 18,
    }
    with pytest.raises(SourceError, match=r"P0: ingest.rate_hz is 500, but timestamps give 1000 Hz .*correct rate_hz"):
        read(tmp_path, **asked | {"rate_hz": 500})
    with pytest.raises(SourceError, match=r"no time in column 'Last' can be read \(first: 'voll'\)"):
        read(tmp_path, **asked | {"time_column": "Last"})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"normal": "i.O"}, r"column 'Zustand': expected the condition 'i.O' .* found Lager, i.O.; did you mean 'i.O"),
        ({"condition_column": "Last"}, "column 'Last': expected the condition 'i.O.' .* at least one other, found vol"),
        ({"value_column": "ax"}, r"no column 'ax' \(ingest.value_column\)"),
        ({"found_unit": "V"}, "ingest.value_column: no conversion from 'V' to 'g'"),
        ({"raw": "other"}, "no file matches"),
    ],
)  # fmt: skip
def test_a_table_says_what_is_wrong_with_its_section(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    write(tmp_path, "P1,i.O.,voll,1", "P2,Lager,voll,2")
    with pytest.raises((SourceError, FileNotFoundError), match=message):
        read(tmp_path, **TABLE | asked)


# Folders


def sound(folder: Path, name: str, samples: np.ndarray, rate_hz: int = 8000) -> None:
    path = folder / "set" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate_hz, samples.astype(np.int16))


def test_sounds_lie_in_folders_of_their_condition_and_asset(tmp_path: Path) -> None:
    for number, name in enumerate(("normal/m 1/a.wav", "worn/m 1/a.wav", "normal/x.wav", "worn/x.WAV")):
        sound(tmp_path, name, np.full(3, 2**14 + number))
    sound(tmp_path, "worn/twin.wav", np.full(3, 2**14))
    (tmp_path / "set" / "worn" / "cut.wav").write_bytes(b"RIFF")
    (tmp_path / "set" / "notes.txt").write_text("")
    found = read(tmp_path, source="wav_folders", raw="set")
    one = found.recordings
    assert one.names == ("normal/m 1/a.wav", "normal/x.wav", "worn/m 1/a.wav", "worn/twin.wav", "worn/x.WAV")
    assert one.assets == ("m 1", "normal/x", "m 1", "m 1", "worn/x")
    assert one.groups["asset"] == one.assets
    assert (one.classes, one.labels.tolist()) == (("normal", "worn"), [0, 0, 1, 1, 1])
    assert (one.rate_hz, one.unit, one.samples[0]) == (8000, "1", 0.5)
    assert [(one.kind, one.n) for one in found.findings] == [("refused", 1), ("duplicate", 1)]
    assert [one.file for one in found.refusals] == ["worn/cut.wav"]


def test_sounds_that_do_not_fit_together_say_so(tmp_path: Path) -> None:
    asked = {"source": "wav_folders", "raw": "set"}
    with pytest.raises(FileNotFoundError, match=r"no \.wav below it; expected <condition>/<asset>/<any>\.wav"):
        read(tmp_path, **asked)
    sound(tmp_path, "Normal/a.wav", np.arange(4))
    sound(tmp_path, "worn/a.wav", np.arange(5), 16000)
    with pytest.raises(
        SourceError, match=r"expected the condition 'normal' .* found Normal, worn; did you mean 'Normal'"
    ):
        read(tmp_path, **asked)
    with pytest.raises(
        SourceError, match=r"worn/a\.wav: 16000 Hz, but Normal/a\.wav has 8000 Hz; make all files alike"
    ):
        read(tmp_path, **asked, normal="Normal")
    sound(tmp_path, "a.wav", np.arange(4))
    with pytest.raises(
        SourceError, match=r"a\.wav: expected <condition>/<asset>/<any>\.wav or <condition>/<asset>\.wav"
    ):
        read(tmp_path, **asked)


def image(folder: Path, name: str, pixels: np.ndarray) -> None:
    path = folder / "set" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_images_are_grey_and_of_one_size(tmp_path: Path) -> None:
    asked = {"source": "image_folders", "raw": "set"}
    for number, name in enumerate(("normal/1.png", "hot/2.bmp", "hot/m/3.png")):
        image(tmp_path, name, np.full((4, 6), number, np.uint8))
    image(tmp_path, "hot/4.png", np.zeros((4, 6, 3), np.uint8))
    found = read(tmp_path, **asked)
    one = found.recordings
    assert (one.samples.shape, one.is_image, one.unit) == ((3, 4, 6), True, "grey level")
    assert one.samples[:, 0, 0].tolist() == [1, 2, 0]
    assert (one.assets, one.labels.tolist()) == (("hot/2", "m", "normal/1"), [1, 1, 0])
    assert found.refusals[0].reason == "expected a grey image of 8 bits (mode L), found mode 'RGB'; convert it"
    image(tmp_path, "normal/5.png", np.zeros((6, 4), np.uint8))
    with pytest.raises(
        SourceError, match=r"5\.png: 4 x 6 pixels, but hot/2\.bmp has 6 x 4 pixels; make all files alike"
    ):
        read(tmp_path, **asked)


def test_a_folder_without_a_usable_file_says_why(tmp_path: Path) -> None:
    for name in ("normal/1.png", "hot/2.png"):
        image(tmp_path, name, np.zeros((4, 6), np.uint8))
        (tmp_path / "set" / name).write_bytes(b"no image")
    with pytest.raises(SourceError, match="none of 2 files can be used; the first: cannot be read as an image"):
        read(tmp_path, source="image_folders", raw="set")


def test_an_image_that_its_reader_ends_with_an_error_of_its_own_is_counted(tmp_path: Path) -> None:
    """Pillow raises SyntaxError where a later chunk of a PNG has no name; chunks end at 64 KiB, so pixels are noise."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)
    for name in ("normal/1.png", "hot/2.png", "hot/3.png"):
        image(tmp_path, name, noise)
    path = tmp_path / "set" / "hot" / "3.png"
    before, mark, after = path.read_bytes().rpartition(b"IDAT")
    path.write_bytes(before + b"\xff" + mark[1:] + after)
    (refusal,) = read(tmp_path, source="image_folders", raw="set").refusals
    assert refusal.file == "hot/3.png"
    assert refusal.reason.startswith("cannot be read as an image (broken PNG file")
