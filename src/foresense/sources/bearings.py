"""Bearing vibration in MATLAB v5 files of the Case Western Reserve University test rig, brought to one rate.

File names say fault, size and load, not the rate, and the rate that goes with the healthy record is widely taken wrong.
So every record's rate is established from its own signal: the shaft's and the mains' harmonics stand where the
tachometer (`X…RPM`) and the grid say only if the rate is right. A model would otherwise tell healthy from faulty by the
rate.

Source: CWRU Bearing Data Center; Smith and Randall, Rolling element bearing diagnostics using the Case Western Reserve
University data: A benchmark study, Mechanical Systems and Signal Processing 64, 2015.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from foresense.config.anomaly import BearingsConfig
from foresense.signals.clips import FoundRecording, join_recordings
from foresense.sources.anomaly_sets import facts_of
from foresense.sources.conditions import FoundConditions, digest_of
from foresense.sources.matlab import read_matlab
from foresense.sources.tables import Finding, Places, SourceError

CLASSES = ("healthy", "ball", "inner race", "outer race")
#: How much better than any other rate the established one must explain the harmonics, dB.
MARGIN_DB = 3.0
_FAULTS = {"B": "ball", "IR": "inner race", "OR": "outer race"}
_NAME = re.compile(r"(?:normal|12k_DE_(?P<fault>B|IR|OR)(?P<size>\d{3})(?:_centered_at_6)?)_(?P<load>\d)\.mat")
_N_SHAFT, _N_LINE = 16, 8  # harmonics that are looked at
_LEAST_TURNS = 4  # of the shaft, to tell its harmonics
_NEAR = 5e-4  # relative: the tachometer says whole turns a minute, the grid keeps within 30 mHz
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class EstablishedRate:
    """The rate that explains a signal.

    Attributes:
        rate_hz: Samples per second.
        prominence_db: Of each candidate, in their order: how far harmonics stand above what is around them, on average.
    """

    rate_hz: float
    prominence_db: tuple[float, ...]


def read_bearings(config: BearingsConfig, places: Places) -> FoundConditions:
    """Read `*.mat` in `data/raw/<raw>/`: one accelerometer of each record, in g, all at `rate_hz`.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Returns:
        Records with the groups `load` (motor load, HP: `0` to `3`) and `size` (of the fault, mil: `007`, `021`;
        `none` of a healthy bearing). An asset is one bearing: one fault of one size, or the healthy one.

    Raises:
        FileNotFoundError: not fetched yet.
        SourceError: a file of another name, without the channel or the speed, not finite, or whose rate cannot be told.
    """
    folder = places.raw / config.raw
    files = sorted(folder.glob("*.mat"))
    if not files:
        raise FileNotFoundError(f"{folder}: no .mat there; run `foresense fetch` for this pipeline first")
    recordings: list[FoundRecording] = []
    findings: list[Finding] = []
    rates: dict[str, object] = {}
    for file in files:
        named = _NAME.fullmatch(file.name)
        if named is None:
            raise SourceError(
                f"{file}: expected normal_<load>.mat or 12k_DE_<B, IR or OR><size>[_centered_at_6]_<load>.mat; rename "
                "the file, or take it out of the folder"
            )
        samples, turns_per_min = _record(file, config.channel)
        found = established_rate(
            samples,
            shaft_hz=turns_per_min / 60,
            line_hz=config.line_hz,
            candidates_hz=config.candidates_hz,
            where=str(file),
        )
        rates[file.name] = {"found_hz": found.rate_hz, "prominence_db": [round(one, 1) for one in found.prominence_db]}
        if found.rate_hz != config.rate_hz:
            message = f"{found.rate_hz:g} Hz by its harmonics, resampled to {config.rate_hz:g} Hz"
            findings.append(Finding(file.stem, "resampled", len(samples), file.name, message))
        fault, size = _FAULTS.get(named["fault"], CLASSES[0]), named["size"] or "none"
        recordings.append(
            FoundRecording(
                name=file.name,
                asset=f"{fault} {size}" if named["size"] else fault,
                label=CLASSES.index(fault),
                samples=resampled(samples, found.rate_hz, config.rate_hz),
                groups={"load": named["load"], "size": size},
            )
        )
    return FoundConditions(
        recordings=join_recordings(recordings, classes=CLASSES, unit="g", rate_hz=config.rate_hz),
        sha256=digest_of(folder, files),
        findings=tuple(findings),
        facts={**facts_of(config.raw), "channel": config.channel, "rates": rates},
    )


def established_rate(
    samples: np.ndarray, *, shaft_hz: float, line_hz: float, candidates_hz: tuple[float, ...], where: str
) -> EstablishedRate:
    """The candidate rate at which harmonics of the shaft and the mains stand out most.

    Harmonics of the shaft alone do not tell 12 from 48 kHz: the fourth of the one lies at the first of the other.
    Those of the mains break the tie, as slip keeps them apart.

    Args:
        samples: (n,), long enough for four turns at every candidate.
        shaft_hz: Turns a second, from the tachometer.
        line_hz: Of the mains.
        candidates_hz: Rates that are possible.
        where: Named in errors.

    Raises:
        SourceError: no candidate explains the harmonics clearly better than the others, or a record without a speed or
            of too few turns.
    """
    n_turns = len(samples) * shaft_hz / max(candidates_hz)
    if not n_turns >= _LEAST_TURNS:
        raise SourceError(
            f"{where}: {len(samples)} samples at {shaft_hz:g} turns a second: expected at least {_LEAST_TURNS} turns "
            f"at every one of {candidates_hz} Hz, found {n_turns:.1f}; leave the record out"
        )
    found = tuple(
        harmonic_prominence_db(samples, rate_hz=rate_hz, base_hz=shaft_hz, n_harmonics=_N_SHAFT)
        + harmonic_prominence_db(samples, rate_hz=rate_hz, base_hz=line_hz, n_harmonics=_N_LINE)
        for rate_hz in candidates_hz
    )
    second, best = sorted(found)[-2:]
    if not best - second >= MARGIN_DB:
        shown = ", ".join(f"{rate:g} Hz {one:.1f} dB" for rate, one in zip(candidates_hz, found, strict=True))
        raise SourceError(
            f"{where}: the sampling rate cannot be told from the signal: harmonics of the shaft ({shaft_hz:.2f} Hz) "
            f"and the mains ({line_hz:g} Hz) stand out alike ({shown}; expected {MARGIN_DB:g} dB between the "
            "best two); name other rates in ingest.candidates_hz, or leave the record out"
        )
    return EstablishedRate(candidates_hz[int(np.argmax(found))], found)


def harmonic_prominence_db(samples: np.ndarray, *, rate_hz: float, base_hz: float, n_harmonics: int) -> float:
    """Mean over harmonics of: highest power at the harmonic over the median power half a harmonic around, dB.

    Args:
        samples: (n,).
        rate_hz: That they are taken to have.
        base_hz: Frequency of the first harmonic.
        n_harmonics: How many are looked at.
    """
    power = np.abs(np.fft.rfft((samples - samples.mean()) * np.hanning(len(samples)))) ** 2
    step_hz = rate_hz / len(samples)
    found = []
    for number in range(1, n_harmonics + 1):
        centre_hz = number * base_hz
        near_hz = max(_NEAR * centre_hz, 2 * step_hz)
        peak = power[_bins(centre_hz, near_hz, step_hz)].max()
        around = np.median(power[_bins(centre_hz, 0.45 * base_hz, step_hz)])
        found.append(10 * np.log10((peak + _TINY) / (around + _TINY)))
    return float(np.mean(found))


def resampled(samples: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Samples at another rate: (n x to_hz / from_hz, rounded up), float32.

    A polyphase filter (Kaiser window, scipy's default) of linear phase, its delay taken out. Flat to 0.83 of the lower
    half rate; above it the filter falls, and a tone just above that half rate is folded back at about -10 dB: look at
    nothing above 0.83 of it where some records were resampled and others were not.
    """
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    if ratio == 1:
        return samples.astype(np.float32)
    return np.asarray(resample_poly(samples, ratio.numerator, ratio.denominator), np.float32)


def _bins(centre_hz: float, around_hz: float, step_hz: float) -> slice:
    return slice(max(1, int(np.ceil((centre_hz - around_hz) / step_hz))), int((centre_hz + around_hz) / step_hz) + 1)


def _record(file: Path, channel: str) -> tuple[np.ndarray, float]:
    """Samples (n,), float64, g, and turns a minute."""
    content = read_matlab(file.read_bytes(), where=str(file))
    names = [name for name in content if name.endswith(f"_{channel}_time")]
    speeds = [name for name in content if name.endswith("RPM")]
    if len(names) != 1 or len(speeds) != 1:
        raise SourceError(
            f"{file}: expected one variable X…_{channel}_time and one X…RPM, found {sorted(content)}; choose another "
            "ingest.channel, or leave the record out"
        )
    samples, speed = content[names[0]].ravel(), content[speeds[0]].ravel()
    if not len(speed):
        raise SourceError(f"{file}: no number in {speeds[0]}; leave the record out")
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(samples.astype(np.float32))
    if not is_finite.all():
        raise SourceError(f"{file}: sample {int(np.argmin(is_finite))} is not finite; leave the record out")
    return samples, float(speed[0])
