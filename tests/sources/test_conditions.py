"""Sources of machines in known conditions, on hand-made files of their published layouts, and on the real ones."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from foresense.signals.clips import NORMAL, UNKNOWN
from foresense.sources import SourceError
from foresense.sources.anomaly_sets import ANOMALY_SETS
from foresense.sources.conditions import CONDITIONS, load_conditions
from foresense.sources.known_sets import any_known_set
from tests.sources.conditions import read

# Infrared modules


def module_files(folder: Path, images: dict[str, tuple[np.ndarray, str]]) -> None:
    (folder / "images").mkdir(parents=True)
    entries = {"99": {"image_filepath": "images/99.jpg", "anomaly_class": "Cell"}}  # named, and not there
    for name, (pixels, condition) in images.items():
        Image.fromarray(pixels).save(folder / "images" / f"{name}.jpg", quality=95)
        entries[name] = {"image_filepath": f"images/{name}.jpg", "anomaly_class": condition}
    (folder / "module_metadata.json").write_text(json.dumps(entries))


def grey(level: int) -> np.ndarray:
    return np.full((40, 24), level, np.uint8)


def test_modules_are_read_with_their_conditions_and_equal_images_are_one_asset(tmp_path: Path) -> None:
    images = {"7": (grey(10), "No-Anomaly"), "10": (grey(90), "Hot-Spot"), "12": (grey(10), "Soiling")}
    module_files(tmp_path / "set", images)
    found = read("infrared_modules", tmp_path, raw="set")
    one = found.recordings
    assert one.names == ("images/7.jpg", "images/10.jpg", "images/12.jpg")
    assert one.assets == ("7", "10", "7")
    assert [one.classes[label] for label in one.labels] == ["No-Anomaly", "Hot-Spot", "Soiling"]
    assert one.classes[NORMAL] == "No-Anomaly"
    np.testing.assert_array_equal(one.samples, np.stack([grey(10), grey(90), grey(10)]))
    assert (one.is_image, one.unit, one.rate_hz) == (True, "grey level", None)
    assert [(finding.kind, finding.n) for finding in found.findings] == [("duplicate", 1)]


def test_neighbouring_numbers_of_a_condition_are_one_stretch(tmp_path: Path) -> None:
    normal = {str(number): (grey(number), "No-Anomaly") for number in range(1, 11)}
    module_files(tmp_path / "set", normal | {str(number): (grey(number), "Cell") for number in range(20, 25)})
    found = read("infrared_modules", tmp_path, raw="set").recordings.groups["stretch"]
    assert found == (*"0011223344", *"01234")


def test_an_image_that_cannot_be_used_is_refused_and_counted(tmp_path: Path) -> None:
    colour = np.zeros((40, 24, 3), np.uint8)
    module_files(tmp_path / "set", {"1": (grey(10), "Cell"), "2": (colour, "Cell"), "3": (grey(5), "Cell")})
    broken = tmp_path / "set" / "images" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    found = read("infrared_modules", tmp_path, raw="set")
    assert found.recordings.names == ("images/1.jpg",)
    assert [(one.file, one.reason[:24]) for one in found.refusals] == [
        ("images/2.jpg", "expected a grey image of"),
        ("images/3.jpg", "cannot be read as an ima"),
    ]
    assert found.findings[0].n == 2


def test_modules_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.jpg there; run `foresense fetch`"):
        read("infrared_modules", tmp_path, raw="set")
    module_files(tmp_path / "set", {"1": (grey(1), "Cell")})
    metadata = tmp_path / "set" / "module_metadata.json"
    for content, message in (
        ({}, r"does not name images/1\.jpg; the two belong to one version"),
        ({"1": {"image_filepath": "images/1.jpg"}}, r"with image_filepath and anomaly_class \(KeyError"),
        ({"1": {"image_filepath": "images/1.jpg", "anomaly_class": "Rust"}}, r"classes \['Rust'\] are not of this set"),
    ):
        metadata.write_text(json.dumps(content))
        with pytest.raises(SourceError, match=message):
            read("infrared_modules", tmp_path, raw="set")
    metadata.unlink()
    with pytest.raises(FileNotFoundError, match=r"module_metadata\.json: not there"):
        read("infrared_modules", tmp_path, raw="set")


def test_the_real_modules_are_all_there(real_data: Path) -> None:
    """Counts and the absence of twins stand in the README of the set, or were found without this code."""
    found = read("infrared_modules", real_data)
    assert found.recordings.samples.shape == (1200, 40, 24)
    assert np.bincount(found.recordings.labels).tolist() == [100] * 12
    assert len(set(found.recordings.assets)) == 1200
    assert found.findings == ()
    stretches = np.array(found.recordings.groups["stretch"])
    for label in range(12):
        assert np.bincount(stretches[found.recordings.labels == label].astype(int)).tolist() == [20] * 5


# Sounds


def sound(path: Path, *, rate_hz: int = 16_000, n_channels: int = 1, n: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.tile(np.arange(n_channels, dtype=np.int16) * 1024, (n, 1))
    wavfile.write(path, rate_hz, levels if n_channels > 1 else levels[:, 0])


def test_the_layout_of_dcase_is_read(tmp_path: Path) -> None:
    for name in (
        "fan/train/normal_id_00_00000000.wav",
        "fan/test/anomaly_id_00_00000000.wav",
        "valve/test/id_06_00000001.wav",
    ):
        sound(tmp_path / "set" / name)
    one = read("dcase2020_task2", tmp_path, raw="set").recordings
    assert one.names == (
        "fan/test/anomaly_id_00_00000000.wav",
        "fan/train/normal_id_00_00000000.wav",
        "valve/test/id_06_00000001.wav",
    )
    assert one.labels.tolist() == [1, 0, UNKNOWN]
    assert one.assets == ("fan/id_00", "fan/id_00", "valve/id_06")
    assert one.groups["part"] == ("test", "train", "test")
    assert (one.rate_hz, one.unit, one.classes) == (16_000, "1", ("normal", "anomaly"))


def test_the_layout_of_mimii_is_read_one_microphone_of_eight(tmp_path: Path) -> None:
    for name in ("id_00/normal/00000000.wav", "id_00/abnormal/00000000.wav", "id_02/normal/00000003.wav"):
        sound(tmp_path / "set" / "-6_dB_fan" / "fan" / name, n_channels=8)
    found = read("mimii", tmp_path, raw="set", channel=3)
    one = found.recordings
    assert one.labels.tolist() == [1, 0, 0]
    assert one.assets == ("fan/id_00", "fan/id_00", "fan/id_02")
    assert one.groups == {"machine": ("fan",) * 3, "id": ("id_00", "id_00", "id_02"), "level": ("-6",) * 3}
    assert (one.samples == 3 * 1024 / 2**15).all()
    assert found.facts == {"set": "set", "channel": 3}


def test_the_same_sounds_with_more_noise_are_not_read_twice(tmp_path: Path) -> None:
    for level in ("-6_dB_fan", "0_dB_fan"):
        sound(tmp_path / "set" / level / "fan" / "id_00" / "normal" / "00000000.wav")
    with pytest.raises(
        SourceError, match=r"levels \['-6', '0'\] dB are there, .* ingest\.level_db is None; choose one"
    ):
        read("mimii", tmp_path, raw="set")
    with pytest.raises(SourceError, match=r"ingest\.level_db is 6; choose one"):
        read("mimii", tmp_path, raw="set", level_db=6)
    assert read("mimii", tmp_path, raw="set", level_db=0).recordings.names == (
        "0_dB_fan/fan/id_00/normal/00000000.wav",
    )
    sound(tmp_path / "other" / "fan" / "id_00" / "normal" / "00000000.wav")
    assert read("mimii", tmp_path, raw="other").recordings.groups["level"] == ("none",)


def test_sounds_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.wav below it"):
        read("mimii", tmp_path, raw="set")
    sound(tmp_path / "set" / "fan" / "id_00" / "normal" / "1.wav")
    with pytest.raises(SourceError, match=r"1\.wav: expected normal_id_XX_<8 digits>\.wav"):
        read("dcase2020_task2", tmp_path, raw="set")
    sound(tmp_path / "set" / "fan" / "id_00" / "normal" / "2.wav", rate_hz=8000)
    with pytest.raises(SourceError, match=r"2\.wav: 8000 Hz, but fan/id_00/normal/1\.wav has 16000 Hz"):
        read("mimii", tmp_path, raw="set")
    (tmp_path / "set" / "fan" / "id_00" / "normal" / "2.wav").write_bytes(b"RIFF")
    found = read("mimii", tmp_path, raw="set")
    assert [one.file for one in found.refusals] == ["fan/id_00/normal/2.wav"]
    assert found.findings[0].n == 1
    with pytest.raises(SourceError, match=r"none of 2 files can be used; the first: .*asks for number 5"):
        read("mimii", tmp_path, raw="set", channel=5)
    sound(tmp_path / "set" / "other" / "1.wav")
    with pytest.raises(SourceError, match=r"other/1\.wav: expected <machine>/id_XX/normal or abnormal/<number>\.wav"):
        read("mimii", tmp_path, raw="set")


def test_the_real_sounds_are_as_their_readme_says(real_data: Path) -> None:
    one = read("dcase2020_task2", real_data).recordings
    assert np.bincount(one.labels).tolist() == [30, 1]
    assert set(one.ends - one.starts) == {160_000}
    assert one.rate_hz == 16_000
    rms = [
        float(np.sqrt((one.samples[first:end] ** 2).mean()) * 2**15)
        for first, end in zip(one.starts, one.ends, strict=True)
    ]
    assert rms[int(np.argmax(one.labels))] == pytest.approx(495, abs=1)
    assert rms[1] == pytest.approx(340, abs=6)


# Simulations


@pytest.mark.parametrize("source", ["synthetic_images", "synthetic_vibration"])
def test_simulations_are_functions_of_their_settings(source: str, tmp_path: Path) -> None:
    first, again, other = (read(source, tmp_path, n_recordings=8, seed=seed) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    np.testing.assert_array_equal(first.recordings.samples, again.recordings.samples)
    assert not np.array_equal(first.recordings.samples, other.recordings.samples)
    assert np.bincount(first.recordings.labels).tolist() == [4, 4]


def test_a_hot_spot_is_hot_and_impacts_ring_as_often_as_they_should(tmp_path: Path) -> None:
    images = read("synthetic_images", tmp_path, n_recordings=60).recordings
    brightest = images.samples.max(axis=(1, 2)).astype(int)
    assert brightest[images.labels == 1].min() > np.median(brightest[images.labels == 0])
    waves = read("synthetic_vibration", tmp_path, n_recordings=40, n_samples=12_000).recordings
    clips = waves.samples.reshape(40, -1)
    # The envelope of a struck machine repeats with the impacts: 107 Hz, within the 3 % by which machines differ.
    envelope = np.abs(np.fft.rfft(np.diff(clips, axis=1) ** 2))[:, 90:125].max(axis=1)
    assert envelope[waves.labels == 1].min() > 2 * envelope[waves.labels == 0].max()


@pytest.mark.parametrize("source", ["synthetic_images", "synthetic_vibration"])
def test_without_the_rule_the_same_samples_have_other_labels(source: str, tmp_path: Path) -> None:
    ruled, dealt = (read(source, tmp_path, n_recordings=200, **rule) for rule in ({}, {"rule": "none"}))
    np.testing.assert_array_equal(ruled.recordings.samples, dealt.recordings.samples)
    assert np.bincount(dealt.recordings.labels).tolist() == [100, 100]
    assert 0.35 < (ruled.recordings.labels == dealt.recordings.labels).mean() < 0.65


# Catalogs


def test_every_source_can_be_imported_and_an_unknown_one_names_the_nearest() -> None:
    for name in CONDITIONS:
        assert callable(load_conditions(name))
    with pytest.raises(SourceError, match=r"no source 'mimi' of machines; did you mean 'mimii'\?"):
        load_conditions("mimi")


@pytest.mark.parametrize("name", sorted(ANOMALY_SETS))
def test_files_of_the_public_sets_are_those_that_lie_here(name: str, real_data: Path) -> None:
    known = any_known_set(name)
    assert known.licence
    assert all(file.address.startswith("https://raw.githubusercontent.com/") for file in known.files)
    for file in known.files[:: max(1, len(known.files) // 5)]:
        content = (real_data / name / file.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.n_bytes, file.sha256)


def test_places_in_the_repositories_are_those_that_the_readmes_name() -> None:
    places = {file.name: file.address.split("/", 6)[-1] for name in ANOMALY_SETS for file in any_known_set(name).files}
    folder = "data/crwu_dataset/drive_end_bearing_fault_12k_data"
    assert places["12k_DE_OR007_centered_at_6_1.mat"] == f"{folder}/007/OR007_centered_at_6_1.mat"
    assert places["12k_DE_IR021_3.mat"] == f"{folder}/021/IR021_3.mat"
    assert places["normal_0.mat"] == "data/crwu_dataset/normal_baseline/normal_0.mat"
    assert places["anomaly/anomaly_id_00_00000000.wav"] == "test/anomaly_id_00_00000000.wav"
    assert places["normal/normal_id_00_00000029.wav"] == "train/normal_id_00_00000029.wav"
    assert places["images/0.jpg"] == "InfraredSolarModules/images/0.jpg"


def test_an_unknown_set_names_the_nearest_and_older_sets_are_found_too() -> None:
    with pytest.raises(SourceError, match=r"no public data set 'cwru_bearings'; did you mean 'cwru_bearing'\?"):
        any_known_set("cwru_bearings")
    assert any_known_set("ett").name == "ett"
    with pytest.raises(SourceError, match=r"no public data set 'ettt'; did you mean 'ett'\?"):
        any_known_set("ettt")
