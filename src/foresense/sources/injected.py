"""Simulated machines with faults that were asked for: what rules that watch machines are tuned and judged on.

The machine is that of `foresense.sources.simulate`, number for number; only its faults may be others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foresense.sources import simulate
from foresense.sources.faults import Fault, Faults, draw_faults, draw_stops, hold_stuck
from foresense.sources.outages import draw_dropouts, draw_missing_rows

Shape = Literal["step", "linear", "exponential", "sawtooth"]
KINDS = ("bearing", "overheating", "imbalance", "stuck_sensor")
_TEETH = 3  # of a sawtooth


@dataclass(frozen=True)
class Injection:
    """One fault that was asked for.

    Attributes:
        kind: `bearing`, `overheating`, `imbalance` or `stuck_sensor`.
        start_s: Seconds after the first sample.
        end_s: Seconds after the first sample: the repair.
        shape: How the severity grows from 0 to `peak`; a stuck sensor has none.
        peak: Largest severity; the simulator's own lie between 0.6 and 1.
        channel: What a stuck sensor measures; None otherwise.
    """

    kind: str
    start_s: float
    end_s: float
    shape: Shape = "step"
    peak: float = 1.0
    channel: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r} to inject (known: {', '.join(KINDS)})")
        if (self.channel in simulate.UNITS) != (self.kind == "stuck_sensor"):
            raise ValueError(
                f"{self.kind}: found channel {self.channel!r}; a stuck sensor, and nothing else, names one of "
                f"{', '.join(simulate.UNITS)}"
            )
        if not 0 <= self.start_s < self.end_s:
            raise ValueError(f"{self.kind}: must end after it starts, found {self.start_s:g} s to {self.end_s:g} s")


def simulate_injected(
    index: int,
    times_ns: np.ndarray,
    *,
    interval_s: float,
    time_zone: str,
    seed: int,
    injections: Sequence[Injection] = (),
    drawn_until_s: float = 0.0,
) -> tuple[np.ndarray, list[Fault]]:
    """Simulate one machine with the faults that are asked for.

    Stops, wear, season, load and dropouts are as in `simulate_machine` with the same place and seed.

    Args:
        index: Place in the list of machines; with `seed` it decides everything random.
        times_ns: (n_rows,), int64: nanoseconds since 1970 UTC, `interval_s` apart.
        interval_s: Seconds between samples.
        time_zone: Shifts follow the local clock.
        seed: Of the plant.
        injections: Faults that happen; two of one kind at one time are as bad as the worse one.
        drawn_until_s: The simulator's own random faults happen, too, where they start before this second, and are
            repaired then at the latest; infinity gives `simulate_machine` itself.

    Returns:
        (n_rows, 4), float64: temp_body (°C), temp_shaft (°C), current (A), vibration_magnitude (g), NaN where the
        logger missed a sample; and what went wrong with the machine, in order of time.
    """
    machine_rng, stop_rng, fault_rng, load_rng, air_rng, noise_rng, burst_rng, missing_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(entropy=seed, spawn_key=(index,)).spawn(8)
    )
    machine = simulate._draw_machine(machine_rng)
    n_rows = len(times_ns)
    elapsed_s = np.arange(n_rows) * interval_s
    local_s = simulate._local_seconds(times_ns, time_zone)
    stops, running = draw_stops(stop_rng, local_s, interval_s)
    faults = _with_injections(
        _cut(draw_faults(fault_rng, n_rows, interval_s), elapsed_s, drawn_until_s), elapsed_s, injections
    )

    load = simulate._load(machine, local_s, load_rng, interval_s) * running
    air_c = simulate._hall_temperature(local_s, air_rng, interval_s)
    wear = (machine.wear_start + elapsed_s / (machine.wear_days * simulate._DAY)) % 1.0
    body_c, shaft_c = simulate._temperatures(machine, load, running, air_c, wear, faults, interval_s)
    current_a = np.where(running, machine.current_idle_a + machine.current_span_a * load + 0.4 * wear, 0.3)
    vibration_g = simulate._vibration(machine, load, running, wear, faults, burst_rng)

    noise = noise_rng.standard_normal((n_rows, 3)) * [0.15, 0.15, 0.12]
    samples = np.stack(
        [body_c + noise[:, 0], shaft_c + noise[:, 1], np.abs(current_a + noise[:, 2]), vibration_g], axis=1
    )
    stuck = _hold_drawn(fault_rng, samples, interval_s, drawn_until_s) + _hold(samples, interval_s, injections)
    missing = draw_missing_rows(missing_rng, n_rows, interval_s)
    samples[draw_dropouts(missing_rng, missing, samples.shape[1])] = np.nan
    samples[missing] = np.nan
    return samples, sorted([*stops, *faults.list, *stuck], key=lambda fault: (fault.start_s, fault.kind))


def severity(injection: Injection, elapsed_s: np.ndarray) -> np.ndarray:
    """(n_rows,): severity of one fault over time, 0 outside of it.

    Args:
        injection: The fault.
        elapsed_s: (n_rows,), seconds after the first sample.
    """
    progress = (elapsed_s - injection.start_s) / (injection.end_s - injection.start_s)
    inside = (progress >= 0) & (progress < 1)
    progress = np.clip(progress, 0, 1)
    grown = {
        "step": np.ones_like(progress),
        "linear": progress,
        "exponential": np.expm1(4 * progress) / np.expm1(4),
        "sawtooth": (progress * _TEETH) % 1.0,
    }[injection.shape]
    return np.asarray(np.where(inside, injection.peak * grown, 0.0))


def _cut(faults: Faults, elapsed_s: np.ndarray, until_s: float) -> Faults:
    """The faults that start before `until_s`, repaired then."""
    kept = elapsed_s < until_s
    return Faults(
        bearing=np.where(kept, faults.bearing, 0.0),
        overheating=np.where(kept, faults.overheating, 0.0),
        imbalance=np.where(kept, faults.imbalance, 0.0),
        list=tuple(
            Fault(fault.kind, fault.start_s, min(fault.end_s, until_s), fault.channel)
            for fault in faults.list
            if fault.start_s < until_s
        ),
    )


def _with_injections(faults: Faults, elapsed_s: np.ndarray, injections: Sequence[Injection]) -> Faults:
    severities = {kind: getattr(faults, kind) for kind in ("bearing", "overheating", "imbalance")}
    events = list(faults.list)
    for injection in injections:
        if injection.kind in severities:
            severities[injection.kind] = np.maximum(severities[injection.kind], severity(injection, elapsed_s))
            events.append(Fault(injection.kind, injection.start_s, injection.end_s))
    return Faults(**severities, list=tuple(events))


def _hold_drawn(rng: np.random.Generator, samples: np.ndarray, interval_s: float, until_s: float) -> list[Fault]:
    """Let the simulator's own stuck sensors happen in the rows before `until_s`; `samples` changes in place."""
    channels = list(simulate.UNITS)
    held = samples.copy()
    stuck = hold_stuck(rng, held, interval_s, channels)
    rows = np.arange(len(samples)) * interval_s < until_s
    samples[rows] = held[rows]
    return [
        Fault(fault.kind, fault.start_s, min(fault.end_s, until_s), fault.channel)
        for fault in stuck
        if fault.start_s < until_s
    ]


def _hold(samples: np.ndarray, interval_s: float, injections: Sequence[Injection]) -> list[Fault]:
    """Let sensors that are asked for repeat the value of their first stuck sample; `samples` changes in place."""
    channels = list(simulate.UNITS)
    stuck = []
    for injection in injections:
        if injection.channel is None:
            continue
        first = int(injection.start_s / interval_s)
        last = min(int(injection.end_s / interval_s), len(samples))
        samples[first:last, channels.index(injection.channel)] = samples[first, channels.index(injection.channel)]
        stuck.append(Fault("stuck_sensor", first * interval_s, last * interval_s, injection.channel))
    return stuck
