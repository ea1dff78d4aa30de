"""Log-mel spectrograms with numpy alone: the same file runs in training and, copied, on the device.

It imports nothing but numpy (1.20 or newer) and keeps to Python 3.9, so that a device needs no other package and its
numbers are those that a model was trained on. All arithmetic is float64; what leaves is float32.

The numbers are librosa's: frames centred on multiples of the hop with zeros beyond the ends, a periodic Hann window,
the mel scale of Slaney's Auditory Toolbox (Interval Research technical report 1998-010: linear below 1 kHz,
logarithmic above), triangles of unit area.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np

_LINEAR_HZ = 200 / 3  # one mel below the break
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = log(6.4) / 27  # natural logarithm of the frequency, per mel above the break
_CHUNK_VALUES = 2**22  # values of frames at once: bounds the memory


class LogMelError(ValueError):
    """Parameters or samples that make no spectrogram; the message says what, expected, found, and what to do."""


@dataclass(frozen=True)
class LogMel:
    """How samples become a log-mel spectrogram.

    Attributes:
        rate_hz: Samples per second.
        n_fft: Samples of a frame.
        hop: Samples from one frame to the next.
        n_mels: Bands.
        fmin_hz: Lower edge of the lowest band.
        fmax_hz: Upper edge of the highest band.
        power: Exponent of the magnitude: 2 energy, 1 amplitude. Levels are 20 / power x log10 either way.
        floor_db: Levels below it are raised to it; 0 dB is a band of 1 in the unit of the samples to `power`.
        top_db: Levels that far below the loudest of their clip are raised to there; None: only the floor counts.

    Raises:
        LogMelError: parameters that make no spectrogram, or a band that holds no frequency of the transform.
    """

    rate_hz: float
    n_fft: int
    hop: int
    n_mels: int
    fmin_hz: float
    fmax_hz: float
    power: float = 2.0
    floor_db: float = -100.0
    top_db: float | None = None

    def __post_init__(self) -> None:
        if self.n_fft < 2 or self.hop < 1 or self.n_mels < 1 or self.power <= 0 or self.rate_hz <= 0:
            raise LogMelError(
                "expected n_fft of at least 2, hop and n_mels of at least 1, power and rate_hz above 0, found "
                f"n_fft {self.n_fft}, hop {self.hop}, n_mels {self.n_mels}, power {self.power}, rate_hz {self.rate_hz}"
            )
        if not 0 <= self.fmin_hz < self.fmax_hz <= self.rate_hz / 2:
            raise LogMelError(
                f"expected 0 <= fmin_hz < fmax_hz <= half the rate ({self.rate_hz / 2:g} Hz), found {self.fmin_hz:g} "
                f"and {self.fmax_hz:g}"
            )
        if self.top_db is not None and self.top_db <= 0:
            raise LogMelError(f"expected top_db above 0, or None for no limit, found {self.top_db:g}")
        mel_filters(self.rate_hz, self.n_fft, self.n_mels, self.fmin_hz, self.fmax_hz)

    def n_frames(self, n_samples: int) -> int:
        """Frames of a clip of `n_samples`."""
        return 1 + n_samples // self.hop

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """Levels of clips.

        Args:
            clips: (n, n_samples), any real type, finite.

        Returns:
            (n, n_mels, n_frames), float32, dB.

        Raises:
            LogMelError: another shape, or a sample that is not finite.
        """
        if clips.ndim != 2 or clips.shape[1] < 1:
            raise LogMelError(f"clips: expected (n, n_samples) with at least one sample, found {clips.shape}")
        bands = mel_filters(self.rate_hz, self.n_fft, self.n_mels, self.fmin_hz, self.fmax_hz).T
        n_frames = self.n_frames(clips.shape[1])
        levels = np.empty((len(clips), self.n_mels, n_frames), np.float32)
        size = max(1, _CHUNK_VALUES // (n_frames * self.n_fft))
        for first in range(0, len(clips), size):
            spectra = self._spectra(clips[first : first + size])
            levels[first : first + size] = self._levels(spectra @ bands).transpose(0, 2, 1)
        return levels

    def _spectra(self, clips: np.ndarray) -> np.ndarray:
        """Magnitude to `power`: (n, n_frames, 1 + n_fft // 2), float64."""
        samples = clips.astype(np.float64)
        if not np.isfinite(samples).all():
            clip = int(np.argwhere(~np.isfinite(samples))[0, 0])
            raise LogMelError(f"clips: clip {clip} of {len(clips)} has a sample that is not finite; leave it out")
        half = self.n_fft // 2
        padded = np.pad(samples, ((0, 0), (half, self.n_fft - half)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft, axis=1)[:, :: self.hop]
        frames = frames[:, : self.n_frames(samples.shape[1])]
        spectra: np.ndarray = np.abs(np.fft.rfft(frames * _hann(self.n_fft), axis=2)) ** self.power
        return spectra

    def _levels(self, bands: np.ndarray) -> np.ndarray:
        factor = 20 / self.power
        levels: np.ndarray = factor * np.log10(np.maximum(bands, 10 ** (self.floor_db / factor)))
        if self.top_db is None:
            return levels
        return np.asarray(np.maximum(levels, levels.max(axis=(1, 2), keepdims=True) - self.top_db))


@lru_cache(maxsize=8)
def mel_filters(rate_hz: float, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Triangles of unit area on the mel scale: (n_mels, 1 + n_fft // 2), float64, per Hz.

    Raises:
        LogMelError: a triangle lies between two frequencies of the transform.
    """
    edges_hz = mel_to_hz(np.linspace(hz_to_mel(fmin_hz), hz_to_mel(fmax_hz), n_mels + 2))
    frequencies_hz = np.arange(1 + n_fft // 2) * (rate_hz / n_fft)
    widths = np.diff(edges_hz)
    rising = (frequencies_hz - edges_hz[:-2, None]) / widths[:-1, None]
    falling = (edges_hz[2:, None] - frequencies_hz) / widths[1:, None]
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    empty = np.flatnonzero(~filters.any(axis=1))
    if len(empty):
        at = int(empty[0])
        raise LogMelError(
            f"{len(empty)} of {n_mels} mel bands hold no frequency of the transform (the first: "
            f"{edges_hz[at]:.1f}..{edges_hz[at + 2]:.1f} Hz, the transform has every {rate_hz / n_fft:.1f} Hz); lower "
            "n_mels, raise n_fft, or raise fmin_hz"
        )
    filters.flags.writeable = False  # kept and handed out again
    return filters


def hz_to_mel(frequency_hz: float) -> float:
    """Mel of a frequency, on Slaney's scale."""
    if frequency_hz < _BREAK_HZ:
        return frequency_hz / _LINEAR_HZ
    return _BREAK_MEL + log(frequency_hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mels: np.ndarray) -> np.ndarray:
    """Frequencies of mels of any shape, Hz, on Slaney's scale."""
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ, above)


@lru_cache(maxsize=8)
def _hann(n: int) -> np.ndarray:
    """(n,), float64: the periodic Hann window."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n))
