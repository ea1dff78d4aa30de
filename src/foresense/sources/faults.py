"""What goes wrong with a simulated machine: planned and unplanned stops, three kinds of faults, a stuck sensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_H = 3600.0  # seconds
_DAY = 24 * _H


@dataclass(frozen=True)
class Fault:
    """One event in the life of a machine.

    Attributes:
        kind: `planned_stop`, `unplanned_stop`, `bearing`, `overheating`, `imbalance` or `stuck_sensor`.
        start_s: Seconds after the first sample.
        end_s: Seconds after the first sample; at most the end of the recording.
        channel: What a stuck sensor measures; None for what concerns the whole machine.
    """

    kind: str
    start_s: float
    end_s: float
    channel: str | None = None


@dataclass(frozen=True, eq=False)
class Faults:
    """Severities over time, each (n_rows,), 0 when sound and 1 just before the repair.

    Attributes:
        bearing: Grows exponentially over days.
        overheating: A blocked cooler: there at once, for a day or two.
        imbalance: A chipped tool or a loose part: there at once, for days.
        list: The same as events.
    """

    bearing: np.ndarray
    overheating: np.ndarray
    imbalance: np.ndarray
    list: tuple[Fault, ...]


def draw_stops(rng: np.random.Generator, local_s: np.ndarray, interval_s: float) -> tuple[list[Fault], np.ndarray]:
    """Maintenance every Sunday from 2:00 to 6:00, and about one breakdown of two to six hours in 40 days.

    Args:
        rng: Of this machine's stops.
        local_s: (n_rows,): seconds of the local clock since a Monday, 0:00.
        interval_s: Seconds between samples.

    Returns:
        The stops, and (n_rows,) bool: the machine is running.
    """
    in_week_h = (local_s / _H) % (7 * 24)
    planned = (in_week_h >= 6 * 24 + 2) & (in_week_h < 6 * 24 + 6)
    span_s = len(local_s) * interval_s
    n = int(rng.poisson(span_s / (40 * _DAY)))
    starts_s, lengths_s = rng.uniform(0, span_s, n), rng.uniform(2, 6, n) * _H
    elapsed_s = np.arange(len(local_s)) * interval_s
    running = ~planned & ~_within(elapsed_s, starts_s, lengths_s)
    stops = [
        Fault("unplanned_stop", float(start), float(min(start + length, span_s)))
        for start, length in zip(starts_s, lengths_s, strict=True)
    ]
    edges = np.flatnonzero(np.diff(np.r_[False, planned, False])) * interval_s
    stops += [
        Fault("planned_stop", float(begin), float(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    return stops, running


def draw_faults(rng: np.random.Generator, n_rows: int, interval_s: float) -> Faults:
    """About one fault of each kind in 120 days, anywhere in the recording.

    Args:
        rng: Of this machine's faults.
        n_rows: Samples.
        interval_s: Seconds between samples.
    """
    elapsed_s, span_s = np.arange(n_rows) * interval_s, n_rows * interval_s
    severities, events = {}, []
    for kind, days in (("bearing", (6.0, 12.0)), ("overheating", (1.0, 2.0)), ("imbalance", (3.0, 6.0))):
        n = int(rng.poisson(span_s / (120 * _DAY)))
        starts_s, lengths_s = rng.uniform(0, span_s, n), rng.uniform(*days, n) * _DAY
        peaks = rng.uniform(0.6, 1.0, n)
        severity = np.zeros(n_rows)
        for start, length, peak in zip(starts_s, lengths_s, peaks, strict=True):
            progress = (elapsed_s - start) / length
            shape = np.expm1(4 * np.clip(progress, 0, 1)) / np.expm1(4) if kind == "bearing" else 1.0
            severity = np.maximum(severity, np.where((progress >= 0) & (progress < 1), peak * shape, 0.0))
            events.append(Fault(kind, float(start), float(min(start + length, span_s))))
        severities[kind] = severity
    return Faults(**severities, list=tuple(events))


def hold_stuck(
    rng: np.random.Generator, samples: np.ndarray, interval_s: float, channels: Sequence[str]
) -> list[Fault]:
    """Let about one sensor in 120 days repeat its last value for 6 to 18 hours, in place.

    Args:
        rng: Of this machine's faults.
        samples: (n_rows, n_channels); changed in place.
        interval_s: Seconds between samples.
        channels: Name of each column.
    """
    span_s = len(samples) * interval_s
    n = int(rng.poisson(span_s / (120 * _DAY)))
    starts_s, lengths_s = rng.uniform(0, span_s, n), rng.uniform(6, 18, n) * _H
    columns = rng.integers(0, samples.shape[1], n)
    stuck = []
    for start, length, column in sorted(zip(starts_s.tolist(), lengths_s.tolist(), columns.tolist(), strict=True)):
        first = int(start / interval_s)
        last = min(first + int(length / interval_s), len(samples))
        samples[first:last, column] = samples[first, column]
        stuck.append(Fault("stuck_sensor", first * interval_s, last * interval_s, channels[column]))
    return stuck


def _within(elapsed_s: np.ndarray, starts_s: np.ndarray, lengths_s: np.ndarray) -> np.ndarray:
    """(n_rows,), bool: inside any of the stretches."""
    inside = np.zeros(len(elapsed_s), bool)
    for start, length in zip(starts_s, lengths_s, strict=True):
        inside |= (elapsed_s >= start) & (elapsed_s < start + length)
    return inside
