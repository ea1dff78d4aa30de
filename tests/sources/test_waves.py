import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from foresense.sources import SourceError
from foresense.sources.waves import read_wave

LEVELS = np.array([[0.5, -1.0], [-0.25, 0.75], [0.0, 0.125]])


def write_pcm(path: Path, width: int, levels: np.ndarray = LEVELS) -> Path:
    """By the standard library, sample by sample."""
    numbers = [round(level * (2 ** (8 * width - 1) - (level == 1))) for level in levels.ravel()]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(levels.shape[1])
        file.setsampwidth(width)
        file.setframerate(16000)
        file.writeframes(b"".join(number.to_bytes(width, "little", signed=True) for number in numbers))
    return path


@pytest.mark.parametrize("width", [2, 3, 4])
def test_integers_of_any_width_are_shares_of_full_scale(tmp_path: Path, width: int) -> None:
    path = write_pcm(tmp_path / "a.wav", width)
    for channel in range(2):
        samples, rate_hz = read_wave(path, channel=channel)
        assert rate_hz == 16000
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, LEVELS[:, channel])  # powers of two: exact


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_are_taken_as_they_are(tmp_path: Path, kind: type) -> None:
    wavfile.write(tmp_path / "a.wav", 48000, LEVELS.astype(kind))
    samples, rate_hz = read_wave(tmp_path / "a.wav", channel=1)
    assert rate_hz == 48000
    np.testing.assert_array_equal(samples, LEVELS[:, 1])


def test_chunks_of_other_programs_do_no_harm(tmp_path: Path) -> None:
    content = write_pcm(tmp_path / "a.wav", 2).read_bytes()
    extra = b"xtra" + struct.pack("<I", 4) + b"note"
    size = struct.pack("<I", len(content) + len(extra) - 8)
    (tmp_path / "b.wav").write_bytes(content[:4] + size + content[8:36] + extra + content[36:])
    np.testing.assert_array_equal(read_wave(tmp_path / "b.wav", channel=0)[0], LEVELS[:, 0])


@pytest.mark.parametrize("n_bytes", [0, 3, 20, 40, 47, 50, 54])
def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(tmp_path: Path, n_bytes: int) -> None:
    path = write_pcm(tmp_path / "a.wav", 2)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(SourceError, match=r"a\.wav: (no complete WAV file .* copy it again|a WAV file without)"):
        read_wave(path, channel=0)


def test_files_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound at all, but long enough to look at")
    with pytest.raises(SourceError, match=r"text\.wav: no complete WAV file of PCM or float samples \(File format"):
        read_wave(tmp_path / "text.wav", channel=0)
    wavfile.write(tmp_path / "byte.wav", 8000, np.zeros(4, np.uint8))
    with pytest.raises(SourceError, match=r"expected 16, 24 or 32-bit integers or floats, found 8-bit 'u'"):
        read_wave(tmp_path / "byte.wav", channel=0)
    wavfile.write(tmp_path / "none.wav", 8000, np.zeros(0, np.int16))
    with pytest.raises(SourceError, match="a WAV file without a sample"):
        read_wave(tmp_path / "none.wav", channel=0)
    wavfile.write(tmp_path / "nan.wav", 8000, np.array([0, np.nan], np.float32))
    with pytest.raises(SourceError, match="sample 1 is not finite"):
        read_wave(tmp_path / "nan.wav", channel=0)
    with pytest.raises(SourceError, match=r"2 channel\(s\), and ingest.channel asks for number 2 \(counted from 0\)"):
        read_wave(write_pcm(tmp_path / "two.wav", 2), channel=2)
    with pytest.raises(FileNotFoundError):
        read_wave(tmp_path / "absent.wav", channel=0)
