"""Simulated mixed recordings: an outcome that follows from a number's course and a category, and holes on demand.

Sizes are those of D-7 in the requirements. Each recording has smooth numeric channels and categories that stay for some
steps. Only the first channel of each kind decides: u is the slope of the first number over the recording, v the mean
value of the first category, both standardised over the set; the score is u + v (`sum`) or u * v (`product`, where
neither alone tells the sign), standardised, plus noise. A class is a share of the ranks of the score.
"""

import hashlib

import numpy as np

from foresense.config.mixed import MixedSyntheticIngestConfig
from foresense.signals.holes import removed
from foresense.signals.mixed import CategoricalChannel, MixedRecording, MixedSet, NumericChannel
from foresense.signals.mixed_columns import FIRST_VALUE
from foresense.sources.mixed import FoundMixed
from foresense.sources.tables import Places

_STAYS = 8  # steps that a category keeps its value, on average


def simulate_mixed(config: MixedSyntheticIngestConfig, places: Places) -> FoundMixed:
    """Simulate `n_recordings` recordings of `n_steps` hours.

    The outcome is made before values are taken away. With `rule: none` the outcomes of the rule `sum` are dealt out
    anew, so that nothing can be learnt and their distribution is the same.

    Args:
        config: Section `ingest`.
        places: Not used: a simulation reads nothing.
    """
    numbers, values, outcomes = _complete(config)
    rng = np.random.default_rng([config.seed, 1])
    courses = numbers.transpose(0, 2, 1)  # (n_recordings, n_numeric, n_steps)
    for hole in config.holes:
        courses = removed(courses, hole.share, hole.kind, rng)
    numbers = np.ascontiguousarray(courses.transpose(0, 2, 1))
    outcomes[rng.permutation(len(outcomes))[: round(config.unlabelled * len(outcomes))]] = np.nan
    recordings = tuple(
        MixedRecording(
            name=f"S{number:05d}",
            numeric=numbers[number],
            categories=values[number] + FIRST_VALUE,
            static_numeric=np.zeros(0, np.float32),
            static_categories=np.zeros(0, np.int64),
            outcomes=outcomes[number : number + 1],
            start_ns=0,
        )
        for number in range(config.n_recordings)
    )
    vocabulary = tuple(sorted(str(value) for value in range(config.n_values)))
    return FoundMixed(
        recordings=MixedSet(
            recordings=recordings,
            numeric=tuple(NumericChannel(f"number_{index}", "1") for index in range(config.n_numeric)),
            categorical=tuple(
                CategoricalChannel(f"status_{index}", vocabulary) for index in range(config.n_categorical)
            ),
            static_numeric=(),
            static_categorical=(),
            outcomes=(NumericChannel("class" if config.task == "classification" else "target", "1"),),
            interval_s=3600.0,
            has_time=False,
        ),
        sha256=hashlib.sha256(config.model_dump_json().encode()).hexdigest(),
        facts={"set": "simulated mixed recordings"},
    )


def course_of(numbers: np.ndarray) -> np.ndarray:
    """(n,): u of the rule: least-squares slope of the first channel, standardised over the set.

    Args:
        numbers: (n, n_steps, n_numeric), complete.
    """
    if not numbers.shape[2]:
        return np.zeros(len(numbers))
    ramp = np.arange(numbers.shape[1]) - (numbers.shape[1] - 1) / 2
    return _standard(numbers[:, :, 0].astype(np.float64) @ ramp)


def status_of(values: np.ndarray) -> np.ndarray:
    """(n,): v of the rule: mean value of the first category, standardised over the set.

    Args:
        values: (n, n_steps, n_categorical), int: 0 .. n_values - 1.
    """
    return _standard(values[:, :, 0].mean(axis=1)) if values.shape[2] else np.zeros(len(values))


def _complete(config: MixedSyntheticIngestConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers (n, n_steps, n_numeric) float32, values (n, n_steps, n_categorical) int64, outcomes (n,) float32."""
    rng = np.random.default_rng([config.seed, 0])
    numbers = _numbers(config, rng)
    values = _values(config, rng)
    u, v = course_of(numbers), status_of(values)
    score = _standard(u * v if config.rule == "product" else u + v) + config.noise * rng.standard_normal(len(u))
    if config.rule == "none":
        score = rng.permutation(score)
    ranks = np.argsort(np.argsort(score))
    outcomes = ranks * config.n_classes // len(ranks) if config.task == "classification" else score
    return numbers, values, outcomes.astype(np.float32)


def _numbers(config: MixedSyntheticIngestConfig, rng: np.random.Generator) -> np.ndarray:
    """A level, a slope and a slow wave of each channel, and white noise."""
    shape = (config.n_recordings, 1, config.n_numeric)
    place = np.linspace(-1, 1, config.n_steps)[None, :, None]
    level, slope = rng.standard_normal(shape), rng.standard_normal(shape)
    wave = rng.uniform(0.2, 0.6, shape) * np.sin(np.pi * rng.uniform(1, 4, shape) * place + rng.uniform(0, 6.28, shape))
    noise = 0.3 * rng.standard_normal((config.n_recordings, config.n_steps, config.n_numeric))
    return (level + slope * place + wave + noise).astype(np.float32)


def _values(config: MixedSyntheticIngestConfig, rng: np.random.Generator) -> np.ndarray:
    """A category keeps its value until it is drawn again, with a probability of high values that the recording has."""
    shape = (config.n_recordings, config.n_steps, config.n_categorical)
    high = rng.beta(1.5, 1.5, (config.n_recordings, 1, config.n_categorical))
    drawn = rng.binomial(config.n_values - 1, np.broadcast_to(high, shape))
    is_drawn = rng.random(shape) < 1 / _STAYS
    is_drawn[:, :1] = True
    last = np.maximum.accumulate(np.where(is_drawn, np.arange(config.n_steps)[None, :, None], 0), axis=1)
    return np.take_along_axis(drawn, last, axis=1).astype(np.int64)


def _standard(scores: np.ndarray) -> np.ndarray:
    deviation = float(scores.std())
    found: np.ndarray = (scores - scores.mean()) / (deviation if deviation > 0 else 1.0)
    return found
