"""Simulated days of a wrist: sleep, sitting, light and brisk movement, with dwell times as people have them.

Dwell times follow what free-living studies report: one sleep of 6 to 9 hours, sedentary bouts of some twenty minutes,
light and brisk ones of some minutes, all lognormal (Willetts et al., Statistical machine learning of sleep and physical
activity phenotypes, 2018). People differ in rate, strength and how the sensor sits, and bouts of one class in how much
of them is movement: a quiet hour at a desk looks like sleep, a slow walk like housework, for a window and not for long.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from foresense.config.activity import ActivityIngestConfig
from foresense.signals.labelled import LabelledRecording, LabelledSet
from foresense.sources.people import FoundPeople
from foresense.sources.tables import Places

CLASSES = ("sleep", "sedentary", "light", "moderate-vigorous")
#: 2024-03-04, a Monday, noon UTC.
START_NS = 1_709_553_600 * 10**9
#: Median dwell time in minutes, and the deviation of its logarithm.
DWELL_MIN = {"sedentary": (18.0, 0.8), "light": (5.0, 0.7), "moderate-vigorous": (8.0, 0.6)}
#: Where a bout goes next, by day.
NEXT = {
    "sedentary": {"light": 0.75, "moderate-vigorous": 0.25},
    "light": {"sedentary": 0.6, "moderate-vigorous": 0.4},
    "moderate-vigorous": {"sedentary": 0.45, "light": 0.55},
}

#: Share of the seconds of a bout in which the wrist moves: parameters of a beta distribution.
MOVING = {"sleep": (1.0, 30.0), "sedentary": (1.2, 6.0), "light": (3.0, 3.0), "moderate-vigorous": (6.0, 2.0)}
#: Median amplitude of those movements, g; the noise of the sensor is the same for all.
STRENGTH_G = {"sleep": 0.04, "sedentary": 0.06, "light": 0.12, "moderate-vigorous": 0.22}
NOISE_G = 0.005


@dataclass(frozen=True)
class _Habits:
    """How one person moves: rate of steps (Hz), strength (1), length of sleep (h) and when it begins (h after noon)."""

    step_hz: float
    strength: float
    sleep_h: float
    to_bed_h: float


def simulate_days(config: ActivityIngestConfig, places: Places) -> FoundPeople:
    """Simulate `n_people` people for `n_hours` from noon on, at `rate_hz`, in g.

    Args:
        config: Section `ingest`.
        places: Not used: a simulation reads nothing.
    """
    names = [f"P{number + 1:03d}" for number in range(config.n_people)]
    people = tuple(
        _person(name, np.random.default_rng([config.seed, number]), config) for number, name in enumerate(names)
    )
    decides = config.model_dump_json(include={"n_people", "n_hours", "rate_hz", "seed"})
    return FoundPeople(
        labelled=LabelledSet(
            people=people,
            channels=("x", "y", "z"),
            units=("g", "g", "g"),
            rate_hz=config.rate_hz,
            classes=CLASSES,
            has_time=True,
            time_zone=config.time_zone,
        ),
        sha256=hashlib.sha256(decides.encode()).hexdigest(),
        facts={"set": "simulated days"},
    )


def _person(name: str, rng: np.random.Generator, config: ActivityIngestConfig) -> LabelledRecording:
    habits = _Habits(
        step_hz=rng.uniform(1.6, 2.1),
        strength=rng.lognormal(0.0, 0.25),
        sleep_h=rng.uniform(6.0, 9.0),
        to_bed_h=rng.uniform(9.5, 12.5),
    )
    n_samples = round(config.n_hours * 3600 * config.rate_hz)
    samples = np.empty((n_samples, 3), np.float32)
    labels = np.empty(n_samples, np.int16)
    first, state, slept = 0, "sedentary", False
    pose = _turned(rng, np.array([0.0, 0.0, 1.0]), 1.0)
    while first < n_samples:
        hour = first / config.rate_hz / 3600
        if not slept and hour >= habits.to_bed_h:
            state, slept, minutes = "sleep", True, habits.sleep_h * 60
        else:
            median, spread = DWELL_MIN[state]
            minutes = median * rng.lognormal(0.0, spread)
            if not slept:
                minutes = min(minutes, max((habits.to_bed_h - hour) * 60, 0.5))
        n = min(max(round(minutes * 60 * config.rate_hz), 1), n_samples - first)
        pose = _turned(rng, pose, 0.8)
        samples[first : first + n] = _bout(state, n, pose, habits, rng, config.rate_hz)
        labels[first : first + n] = CLASSES.index(state)
        first += n
        state = "sedentary" if state == "sleep" else str(rng.choice(list(NEXT[state]), p=list(NEXT[state].values())))
    return LabelledRecording(
        person=name,
        samples=samples,
        labels=labels,
        stretches=np.zeros(1, np.int64),
        start_ns=np.array([START_NS], np.int64),
    )


def _bout(
    state: str, n: int, pose: np.ndarray, habits: _Habits, rng: np.random.Generator, rate_hz: float
) -> np.ndarray:
    """(n, 3), g: gravity in a pose that changes now and then, and the movement of the class on top."""
    turns_s = {"sleep": 1200, "sedentary": 150, "light": 20, "moderate-vigorous": 60}[state]
    gravity = np.empty((n, 3))
    at = 0
    while at < n:
        last = min(n, at + max(1, round(rng.exponential(turns_s) * rate_hz)))
        gravity[at:last] = pose
        pose = _turned(rng, pose, {"sleep": 1.2, "sedentary": 0.35, "light": 0.6, "moderate-vigorous": 0.25}[state])
        at = last
    moved = NOISE_G * rng.standard_normal((n, 3))
    share = rng.beta(*MOVING[state])
    strength_g = STRENGTH_G[state] * rng.lognormal(0.0, 0.5)
    seconds = -(-n // max(1, round(rate_hz)))
    is_active = np.repeat(rng.random(seconds) < share, max(1, round(rate_hz)))[:n]
    t = np.arange(n) / rate_hz
    hz = habits.step_hz * rng.uniform(0.8, 1.1) if state == "moderate-vigorous" else rng.uniform(0.4, 1.8)
    wave = np.stack([np.sin(2 * np.pi * hz * t + phase) for phase in rng.uniform(0, 2 * np.pi, 3)], axis=1)
    swing = rng.standard_normal((n, 3)) * 0.5 + wave
    found: np.ndarray = gravity + moved + is_active[:, None] * strength_g * habits.strength * swing
    return found.astype(np.float32)


def _turned(rng: np.random.Generator, pose: np.ndarray, by: float) -> np.ndarray:
    found: np.ndarray = pose + by * rng.standard_normal(3)
    turned: np.ndarray = found / np.linalg.norm(found)
    return turned
