"""Log-mel spectrograms against librosa (stored), transformers' own, scipy's transform, and closed forms."""

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann
from transformers.audio_utils import mel_filter_bank, spectrogram

from foresense.config.anomaly import SpectrogramConfig
from foresense.features import logmel
from foresense.features.logmel import LogMel, LogMelError, mel_filters

GOLDEN = Path(__file__).parent / "golden" / "logmel.json"
SMALL = LogMel(rate_hz=8000, n_fft=256, hop=64, n_mels=20, fmin_hz=50, fmax_hz=4000)


def samples(n: int = 8000) -> np.ndarray:
    """As tests/features/golden/librosa_logmel.py makes them."""
    numbers = np.arange(n)
    found = 0.3 * np.sin(1e-4 * numbers**2) + 0.05 * np.sin(0.9 * numbers)
    found[n // 2] += 1.0
    return found


@pytest.mark.parametrize("name", ["audio", "vibration", "amplitude"])
def test_levels_are_those_of_librosa(name: str) -> None:
    """To 1e-4 dB: librosa's filter bank is float32 (6e-8 relative), its last step too."""
    case = json.loads(GOLDEN.read_text())["cases"][name]
    levels = LogMel(**case["parameters"], top_db=80.0)(samples()[None])[0]
    assert levels.shape[1] == case["n_frames"]
    np.testing.assert_allclose(levels[:, case["frames"]].T, case["levels_db"], rtol=0, atol=1e-4)


def test_levels_are_those_of_transformers() -> None:
    parameters = LogMel(rate_hz=16000, n_fft=512, hop=160, n_mels=40, fmin_hz=20, fmax_hz=7600)
    filters = mel_filter_bank(257, 40, 20, 7600, 16000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(16000, 512, 40, 20, 7600), filters.T, rtol=1e-9, atol=1e-15)
    theirs = spectrogram(
        samples(),
        hann(512, sym=False),
        frame_length=512,
        hop_length=160,
        power=2.0,
        pad_mode="constant",
        mel_filters=filters,
        mel_floor=1e-10,
        log_mel="dB",
        dtype=np.float64,
    )
    # Their transform is complex64: 1e-6 of the loudest bin, so that 70 dB below it levels differ by 0.01 dB.
    is_loud = theirs > theirs.max() - 50
    ours = parameters(samples()[None])[0]
    assert is_loud.mean() > 0.2
    np.testing.assert_allclose(ours[is_loud], theirs[is_loud], rtol=0, atol=2e-3)


def test_frames_are_those_of_scipys_transform() -> None:
    transform = ShortTimeFFT(hann(256, sym=False), hop=64, fs=8000, fft_mode="onesided")
    theirs = np.abs(transform.stft(samples(), p0=0, p1=SMALL.n_frames(8000))).T
    ours = SMALL._spectra(samples()[None])[0] ** 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_a_tone_on_a_frequency_of_the_transform_has_the_level_of_the_textbook() -> None:
    """A sine of amplitude a on bin k has magnitude a N / 4 there (Hann: N/2, one side: half), a N / 8 beside it."""
    n, k, amplitude = 256, 40, 0.5
    clip = amplitude * np.sin(2 * np.pi * k * np.arange(4096) / n)
    magnitudes = np.zeros(n // 2 + 1)
    magnitudes[[k - 1, k, k + 1]] = amplitude * n * np.array([1 / 8, 1 / 4, 1 / 8])
    expected = 10 * np.log10(np.maximum(mel_filters(8000, n, 20, 50, 4000) @ magnitudes**2, 1e-10))
    middle = SMALL(clip[None])[0, :, 30]
    heard = expected > -90
    np.testing.assert_allclose(middle[heard], expected[heard], rtol=0, atol=1e-5)
    assert heard.any()


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_twice_the_amplitude_is_six_decibels_more_at_any_power(power: float) -> None:
    parameters = LogMel(8000, 256, 64, 20, 50, 4000, power=power, floor_db=-300)
    clip = samples()[None]
    np.testing.assert_allclose(parameters(2 * clip) - parameters(clip), 20 * np.log10(2), rtol=0, atol=3e-5)


def test_levels_end_at_the_floor_and_at_the_range_below_the_loudest_of_a_clip() -> None:
    clips = np.stack([np.zeros(1000), samples(1000), 10 * samples(1000)])
    levels = LogMel(8000, 256, 64, 20, 50, 4000, floor_db=-60)(clips)
    assert (levels[0] == -60).all()
    assert levels.min() == -60
    ranged = LogMel(8000, 256, 64, 20, 50, 4000, top_db=30)(clips)
    np.testing.assert_allclose(np.ptp(ranged[1:], axis=(1, 2)), 30, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ranged[2] - ranged[1], 20, rtol=0, atol=1e-5)


def test_a_batch_is_its_clips_one_by_one_however_much_memory_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = np.random.default_rng(0).standard_normal((5, 1000))
    levels = SMALL(clips)
    monkeypatch.setattr(logmel, "_CHUNK_VALUES", 2 * 256 * SMALL.n_frames(1000))
    np.testing.assert_array_equal(SMALL(clips), levels)
    np.testing.assert_array_equal(np.concatenate([SMALL(clip[None]) for clip in clips]), levels)
    assert levels.dtype == np.float32


def test_bands_have_unit_area_and_meet_at_their_middles() -> None:
    filters = mel_filters(16000, 8192, 10, 0, 8000)
    np.testing.assert_allclose(filters.sum(axis=1) * 16000 / 8192, 1, rtol=2e-4)  # a sum for an integral


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hop": 0}, "hop and n_mels of at least 1.*found n_fft 256, hop 0"),
        ({"fmax_hz": 4001}, r"fmax_hz <= half the rate \(4000 Hz\), found 50 and 4001"),
        ({"fmin_hz": 4000}, "0 <= fmin_hz < fmax_hz"),
        ({"top_db": 0.0}, "expected top_db above 0, or None"),
        ({"n_mels": 150}, r"of 150 mel bands hold no frequency of the transform \(the first: .* every 31.2 Hz\)"),
    ],
)
def test_parameters_that_make_no_spectrogram_are_refused(changed: dict[str, float], message: str) -> None:
    asked = {"rate_hz": 8000, "n_fft": 256, "hop": 64, "n_mels": 20, "fmin_hz": 50, "fmax_hz": 4000, **changed}
    with pytest.raises(LogMelError, match=message):
        LogMel(**asked)


def test_the_section_of_params_yaml_has_the_parameters() -> None:
    section = SpectrogramConfig(rate_hz=8000, n_fft=256, hop=64, n_mels=20, fmin_hz=50, fmax_hz=4000)
    assert LogMel(**section.model_dump()) == SMALL


def test_clips_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(LogMelError, match=r"expected \(n, n_samples\) with at least one sample, found \(100,\)"):
        SMALL(np.zeros(100))
    clips = np.zeros((3, 100))
    clips[1, 7] = np.nan
    with pytest.raises(LogMelError, match="clip 1 of 3 has a sample that is not finite; leave it out"):
        SMALL(clips)


def test_the_file_runs_alone_on_a_device_with_python_3_9_and_numpy() -> None:
    path = Path(logmel.__file__)
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"__future__", "dataclasses", "functools", "math", "numpy"}
    alone = _loaded_alone(path)
    np.testing.assert_array_equal(alone.LogMel(8000, 256, 64, 20, 50, 4000)(samples()[None]), SMALL(samples()[None]))


def _loaded_alone(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("logmel_on_a_device", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
