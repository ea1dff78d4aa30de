"""What the wrist features are held to: simulated windows, and the 56 features one window, one library call at a time.

Written apart from `foresense.features.statistical`, from docs/glossary.md, with numpy and scipy: tests compare the
numbers, `benchmarks.features` the speed.
"""

import numpy as np
from scipy import signal, stats

ACTIVITIES = ("rest", "sitting", "walking", "running")


def wrist_windows(n: int, *, length: int = 1000, rate_hz: float = 100.0, seed: int = 0) -> np.ndarray:
    """Windows of a simulated wrist, resting, sitting, walking and running in turn.

    Gravity of 1 g in a random, slowly turning direction, the steps of walking (1.8 Hz) and running (2.7 Hz) with
    harmonics, and the noise of the sensor.

    Returns:
        (n, length, 3), float64, g.
    """
    rng = np.random.default_rng(seed)
    seconds = np.arange(length) / rate_hz
    direction = rng.normal(size=(n, 1, 3)) + 0.3 * np.sin(
        2 * np.pi * rng.uniform(0.02, 0.2, (n, 1, 1)) * seconds[:, None] + rng.uniform(0, 2 * np.pi, (n, 1, 3))
    )
    gravity = direction / np.linalg.norm(direction, axis=2, keepdims=True)
    kind = np.arange(n) % len(ACTIVITIES)
    steps_hz = np.array([0.2, 0.5, 1.8, 2.7])[kind] * rng.uniform(0.85, 1.15, n)
    strength = np.array([0.002, 0.02, 0.3, 1.0])[kind] * rng.uniform(0.7, 1.3, n)
    waves = sum(
        np.sin(2 * np.pi * k * steps_hz[:, None, None] * seconds[:, None] + rng.uniform(0, 2 * np.pi, (n, 1, 3))) / k
        for k in (1, 2, 3)
    )
    noise = rng.normal(0, 1, (n, length, 3)) * np.array([0.003, 0.01, 0.05, 0.1])[kind, None, None]
    return gravity + strength[:, None, None] * waves + noise


def reference_features(window: np.ndarray, rate_hz: float) -> dict[str, float]:
    """The 56 features of one window, one call of numpy or scipy for each.

    Args:
        window: (length, 3), g.
        rate_hz: Samples per second.

    Returns:
        Name -> value; 0 where a formula has no value.
    """
    window = window.astype(np.float64)
    channels = {"x": window[:, 0], "y": window[:, 1], "z": window[:, 2], "mag": np.sqrt((window**2).sum(axis=1))}
    found: dict[str, float] = {}
    for name, channel in channels.items():
        found[f"{name}_mean"] = np.mean(channel)
        found[f"{name}_std"] = np.std(channel)
        found[f"{name}_range"] = np.ptp(channel)
        found[f"{name}_min"] = np.min(channel)
        found[f"{name}_max"] = np.max(channel)
        found[f"{name}_median"] = np.median(channel)
        found[f"{name}_q25"] = np.quantile(channel, 0.25)
        found[f"{name}_q75"] = np.quantile(channel, 0.75)
    for first, second in ("xy", "xz", "yz"):
        a, b = channels[first], channels[second]
        defined = min(np.std(a), np.std(b)) >= 1e-8
        found[f"corr_{first}{second}"] = np.corrcoef(a, b)[0, 1] if defined else 0.0
    return found | _of_magnitude(channels["mag"], rate_hz) | _of_angles(window, rate_hz)


def _of_magnitude(mag: np.ndarray, rate_hz: float) -> dict[str, float]:
    defined = np.std(mag) >= 1e-8
    found = {
        "mag_mad": stats.median_abs_deviation(mag),
        "mag_kurtosis": stats.kurtosis(mag) if defined else 0.0,
        "mag_skew": stats.skew(mag) if defined else 0.0,
        "enmo_mean": np.mean(np.maximum(mag - 1, 0)),
        "mag_autocorr_1s": autocorrelation(mag, round(rate_hz)) if defined else 0.0,
    }
    frequencies, power = signal.periodogram(mag, rate_hz, detrend="constant")
    if len(mag) % 2 == 0:
        power[-1] *= 2  # one-sided: all but the last frequency stand for two
    frequencies, power = frequencies[1:], power[1:]
    share = power / power.sum() if defined else power
    for rank, place in enumerate(np.argsort(-share, kind="stable")[:2], start=1):
        is_there = defined and share[place] >= 1e-12
        found[f"dominant_hz_{rank}"] = frequencies[place] if is_there else 0.0
        found[f"dominant_share_{rank}"] = share[place] if is_there else 0.0
    found["spectral_entropy"] = stats.entropy(share, base=len(share)) if defined else 0.0
    places, _ = signal.find_peaks(mag)
    found["n_peaks"] = len(places)
    found["peak_prominence"] = np.median(signal.peak_prominences(mag, places)[0]) if len(places) else 0.0
    return found


def autocorrelation(values: np.ndarray, lag: int) -> float:
    """The biased estimate at one lag; 0 where there is no such lag."""
    if not 1 <= lag < len(values):
        return 0.0
    centred = values - np.mean(values)
    return float(np.dot(centred[:-lag], centred[lag:]) / np.dot(centred, centred))


def low_passed(window: np.ndarray, rate_hz: float) -> np.ndarray:
    """Gravity: one pole at 0.5 Hz that has seen the first sample for ever; (length, 3)."""
    decay = np.exp(-np.pi / rate_hz)
    gravity, _ = signal.lfilter([1 - decay], [1, -decay], window, axis=0, zi=decay * window[:1])
    return gravity


def _of_angles(window: np.ndarray, rate_hz: float) -> dict[str, float]:
    gravity = low_passed(window, rate_hz)
    found: dict[str, float] = {}
    for prefix, (x, y, z) in (("gravity", gravity.T), ("dynamic", (window - gravity).T)):
        for axis, sine, cosine in (("roll", y, z), ("pitch", -x, np.hypot(y, z)), ("yaw", x, y)):
            angles = np.arctan2(sine, cosine)[np.hypot(sine, cosine) > 1e-6]
            found[f"{prefix}_{axis}"] = stats.circmean(angles, high=np.pi, low=-np.pi) if len(angles) else 0.0
            if prefix == "dynamic":
                found[f"{prefix}_{axis}_std"] = np.sqrt(2 * stats.circvar(angles)) if len(angles) else 0.0
    return found
