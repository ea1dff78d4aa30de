"""The 56 statistical features of a wrist window; imports numpy alone: an artefact carries a copy of this file.

Names and units are NAMES and UNITS below, formulas in docs/glossary.md. Channel `mag` is sqrt(x² + y² + z²).

Where a formula has no value for a window, the value is 0 and `is_undefined` says so:

- a correlation, when a channel of the two is constant (population deviation below CONSTANT_G);
- kurtosis, skew, autocorrelation, dominant frequencies, their shares, and entropy, when `mag` is constant; the
  autocorrelation also when a second is less than one sample, or not less than the window;
- the second dominant frequency and its share, when one has all the power (the second less than RESIDUE of it);
- the median prominence, when there is no peak;
- an angle's mean and deviation, when no sample has a direction (projection longer than NO_DIRECTION_G); the mean
  also when the directions cancel (resultant shorter than RESIDUE).
"""

from dataclasses import dataclass

import numpy as np

CHANNELS = ("x", "y", "z", "mag")
AXES = ("roll", "pitch", "yaw")
PAIRS = (("x", "y"), ("x", "z"), ("y", "z"))

GRAVITY_HZ = 0.5  # corner of the one-pole low-pass whose output is called gravity
CONSTANT_G = 1e-8
NO_DIRECTION_G = 1e-6  # a thousandth of the noise of a good sensor; above the rounding of float32 samples
RESIDUE = 1e-12  # of sums of numbers up to 1: what rounding leaves where the exact result is 0
SHORTEST = 10  # samples; a shorter window has fewer frequencies and peaks than features about them
LOOKS_LIKE_M_S2 = (7.0, 13.0)  # median magnitude; in g a wrist is near 1, and nobody holds 7
STANDARD_GRAVITY = 9.80665
_CHUNK_VALUES = 2**17  # samples x 3 of one chunk: larger arrays leave the cache, and are mapped anew each time
_BLOCK = 32  # samples that one matrix product of the low-pass takes at a time


def _of(channel: str, kinds: str) -> tuple[str, ...]:
    return tuple(f"{channel}_{kind}" for kind in kinds.split())


def _unit(name: str) -> str:
    if name.startswith(("gravity", "dynamic")):
        return "rad"
    if name.startswith("dominant_hz"):
        return "Hz"
    if name == "n_peaks":
        return "peaks"
    without = ("corr_", "dominant_share", "mag_kurtosis", "mag_skew", "mag_autocorr", "spectral_entropy")
    return "1" if name.startswith(without) else "g"


_CORRELATIONS = tuple(f"corr_{first}{second}" for first, second in PAIRS)
_TAIL = (
    *("mag_autocorr_1s", "dominant_hz_1", "dominant_share_1", "dominant_hz_2", "dominant_share_2", "spectral_entropy"),
    *("n_peaks", "peak_prominence"),
    *(f"gravity_{axis}" for axis in AXES),
    *(f"dynamic_{axis}{kind}" for axis in AXES for kind in ("", "_std")),
)
#: Version -> the 56 names in order. 2: correlations at 27, 28, 29 and ENMO at 36. 1: the order of the list's source
#: (correlations at 9, 10, 11), whose index 36 is the median of the magnitude again; the formulas are those of 2.
NAMES: dict[int, tuple[str, ...]] = {
    1: (
        *(name for channel in "xyz" for name in _of(channel, "mean std range")),
        *_CORRELATIONS,
        *_of("mag", "mean std range mad kurtosis skew median"),
        *(name for channel in "xyz" for name in _of(channel, "min max median q25 q75")),
        *_of("mag", "min max median_again q25 q75"),
        *_TAIL,
    ),
    2: (
        *(name for channel in "xyz" for name in _of(channel, "mean std range min max median q25 q75")),
        *_of("mag", "mean std range"),
        *_CORRELATIONS,
        *_of("mag", "mad kurtosis skew median min max"),
        "enmo_mean",
        *_of("mag", "q25 q75"),
        *_TAIL,
    ),
}
UNITS: dict[int, tuple[str, ...]] = {version: tuple(map(_unit, names)) for version, names in NAMES.items()}
_COLUMN = {name: column for column, name in enumerate(NAMES[2])}
_COLUMNS_OF_VERSION = {
    version: [_COLUMN[name.removesuffix("_again")] for name in names] for version, names in NAMES.items()
}


@dataclass(frozen=True, eq=False)
class Statistics:
    """The features of some windows, and where a formula had no value.

    Attributes:
        values: (n, 56), float64, finite; in the order of NAMES[version].
        is_undefined: (n, 56), bool: the value is 0 because the formula has none for this window.
    """

    values: np.ndarray
    is_undefined: np.ndarray


def statistical_features(windows: np.ndarray, rate_hz: float, *, version: int = 2) -> np.ndarray:
    """The values of `measure_statistics` alone: (n, 56), float64."""
    return measure_statistics(windows, rate_hz, version=version).values


def measure_statistics(windows: np.ndarray, rate_hz: float, *, version: int = 2) -> Statistics:
    """The 56 features of each window, and where a formula had no value.

    Args:
        windows: (n, length, 3): x, y, z in g; real numbers, length >= 10.
        rate_hz: Samples per second.
        version: Order of the list, a key of NAMES.

    Raises:
        TypeError: `windows` is not an array of real numbers.
        ValueError: a wrong shape, rate or version, samples that are not finite, or samples in m/s2.
    """
    _require_windows(windows)
    _require_settings(rate_hz, version)
    n, length, _ = windows.shape
    found = Statistics(np.zeros((n, len(_COLUMN))), np.zeros((n, len(_COLUMN)), bool))
    size = max(1, _CHUNK_VALUES // (3 * length))
    for first in range(0, n, size):
        rows = slice(first, first + size)
        _measure(windows[rows], float(rate_hz), Statistics(found.values[rows], found.is_undefined[rows]))
    _require_g(found.values[:, _COLUMN["mag_median"]])
    if version == 2:
        return found
    columns = _COLUMNS_OF_VERSION[version]
    return Statistics(found.values[:, columns], found.is_undefined[:, columns])


def _measure(windows: np.ndarray, rate_hz: float, found: Statistics) -> None:
    n, length, _ = windows.shape
    samples = np.empty((n, 4, length))  # x, y, z, mag
    samples[:, :3] = windows.transpose(0, 2, 1)
    np.sqrt(samples[:, 0] ** 2 + samples[:, 1] ** 2 + samples[:, 2] ** 2, out=samples[:, 3])
    mean = samples.mean(axis=2)
    centred = samples - mean[:, :, None]
    covariance = centred @ centred.transpose(0, 2, 1) / length
    deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    is_constant = deviation < CONSTANT_G
    scale = np.where(is_constant, 1.0, deviation)
    _put_levels(found, samples, mean, deviation)
    _put_correlations(found, covariance, scale, is_constant)
    _put_shape(found, centred[:, 3] / scale[:, 3:], is_constant[:, 3], lag=round(rate_hz))
    _put_spectrum(found, centred[:, 3], is_constant[:, 3], rate_hz)
    counts, prominence = peaks(samples[:, 3])
    _put(found, "n_peaks", counts)
    _put(found, "peak_prominence", prominence, counts == 0)
    gravity, dynamic = split_gravity(samples[:, :3], rate_hz)
    _put_angles(found, "gravity", gravity, with_deviation=False)
    _put_angles(found, "dynamic", dynamic, with_deviation=True)


def _put(found: Statistics, name: str, values: np.ndarray, is_undefined: np.ndarray | None = None) -> None:
    column = _COLUMN[name]
    found.values[:, column] = values
    if is_undefined is not None:
        found.values[is_undefined, column] = 0.0
        found.is_undefined[:, column] = is_undefined


def _put_levels(found: Statistics, samples: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> None:
    ordered = np.sort(samples, axis=2)
    levels = {
        "mean": mean,
        "std": deviation,
        "range": ordered[:, :, -1] - ordered[:, :, 0],
        "min": ordered[:, :, 0],
        "max": ordered[:, :, -1],
        "median": _median(ordered),
        "q25": _quantile(ordered, 0.25),
        "q75": _quantile(ordered, 0.75),
    }
    for kind, values in levels.items():
        for column, channel in enumerate(CHANNELS):
            _put(found, f"{channel}_{kind}", values[:, column])
    _put(found, "mag_mad", _median_deviation(ordered[:, 3], levels["median"][:, 3]))
    _put(found, "enmo_mean", np.maximum(samples[:, 3] - 1, 0).mean(axis=1))


def _median(ordered: np.ndarray) -> np.ndarray:
    length = ordered.shape[-1]
    median: np.ndarray = (ordered[..., (length - 1) // 2] + ordered[..., length // 2]) / 2
    return median


def _quantile(ordered: np.ndarray, share: float) -> np.ndarray:
    """Linear between order statistics, and rounded alike: numpy's default (Hyndman and Fan 1996, definition 7)."""
    place = share * (ordered.shape[-1] - 1)
    low, between = int(place), place % 1
    below, above = ordered[..., low], ordered[..., low + 1]
    step = above - below
    quantile: np.ndarray = below + step * between if between < 0.5 else above - step * (1 - between)
    return quantile


def _median_deviation(ordered: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Median of |value - median| without another sort.

    The k samples nearest to the median are neighbours in order, so the k-th smallest distance is the smallest, over
    all runs of k neighbours, of the larger distance at a run's two ends.
    """
    length = ordered.shape[1]
    below, above = median[:, None] - ordered, ordered - median[:, None]
    middle = ((length + 1) // 2, length // 2 + 1)
    low, high = (np.maximum(below[:, : length - k + 1], above[:, k - 1 :]).min(axis=1) for k in middle)
    deviation: np.ndarray = (low + high) / 2
    return deviation


def _put_correlations(found: Statistics, covariance: np.ndarray, scale: np.ndarray, is_constant: np.ndarray) -> None:
    for first, second in PAIRS:
        i, j = CHANNELS.index(first), CHANNELS.index(second)
        value = np.clip(covariance[:, i, j] / (scale[:, i] * scale[:, j]), -1, 1)
        _put(found, f"corr_{first}{second}", value, is_constant[:, i] | is_constant[:, j])


def _put_shape(found: Statistics, standard: np.ndarray, is_constant: np.ndarray, *, lag: int) -> None:
    """Of the standardised magnitude: moments, and the biased autocorrelation (Box and Jenkins)."""
    n, length = standard.shape
    squared = standard * standard
    _put(found, "mag_kurtosis", np.einsum("nl,nl->n", squared, squared) / length - 3, is_constant)
    _put(found, "mag_skew", np.einsum("nl,nl->n", squared, standard) / length, is_constant)
    if 1 <= lag < length:
        shared = np.einsum("nl,nl->n", standard[:, :-lag], standard[:, lag:])
        _put(found, "mag_autocorr_1s", shared / length, is_constant)
    else:
        _put(found, "mag_autocorr_1s", np.zeros(n), np.ones(n, bool))


def _put_spectrum(found: Statistics, centred: np.ndarray, is_constant: np.ndarray, rate_hz: float) -> None:
    n, length = centred.shape
    waves = np.fft.rfft(centred, axis=1)[:, 1:]  # without the mean, which would be most of the power
    share = waves.real**2 + waves.imag**2
    share /= np.where(is_constant, 1.0, share.sum(axis=1))[:, None]
    surprise = np.log(np.maximum(share, np.finfo(float).tiny))  # 0 log 0 = 0
    entropy = -np.einsum("nf,nf->n", share, surprise) / np.log(share.shape[1])
    _put(found, "spectral_entropy", np.clip(entropy, 0, 1), is_constant)
    for rank in (1, 2):
        strongest = share.argmax(axis=1)
        value = share[np.arange(n), strongest]
        is_nothing = is_constant | (value < RESIDUE)
        _put(found, f"dominant_hz_{rank}", (strongest + 1) * (rate_hz / length), is_nothing)
        _put(found, f"dominant_share_{rank}", value, is_nothing)
        share[np.arange(n), strongest] = -1


def peaks(magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of peaks of each row and their median prominence, as scipy.signal.find_peaks and peak_prominences.

    A peak is a sample, or a run of equal samples, higher than both its neighbours; the ends of a row are none. Its
    prominence is its height above the higher of the two lowest samples between it and the next higher sample (or the
    row's end) on either side.

    Args:
        magnitude: (n, length), finite.

    Returns:
        (n,), float64, counts; (n,), medians, 0 where a row has no peak.
    """
    n, length = magnitude.shape
    walled = np.full(n * (length + 1) + 1, np.inf)  # an infinite wall before, between and after the rows
    walled[1:].reshape(n, length + 1)[:, :length] = magnitude
    turns = walled[np.concatenate([[True], walled[1:] != walled[:-1]])]  # runs of equal samples are one
    rises = turns[1:] > turns[:-1]
    tops = turns[1 + np.flatnonzero(rises[:-1] & ~rises[1:])]
    tops = np.concatenate([[np.inf], tops, [np.inf]])  # peaks and walls
    bottoms = turns[1 + np.flatnonzero(~rises[:-1] & rises[1:])]  # one between each top and the next
    both_ways = _lowest_since_higher(
        np.concatenate([tops, tops[::-1]]), np.concatenate([[np.inf], bottoms, [np.inf], bottoms[::-1]])
    )
    is_peak = np.isfinite(tops)
    base = np.maximum(both_ways[: len(tops)], both_ways[: len(tops) - 1 : -1])
    counts = np.diff(np.flatnonzero(~is_peak)) - 1
    prominences = np.full((n, int(counts.max(initial=0)) or 1), np.inf)
    prominences[np.arange(prominences.shape[1]) < counts[:, None]] = tops[is_peak] - base[is_peak]
    prominences.sort(axis=1)
    rows, last = np.arange(n), np.maximum(counts - 1, 0)
    median = (prominences[rows, last // 2] + prominences[rows, (last + 1) // 2]) / 2
    return counts.astype(float), np.where(counts > 0, median, 0.0)


def _lowest_since_higher(tops: np.ndarray, bottoms_before: np.ndarray) -> np.ndarray:
    """For each top, the lowest bottom back to the next strictly higher top.

    All tops step back at once, each time to where the top that they stand at has come to, so stretches double. The
    rounds are few (about 20 for 250 peaks of noise); at most as many as a row has peaks, where every peak is lower than
    the one before it and the last is the highest.
    """
    lowest = bottoms_before.copy()
    higher = np.arange(-1, len(tops) - 1)
    active = np.flatnonzero((tops[higher] <= tops) & (tops < np.inf))
    while len(active):
        passed = higher.take(active)
        lowest[active] = np.minimum(lowest.take(active), lowest.take(passed))
        reached = higher.take(passed)
        higher[active] = reached
        active = active.take(np.flatnonzero(tops.take(reached) <= tops.take(active)))
    return lowest


def split_gravity(samples: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Gravity, by a one-pole low-pass that starts at the first sample, and the rest.

    g[0] = a[0], g[t] = alpha g[t-1] + (1 - alpha) a[t], alpha = exp(-2 pi 0.5 Hz / rate). Computed on what departs from
    the first sample, so that the rest of a constant channel is 0 exactly. Blocks of samples are filtered by one matrix
    product, and a second product carries the state from each block to all later ones.

    Args:
        samples: (n, channels, length).
        rate_hz: Samples per second.

    Returns:
        Gravity and the rest, each (n, channels, length).
    """
    n, channels, length = samples.shape
    decay = np.exp(-2 * np.pi * GRAVITY_HZ / rate_hz)
    n_blocks = -(-length // _BLOCK)
    start = samples[:, :, :1]
    departure = np.zeros((n, channels, n_blocks * _BLOCK))
    np.subtract(samples, start, out=departure[:, :, :length])
    blocks = departure.reshape(-1, _BLOCK) @ ((1 - decay) * _fading(decay, _BLOCK)).T
    blocks = blocks.reshape(n, channels, n_blocks, _BLOCK)
    carried = blocks[..., :-1, -1] @ _fading(decay**_BLOCK, n_blocks - 1).T
    blocks[..., 1:, :] += carried[..., None] * decay ** np.arange(1, _BLOCK + 1)
    slow = blocks.reshape(departure.shape)[:, :, :length]
    return slow + start, departure[:, :, :length] - slow


def _fading(decay: float, size: int) -> np.ndarray:
    """(size, size): decay^(row - column) below and on the diagonal, else 0."""
    age = np.arange(size)[:, None] - np.arange(size)
    return np.where(age >= 0, decay ** np.maximum(age, 0), 0.0)


def _put_angles(found: Statistics, prefix: str, vectors: np.ndarray, *, with_deviation: bool) -> None:
    """Circular mean and angular deviation sqrt(2 (1 - R)) of roll, pitch, yaw (Batschelet 1981; Mardia and Jupp 2000).

    The mean direction is the sum of unit vectors, so no angle of a sample is computed. The deviation is that of small
    angles, and stays below sqrt(2) where sqrt(-2 ln R) has no bound.
    """
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    across = y * y + z * z
    flat = np.sqrt(across)
    sine_cosine_length = {
        "roll": (y, z, flat),
        "pitch": (-x, flat, np.sqrt(x * x + across)),
        "yaw": (x, y, np.sqrt(x * x + y * y)),
    }
    for axis, (sine, cosine, length) in sine_cosine_length.items():
        has_direction = length > NO_DIRECTION_G
        n_directions = has_direction.sum(axis=1)
        is_nowhere = n_directions == 0
        weight = has_direction / np.maximum(length, NO_DIRECTION_G)
        up = np.einsum("nl,nl->n", sine, weight) / np.maximum(n_directions, 1)
        along = np.einsum("nl,nl->n", cosine, weight) / np.maximum(n_directions, 1)
        resultant = np.hypot(up, along)
        _put(found, f"{prefix}_{axis}", np.arctan2(up, along), is_nowhere | (resultant < RESIDUE))
        if with_deviation:
            deviation = np.sqrt(2 * np.maximum(1 - resultant, 0))
            _put(found, f"{prefix}_{axis}_std", deviation, is_nowhere)


def _require_windows(windows: np.ndarray) -> None:
    if not isinstance(windows, np.ndarray):
        raise TypeError(f"windows: expected a numpy array (n, length, 3) in g, found {type(windows).__name__}")
    if windows.dtype.kind not in "fiu":
        raise TypeError(f"windows: expected real numbers, found an array of {windows.dtype}")
    if windows.ndim != 3:
        raise ValueError(
            f"windows: expected 3 dimensions (n, length, 3), found {windows.ndim} in shape {windows.shape}; "
            "give one window as window[None]"
        )
    if windows.shape[2] != 3:
        raise ValueError(f"windows: expected 3 channels x, y, z on the last axis, found shape {windows.shape}")
    if windows.shape[1] < SHORTEST:
        raise ValueError(f"windows: expected at least {SHORTEST} samples each, found {windows.shape[1]}")
    broken = np.flatnonzero(~np.isfinite(windows).all(axis=(1, 2)))
    if len(broken):
        raise ValueError(
            f"windows: expected finite samples, found NaN or inf in {len(broken)} of {len(windows)} windows "
            f"(the first: window {broken[0]}); fill or leave out such windows before"
        )


def _require_settings(rate_hz: float, version: int) -> None:
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz: expected samples per second above 0, found {rate_hz}")
    if version not in NAMES:
        raise ValueError(f"version: expected one of {sorted(NAMES)}, found {version}")


def _require_g(median_magnitude: np.ndarray) -> None:
    strange = np.flatnonzero((median_magnitude >= LOOKS_LIKE_M_S2[0]) & (median_magnitude <= LOOKS_LIKE_M_S2[1]))
    if len(strange):
        raise ValueError(
            f"windows: expected g (median magnitude 0.5 to 2), found {median_magnitude[strange[0]]:.2f} in window "
            f"{strange[0]} ({len(strange)} of {len(median_magnitude)} windows are so): looks like m/s2; divide the "
            f"samples by {STANDARD_GRAVITY}"
        )
