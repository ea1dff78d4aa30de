"""A plant of simulated machines, physical and seeded: the data that is always there.

Each machine has a load (a daily shift pattern, a weekly rhythm, slow randomness), and everything else follows from
it: current from load, body and shaft temperature through thermal lag, vibration from speed, load, wear and faults.
"""

from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from json import dumps

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from foresense.config import IngestConfig
from foresense.sources.clock import check_zone
from foresense.sources.faults import Fault, Faults, draw_faults, draw_stops, hold_stuck
from foresense.sources.outages import draw_dropouts, draw_missing_rows
from foresense.sources.tables import Places, RawTable, RawTables, SourceError

VERSION = 1  # of the numbers that a seed gives; part of the digest
MACHINES = ("lathe-1-spindle", "cnc-mill-5-axis", "robot-arm-02")
_FURTHER = ("press", "pump", "fan", "conveyor", "compressor")
UNITS = {"temp_body": "Cel", "temp_shaft": "Cel", "current": "A", "vibration_magnitude": "g"}
_H = 3600.0  # seconds
_DAY = 24 * _H
_N_BURST = 16  # readings of the accelerometer in one sample; magnitude first, then the mean (spec FX-18)
_BLOCK = 65_536  # samples whose bursts are made at a time: bounds memory


@dataclass(frozen=True)
class Machine:
    """What differs between two machines of one kind of plant.

    Attributes:
        shift_start_h: Local hour at which the day's work begins.
        shift_hours: How long it lasts.
        weekend: Share of the load that is left on Saturday and Sunday.
        current_idle_a: Current without load.
        current_span_a: What full load adds.
        rise_idle_c: How much warmer than the hall the body runs without load.
        rise_span_c: What full load adds.
        tau_body_s: Time constant of the body.
        tau_shaft_s: Time constant of the shaft against the body.
        vibration_g: Vibration at half load when new.
        wear_start: Share of its life that was used up at the start.
        wear_days: Days from new to overhaul.
    """

    shift_start_h: float
    shift_hours: float
    weekend: float
    current_idle_a: float
    current_span_a: float
    rise_idle_c: float
    rise_span_c: float
    tau_body_s: float
    tau_shaft_s: float
    vibration_g: float
    wear_start: float
    wear_days: float


def simulate_plant(config: IngestConfig, places: Places) -> RawTables:
    """Simulate `config.n_assets` machines, `config.n_rows` samples each.

    A machine's samples depend on the seed and on its place in the list, not on how many machines are asked for.

    Args:
        config: Section `ingest`: n_assets, n_rows, interval_s, start, time_zone, seed, channels.
        places: Not used: there is no file.

    Returns:
        One table for each machine; `facts["truth"]` has its faults and stops (kind, channel, UTC start and end).

    Raises:
        SourceError: a channel, unit, interval or start that the plant does not have; all problems together.
    """
    start = _check(config)
    decisive = config.model_dump(
        mode="json", include={"channels", "interval_s", "n_assets", "n_rows", "seed", "start", "time_zone"}
    )
    times_ns = start.value + np.arange(config.n_rows, dtype=np.int64) * round(config.interval_s * 1e9)
    columns = [list(UNITS).index(channel.column or channel.name) for channel in config.channels]
    tables, truth = [], {}
    for index in range(config.n_assets):
        asset = machine_name(index)
        samples, faults = simulate_machine(
            index, times_ns, interval_s=config.interval_s, time_zone=config.time_zone, seed=config.seed
        )
        present = ~np.isnan(samples).all(axis=1)
        tables.append(
            RawTable(
                asset=asset,
                times_ns=times_ns[present],
                values=samples[present][:, columns],
                rows=np.flatnonzero(present) + 1,
                files=np.zeros(int(present.sum()), np.int64),
                file_names=("(simulated)",),
            )
        )
        truth[asset] = [_told(fault, start) for fault in faults]
    digest = sha256(dumps({"simulator": VERSION, **decisive}, sort_keys=True).encode()).hexdigest()
    return RawTables(
        tables=tuple(sorted(tables, key=lambda table: table.asset)),
        sha256=digest,
        facts={"simulator_version": VERSION, "truth": truth},
    )


def machine_name(index: int) -> str:
    """Name of the machine at place `index`: three known ones, then generated ones."""
    if index < len(MACHINES):
        return MACHINES[index]
    return f"{_FURTHER[(index - len(MACHINES)) % len(_FURTHER)]}-{index + 1:02d}"


def simulate_machine(
    index: int, times_ns: np.ndarray, *, interval_s: float, time_zone: str, seed: int
) -> tuple[np.ndarray, list[Fault]]:
    """Simulate one machine.

    Args:
        index: Place in the list of machines; with `seed` it decides everything random.
        times_ns: (n_rows,), int64: nanoseconds since 1970 UTC, `interval_s` apart.
        interval_s: Seconds between samples.
        time_zone: Shifts follow the local clock.
        seed: Of the plant.

    Returns:
        (n_rows, 4), float64: temp_body (°C), temp_shaft (°C), current (A), vibration_magnitude (g), NaN where the
        logger missed a sample; and what went wrong with the machine.
    """
    machine_rng, stop_rng, fault_rng, load_rng, air_rng, noise_rng, burst_rng, missing_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(entropy=seed, spawn_key=(index,)).spawn(8)
    )
    machine = _draw_machine(machine_rng)
    n_rows = len(times_ns)
    elapsed_s = np.arange(n_rows) * interval_s
    local_s = _local_seconds(times_ns, time_zone)
    stops, running = draw_stops(stop_rng, local_s, interval_s)
    faults = draw_faults(fault_rng, n_rows, interval_s)

    load = _load(machine, local_s, load_rng, interval_s) * running
    air_c = _hall_temperature(local_s, air_rng, interval_s)
    wear = (machine.wear_start + elapsed_s / (machine.wear_days * _DAY)) % 1.0
    body_c, shaft_c = _temperatures(machine, load, running, air_c, wear, faults, interval_s)
    current_a = np.where(running, machine.current_idle_a + machine.current_span_a * load + 0.4 * wear, 0.3)
    vibration_g = _vibration(machine, load, running, wear, faults, burst_rng)

    noise = noise_rng.standard_normal((n_rows, 3)) * [0.15, 0.15, 0.12]
    samples = np.stack(
        [body_c + noise[:, 0], shaft_c + noise[:, 1], np.abs(current_a + noise[:, 2]), vibration_g], axis=1
    )
    stuck = hold_stuck(fault_rng, samples, interval_s, list(UNITS))
    missing = draw_missing_rows(missing_rng, n_rows, interval_s)
    samples[draw_dropouts(missing_rng, missing, samples.shape[1])] = np.nan
    samples[missing] = np.nan
    return samples, sorted([*stops, *faults.list, *stuck], key=lambda fault: (fault.start_s, fault.kind))


def _check(config: IngestConfig) -> pd.Timestamp:
    """The start in UTC, or every problem of the section together."""
    problems = []
    if not 2 <= config.interval_s <= _H:
        problems.append(f"ingest.interval_s: the plant samples every 2 to 3600 s, found {config.interval_s:g}")
    for channel in config.channels:
        name = channel.column or channel.name
        if name not in UNITS:
            problems.append(f"ingest.channels: the plant has no channel {name!r} (known: {', '.join(UNITS)})")
        elif channel.unit != UNITS[name]:
            problems.append(f"ingest.channels: {name} is in {UNITS[name]!r}, found unit {channel.unit!r}")
    check_zone(config.time_zone)
    try:
        start = pd.Timestamp(config.start)
        start = start.tz_localize(config.time_zone) if start.tzinfo is None else start
    except ValueError as error:
        problems.append(f"ingest.start: {config.start!r} is no time in {config.time_zone}: {error}")
    if problems:
        raise SourceError("; ".join(problems))
    return start.tz_convert("UTC").as_unit("ns")


def _draw_machine(rng: np.random.Generator) -> Machine:
    return Machine(
        shift_start_h=rng.uniform(5, 7),
        shift_hours=rng.uniform(13, 16),
        weekend=rng.uniform(0.3, 0.5),
        current_idle_a=rng.uniform(10.5, 11.5),
        current_span_a=rng.uniform(11.0, 12.5),
        rise_idle_c=rng.uniform(34, 37),
        rise_span_c=rng.uniform(13, 15),
        tau_body_s=rng.uniform(2.5, 4.5) * _H,
        tau_shaft_s=rng.uniform(0.4, 0.8) * _H,
        vibration_g=rng.uniform(0.95, 1.15),
        wear_start=rng.uniform(0.05, 0.45),
        wear_days=rng.uniform(250, 400),
    )


def _local_seconds(times_ns: np.ndarray, time_zone: str) -> np.ndarray:
    """(n_rows,): seconds of the local clock since Monday 1 January 2024, 0:00."""
    local = pd.DatetimeIndex(times_ns, tz="UTC").tz_convert(time_zone).tz_localize(None)
    monday_s = (date(2024, 1, 1) - date(1970, 1, 1)).days * _DAY
    return np.asarray(local.as_unit("ns").asi8 / 1e9 - monday_s, np.float64)


def _load(machine: Machine, local_s: np.ndarray, rng: np.random.Generator, interval_s: float) -> np.ndarray:
    """(n_rows,): share of full load, 0.05 to 1."""
    hour = (local_s / _H) % 24
    weekday = np.floor(local_s / _DAY) % 7
    since = (hour - machine.shift_start_h) % 24
    shift = _ramp(since, 0.0, 1.5) * (1 - _ramp(since, machine.shift_hours - 1.5, machine.shift_hours))
    lunch = 0.25 * np.exp(-(((since - machine.shift_hours / 2) / 0.8) ** 2))
    # Monday starts slowly, the middle of the week is full, Friday tails off.
    day = np.array([0.92, 1.0, 1.03, 1.0, 0.9, machine.weekend, 0.8 * machine.weekend])[weekday.astype(int)]
    wander = 0.05 * _slow_noise(rng, len(local_s), 6 * _H, interval_s)
    quick = 0.03 * _slow_noise(rng, len(local_s), 0.25 * _H, interval_s)
    total = 0.12 + 0.72 * (shift - lunch * shift) * day + wander + quick
    return np.asarray(np.clip(total, 0.05, 1.0))


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high`."""
    share = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _hall_temperature(local_s: np.ndarray, rng: np.random.Generator, interval_s: float) -> np.ndarray:
    """(n_rows,): air around the machine, °C: warmest in July and at three in the afternoon, weather of days."""
    day, year = local_s / _DAY, local_s / (365.25 * _DAY)
    cycles = 2.5 * np.cos(2 * np.pi * (year - 0.55)) + 1.5 * np.cos(2 * np.pi * (day - 15 / 24))
    return np.asarray(24.0 + cycles + 0.8 * _slow_noise(rng, len(local_s), 3 * _DAY, interval_s))


def _slow_noise(rng: np.random.Generator, n: int, tau_s: float, interval_s: float) -> np.ndarray:
    """(n,): noise of unit variance that forgets itself with time constant `tau_s` (exact at any interval)."""
    keep = np.exp(-interval_s / tau_s)
    start = rng.standard_normal()
    pushes = np.sqrt(1 - keep**2) * rng.standard_normal(n)
    return np.asarray(lfilter([1.0], [1.0, -keep], pushes, zi=np.array([keep * start]))[0])


def lagged(target: np.ndarray, tau_s: float, interval_s: float) -> np.ndarray:
    """First-order lag: what follows `target` with time constant `tau_s`, at rest on the first value at the start.

    Args:
        target: (n,), held constant over each interval.
        tau_s: Time constant, seconds.
        interval_s: Seconds between samples.

    Returns:
        (n,): y[i] = k y[i-1] + (1 - k) target[i], k = exp(-interval_s / tau_s).
    """
    keep = np.exp(-interval_s / tau_s)
    return np.asarray(lfilter([1 - keep], [1.0, -keep], target, zi=np.array([keep * target[0]]))[0])


def _temperatures(
    machine: Machine,
    load: np.ndarray,
    running: np.ndarray,
    air_c: np.ndarray,
    wear: np.ndarray,
    faults: Faults,
    interval_s: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(n_rows,) twice: body and shaft, °C. Heat comes with load and friction; a stopped machine cools to the hall."""
    rise = (machine.rise_idle_c + machine.rise_span_c * load + 1.5 * wear) * running
    body_c = lagged(air_c + rise + 9.0 * faults.overheating * running, machine.tau_body_s, interval_s)
    friction = (1.5 + 2.5 * load + 1.0 * wear + 4.0 * faults.bearing) * running
    return body_c, body_c + lagged(friction, machine.tau_shaft_s, interval_s)


def _vibration(
    machine: Machine,
    load: np.ndarray,
    running: np.ndarray,
    wear: np.ndarray,
    faults: Faults,
    rng: np.random.Generator,
) -> np.ndarray:
    """(n_rows,): g, gravity removed. The shaft turns what is out of balance; a bad bearing knocks."""
    # Mean magnitude of the burst is about 1.12 times the amplitude of the rotation at half load.
    amplitude_g = machine.vibration_g / 1.12 * (0.78 + 0.45 * load + 0.25 * wear + 0.5 * faults.imbalance)
    knock_g = 0.18 + 0.1 * load + 0.75 * faults.bearing
    return burst_magnitude(np.where(running, amplitude_g, 0.01), np.where(running, knock_g, 0.01), rng)


def burst_magnitude(amplitude_g: np.ndarray, knock_g: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean over each burst of sqrt(ax² + ay² + az²): the magnitude of every reading first, then the mean (FX-18).

    The rotation goes through x (full amplitude), y (0.85 of it, a quarter turn later) and z (0.35 of it, axial).

    Args:
        amplitude_g: (n_rows,), of the rotation.
        knock_g: (n_rows,), standard deviation of the knocks along each axis.
        rng: Of this machine's accelerometer.

    Returns:
        (n_rows,), g.
    """
    magnitude_g = np.empty(len(amplitude_g))
    for begin in range(0, len(amplitude_g), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        amplitude, knock = amplitude_g[rows, None], knock_g[rows, None]
        phase = rng.uniform(0, 2 * np.pi, (len(amplitude), _N_BURST))
        knocks = rng.standard_normal((3, *phase.shape)) * knock
        ax = amplitude * np.cos(phase) + knocks[0]
        ay = 0.85 * amplitude * np.sin(phase) + knocks[1]
        az = 0.35 * amplitude * np.cos(phase + 0.6) + knocks[2]
        magnitude_g[rows] = np.sqrt(ax**2 + ay**2 + az**2).mean(axis=1)
    return magnitude_g


def _told(fault: Fault, start: pd.Timestamp) -> dict[str, object]:
    """One entry of the truth, with UTC times."""
    told = asdict(fault)
    for key in ("start", "end"):
        told[key] = (start + pd.Timedelta(seconds=round(told.pop(f"{key}_s")))).isoformat()
    return told
