"""Records of a bearing test rig: at which rate each was made, how one is brought to another, what a file may hold."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.signal import welch

from foresense.config import read_any
from foresense.signals.clips import NORMAL
from foresense.sources import SourceError
from foresense.sources.bearings import established_rate, resampled
from tests.sources.conditions import read


def rig(rate_hz: float, *, seconds: float = 4.0, turns_hz: float = 29.93) -> np.ndarray:
    """Vibration of a motor: harmonics of the shaft and of the mains, and noise."""
    rng = np.random.default_rng(0)
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    tones = [(turns_hz * k, 0.02) for k in range(1, 17)] + [(60.0 * k, 0.02) for k in range(1, 9)]
    found = 0.05 * rng.standard_normal(len(times_s))
    for frequency_hz, amplitude in tones:
        found += amplitude * np.sin(2 * np.pi * frequency_hz * times_s + rng.uniform(0, 6))
    return found


def bearing_file(folder: Path, name: str, samples: np.ndarray, **others: object) -> None:
    folder.mkdir(exist_ok=True)
    variables = {"X097_DE_time": samples[:, None], "X097RPM": np.array([[1796]], np.uint16), **others}
    savemat(folder / name, {key: value for key, value in variables.items() if value is not None})


@pytest.mark.parametrize("rate_hz", [12_000.0, 48_000.0])
def test_the_rate_of_a_record_follows_from_its_harmonics(rate_hz: float) -> None:
    found = established_rate(
        rig(rate_hz), shaft_hz=1796 / 60, line_hz=60.0, candidates_hz=(12_000.0, 48_000.0), where="here"
    )
    assert found.rate_hz == rate_hz
    assert max(found.prominence_db) - min(found.prominence_db) > 10


def test_a_rate_that_cannot_be_told_is_not_guessed() -> None:
    noise = np.random.default_rng(0).standard_normal(48_000)
    with pytest.raises(
        SourceError, match=r"here: the sampling rate cannot be told .* name other rates in ingest\.cand"
    ):
        established_rate(noise, shaft_hz=29.93, line_hz=60.0, candidates_hz=(12_000.0, 48_000.0), where="here")


@pytest.mark.parametrize(("n", "shaft_hz"), [(300, 29.93), (48_000, 0.0), (48_000, float("nan"))])
def test_a_rate_needs_some_turns_of_the_shaft(n: int, shaft_hz: float) -> None:
    with pytest.raises(SourceError, match=r"here: .* expected at least 4 turns at every one of .*; leave the record"):
        established_rate(
            rig(12_000.0)[:n], shaft_hz=shaft_hz, line_hz=60.0, candidates_hz=(12_000.0, 48_000.0), where="here"
        )


def test_resampling_is_flat_to_where_its_docstring_says() -> None:
    """A filter for 12 kHz: within 1 % up to 4.98 kHz."""
    times_s = np.arange(48_000) / 48_000
    for tone_hz in (1000, 4000, 4980):
        tone = np.sin(2 * np.pi * tone_hz * times_s)
        found = resampled(tone, 48_000.0, 12_000.0)[500:-500]
        assert found.std() == pytest.approx(np.sqrt(0.5), rel=0.012)


def test_resampling_keeps_what_fits_under_half_the_new_rate_and_nothing_else() -> None:
    times_s = np.arange(48_000) / 48_000
    low, high = np.sin(2 * np.pi * 1000 * times_s), np.sin(2 * np.pi * 9000 * times_s)
    found = resampled(low + high, 48_000.0, 12_000.0)
    assert len(found) == 12_000
    inside = slice(100, -100)
    np.testing.assert_allclose(
        found[inside], low[::4][inside], rtol=0, atol=2e-3
    )  # -54 dB: ripple of the Kaiser window
    np.testing.assert_array_equal(resampled(low, 12_000.0, 12_000.0), low.astype(np.float32))


def test_bearings_are_read_at_one_rate_with_load_and_size(tmp_path: Path) -> None:
    bearing_file(tmp_path / "set", "normal_0.mat", rig(48_000))
    bearing_file(tmp_path / "set", "12k_DE_OR021_centered_at_6_3.mat", rig(12_000))
    bearing_file(tmp_path / "set", "12k_DE_B007_0.mat", rig(12_000), X097_FE_time=np.zeros((5, 1)))
    found = read("cwru_bearing", tmp_path, raw="set")
    one = found.recordings
    assert one.names == ("12k_DE_B007_0.mat", "12k_DE_OR021_centered_at_6_3.mat", "normal_0.mat")
    assert [one.classes[label] for label in one.labels] == ["ball", "outer race", "healthy"]
    assert one.assets == ("ball 007", "outer race 021", "healthy")
    assert one.groups == {"load": ("0", "3", "0"), "size": ("007", "021", "none")}
    assert (one.ends - one.starts).tolist() == [48_000] * 3
    assert (one.rate_hz, one.unit) == (12_000, "g")
    assert [(finding.asset, finding.message) for finding in found.findings] == [
        ("normal_0", "48000 Hz by its harmonics, resampled to 12000 Hz")
    ]


def test_bearings_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.mat there"):
        read("cwru_bearing", tmp_path, raw="set")
    samples = rig(12_000)
    bearing_file(tmp_path / "set", "normal_0.mat", samples, X097RPM=None)
    with pytest.raises(SourceError, match=r"one variable X…_DE_time and one X…RPM, found \['X097_DE_time'\]"):
        read("cwru_bearing", tmp_path, raw="set")
    bearing_file(tmp_path / "set", "normal_0.mat", np.where(np.arange(len(samples)) == 3, np.nan, samples))
    with pytest.raises(SourceError, match="sample 3 is not finite"):
        read("cwru_bearing", tmp_path, raw="set")
    (tmp_path / "set" / "normal_0.mat").write_bytes(b"MATLAB 5.0 MAT-file, but no more than that" * 5)
    with pytest.raises(SourceError, match="not a complete MATLAB v5 file"):
        read("cwru_bearing", tmp_path, raw="set")
    (tmp_path / "set" / "normal_0.mat").rename(tmp_path / "set" / "healthy.mat")
    with pytest.raises(SourceError, match=r"healthy\.mat: expected normal_<load>\.mat or 12k_DE_"):
        read("cwru_bearing", tmp_path, raw="set")


def test_the_edge_of_the_bands_of_acoustic_does_not_tell_how_a_record_was_made(real_data: Path) -> None:
    """Only the healthy record was resampled: above 5.1 kHz its filter tells it from all others, below not."""
    found = read("cwru_bearing", real_data).recordings
    falls: dict[float, list[float]] = {}
    highest_hz = read_any(Path(__file__).parents[2] / "params.yaml", "acoustic").features.spectrogram.fmax_hz
    for top_hz in (highest_hz, 6000.0):
        for start, end in zip(found.starts, found.ends, strict=True):
            frequencies_hz, power = welch(found.samples[start:end], 12_000, nperseg=2048)
            above, below = (
                power[(frequencies_hz >= low_hz) & (frequencies_hz < low_hz + 300)].mean()
                for low_hz in (top_hz - 300, top_hz - 900)
            )
            falls.setdefault(top_hz, []).append(10 * np.log10(above / below))
    is_faulty = found.labels != NORMAL
    for top_hz, is_told in ((highest_hz, False), (6000.0, True)):
        healthy, faulty = np.array(falls[top_hz])[~is_faulty], np.array(falls[top_hz])[is_faulty]
        assert (healthy.min() > faulty.max()) == is_told, (top_hz, healthy, faulty)


def test_the_real_healthy_bearing_was_recorded_at_48_khz(real_data: Path) -> None:
    """At 48 kHz, and at no other rate, its tones below 1 kHz are those of the faulty records of the same load."""
    found = read("cwru_bearing", real_data)
    rates = {name: fact["found_hz"] for name, fact in found.facts["rates"].items()}  # type: ignore[attr-defined]
    assert rates.pop("normal_0.mat") == 48_000
    assert set(rates.values()) == {12_000}
    one = found.recordings

    def tones(name: str) -> np.ndarray:
        """Level of each half hertz from 20 to 1000 Hz over the middle level around it."""
        number = one.names.index(name)
        samples = one.samples[one.starts[number] : one.ends[number]][:60_000]
        levels = np.log(np.abs(np.fft.rfft((samples - samples.mean()) * np.hanning(60_000)))[100:5000])
        bands = levels.reshape(-1, 49)
        return np.asarray((bands - np.median(bands, axis=1, keepdims=True)).ravel())

    same_load, other_load = (
        np.corrcoef(tones("normal_0.mat"), tones(f"12k_DE_B007_{load}.mat"))[0, 1] for load in (0, 3)
    )
    assert same_load > 0.4
    assert same_load > other_load + 0.3
