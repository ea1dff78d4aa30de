"""Simulated machines whose condition can be learnt, or, on demand, cannot: for a quick look and for tests.

An image is a warm module: a smooth field and noise; the anomalous one has a hot spot. Vibration is a shaft with noise;
the anomalous one has impacts, each of which lets a resonance ring, as a fault of a bearing does (McFadden and Smith,
Model for the vibration produced by a single point defect in a rolling element bearing, Journal of Sound and Vibration
96, 1984). With the rule `none` the labels of the same samples are dealt out anew, so that nothing can be learnt.
"""

import hashlib

import numpy as np

from foresense.config.anomaly import SyntheticImagesConfig, SyntheticVibrationConfig
from foresense.signals.clips import NORMAL, ConditionSet
from foresense.sources.conditions import FoundConditions
from foresense.sources.tables import Places

CLASSES = ("normal", "anomaly")
#: Grey levels of a module, what a hot spot adds at its middle, and the noise.
LEVEL, HOT, GREY_NOISE = 128.0, 60.0, 8.0
#: Shaft and impacts, Hz; the resonance as a share of the rate; how fast it dies away, 1/s.
SHAFT_HZ, IMPACT_HZ, RESONANCE, DECAY_PER_S = 30.0, 107.0, 0.25, 900.0
#: g: amplitude of the shaft, of an impact, and of the noise.
SHAFT_G, IMPACT_G, NOISE_G = 0.1, 0.3, 0.05


def simulate_images(config: SyntheticImagesConfig, places: Places) -> FoundConditions:
    """Simulate one image of each of `n_recordings` modules; every second one has a hot spot.

    Args:
        config: Section `ingest`.
        places: Not used: a simulation reads nothing.
    """
    rng = np.random.default_rng([config.seed, 0])
    n, is_hot = config.n_recordings, np.arange(config.n_recordings) % 2 == 1
    rows, columns = np.mgrid[0 : config.height, 0 : config.width]
    tilt = rng.uniform(-10, 10, (2, n, 1, 1))
    grey = LEVEL + tilt[0] * (rows / config.height - 0.5) + tilt[1] * (columns / config.width - 0.5)
    grey = grey + GREY_NOISE * rng.standard_normal((n, config.height, config.width))
    middle = rng.uniform(0.2, 0.8, (2, n, 1, 1))
    away = (rows - middle[0] * config.height) ** 2 + (columns - middle[1] * config.width) ** 2
    grey += np.where(is_hot, HOT, 0)[:, None, None] * np.exp(-away / (2 * (config.width / 10) ** 2))
    samples = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return _found(samples, np.arange(n), is_hot, config, unit="grey level", rate_hz=None)


def simulate_vibration(config: SyntheticVibrationConfig, places: Places) -> FoundConditions:
    """Simulate `n_samples` of each of `n_recordings` machines; every second one has periodic impacts.

    Args:
        config: Section `ingest`.
        places: Not used: a simulation reads nothing.
    """
    rng = np.random.default_rng([config.seed, 1])
    n, is_struck = config.n_recordings, np.arange(config.n_recordings) % 2 == 1
    times_s = np.arange(config.n_samples) / config.rate_hz
    turns = times_s * SHAFT_HZ * rng.uniform(0.97, 1.03, (n, 1)) + rng.uniform(0, 1, (n, 1))
    since_s = ((times_s * IMPACT_HZ * rng.uniform(0.97, 1.03, (n, 1)) + rng.uniform(0, 1, (n, 1))) % 1) / IMPACT_HZ
    ringing = np.exp(-DECAY_PER_S * since_s) * np.sin(2 * np.pi * RESONANCE * config.rate_hz * since_s)
    samples = SHAFT_G * np.sin(2 * np.pi * turns) + NOISE_G * rng.standard_normal((n, config.n_samples))
    samples += np.where(is_struck, IMPACT_G, 0)[:, None] * ringing
    starts = np.arange(n) * config.n_samples
    return _found(samples.astype(np.float32).ravel(), starts, is_struck, config, unit="g", rate_hz=config.rate_hz)


def _found(
    samples: np.ndarray,
    starts: np.ndarray,
    is_anomalous: np.ndarray,
    config: SyntheticImagesConfig | SyntheticVibrationConfig,
    *,
    unit: str,
    rate_hz: float | None,
) -> FoundConditions:
    if config.rule == "none":
        is_anomalous = np.random.default_rng([config.seed, 2]).permutation(is_anomalous)
    names = tuple(f"S{number:05d}" for number in range(len(starts)))
    recordings = ConditionSet(
        samples=samples,
        starts=starts.astype(np.int64),
        names=names,
        assets=names,
        labels=np.where(is_anomalous, NORMAL + 1, NORMAL).astype(np.int64),
        groups={},
        classes=CLASSES,
        unit=unit,
        rate_hz=rate_hz,
    )
    settings = config.model_dump_json()
    return FoundConditions(
        recordings=recordings,
        sha256=hashlib.sha256(settings.encode()).hexdigest(),
        facts={"simulated": config.model_dump(mode="json")},
    )
