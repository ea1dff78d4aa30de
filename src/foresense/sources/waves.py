"""WAV files of any width, one channel at a time."""

import warnings
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from foresense.sources.tables import SourceError

#: Full scale of what scipy hands over, by type; it moves 24-bit samples to the upper end of 32 bits.
_FULL_SCALE = {"i2": 2.0**15, "i4": 2.0**31, "f4": 1.0, "f8": 1.0}


def read_wave(path: Path, *, channel: int) -> tuple[np.ndarray, float]:
    """Read one channel of a WAV file of 16, 24 or 32-bit integers or 32 or 64-bit floats.

    Args:
        path: The file.
        channel: Counted from 0.

    Returns:
        (n_samples,), float32, 1 is full scale; and samples per second.

    Raises:
        FileNotFoundError: with the path.
        SourceError: not a WAV file, cut off, empty, of a width that is not read, not finite, or without that channel.
    """
    try:
        with warnings.catch_warnings():
            # A file that is cut off warns and comes back short; chunks of other programs warn and do no harm.
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", "Chunk .non-data. not understood", wavfile.WavFileWarning)
            rate_hz, samples = wavfile.read(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # scipy may raise anything on a damaged file: it is what is wrong with the file
        raise SourceError(
            f"{path}: no complete WAV file of PCM or float samples ({error}); it may be cut off: copy it again, or "
            "convert it to 16-bit PCM"
        ) from error
    if samples.dtype.str[1:] not in _FULL_SCALE:
        raise SourceError(
            f"{path}: expected 16, 24 or 32-bit integers or floats, found {8 * samples.dtype.itemsize}-bit "
            f"{samples.dtype.kind!r}; convert it to 16-bit PCM"
        )
    columns = samples[:, None] if samples.ndim == 1 else samples
    if not len(columns):
        raise SourceError(f"{path}: a WAV file without a sample; leave it out")
    if channel >= columns.shape[1]:
        raise SourceError(
            f"{path}: {columns.shape[1]} channel(s), and ingest.channel asks for number {channel} (counted from 0)"
        )
    chosen = (columns[:, channel] / _FULL_SCALE[samples.dtype.str[1:]]).astype(np.float32)
    if not np.isfinite(chosen).all():
        raise SourceError(f"{path}: sample {int(np.argmin(np.isfinite(chosen)))} is not finite; leave the file out")
    return chosen, float(rate_hz)
