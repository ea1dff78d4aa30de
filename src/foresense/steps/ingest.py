"""Step `ingest`: raw samples of any source in, one checked recording per asset out."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from foresense.config import IngestConfig
from foresense.signals import IngestReport, Recording, write_recordings
from foresense.sources import Finding, Places, RawTable, SourceError, load_source
from foresense.sources.checks import Gap, check_rate, gaps_of, grid_findings, in_order_once
from foresense.sources.units import in_asked_units
from foresense.steps.frame import StepRun
from foresense.steps.refused import write_refused
from foresense.windows.resample import grid_origin, resample

_log = logging.getLogger(__name__)
_N_GAPS = 50  # that a report lists of each asset, the longest


def ingest(run: StepRun, config: IngestConfig) -> IngestReport:
    """Load the source of one pipeline, check it, lay it on one rate, and write its recordings.

    Args:
        run: The step's run.
        config: Section `ingest`.

    An asset that cannot be used is left out, with a finding and an entry `left_out` in the manifest; the others go on.

    Returns:
        The report, written to `reports/<pipeline>/ingest.json`; the recordings lie in `data/recordings/<pipeline>/`.
        Refused rows and cells lie in `reports/<pipeline>/refused.csv`, which is there only when there are any.

    Raises:
        FileNotFoundError: the source's files are not there.
        SourceError: not one asset can be used; the problems of all of them together.
    """
    found = load_source(config.source)(config, _places(run))
    write_refused(run.paths.reports / "refused.csv", found.refusals)
    findings = list(found.findings)
    recordings: list[Recording] = []
    assets: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for table in found.tables:
        try:
            recording, facts, seen = lay_on_grid(in_asked_units(table, config.channels), config)
        except SourceError as error:
            left_out[table.asset] = str(error)
            findings.append(Finding(table.asset, "left_out", 1, "", str(error)))
            continue
        if facts["n_with_values"] < max(config.min_rows, 1):
            left_out[table.asset] = _too_little(table.asset, facts, config)
            findings.append(Finding(table.asset, "too_little", facts["n_with_values"], "", left_out[table.asset]))
            continue
        recordings.append(recording)
        assets[table.asset] = facts
        findings += seen
    if not recordings:
        raise SourceError("\n".join(left_out.values()) or f"{config.source}: no row with a usable time in any file")
    for finding in findings:
        where = f" ({finding.where})" if finding.where else ""
        _log.warning(
            "%s: %s, n = %d: %s%s", finding.asset or config.source, finding.kind, finding.n, finding.message, where
        )
    for asset, facts in assets.items():
        _log.info("%s: %d samples, %s to %s", asset, facts["n_rows"], facts["start"], facts["end"])
    origin = {"source": config.source, "raw_sha256": found.sha256, **found.facts}
    if left_out:
        origin["left_out"] = left_out
    write_recordings(run.paths.recordings, recordings, facts=origin)
    return run.finish(
        IngestReport,
        data_sha256=found.sha256,
        seed=config.seed,
        source=config.source,
        assets=assets,
        findings=[asdict(finding) for finding in findings],
    )


def _places(run: StepRun) -> Places:
    return Places(run.layout.raw, run.layout.project, run.layout.cache / "kept" / run.pipeline)


def lay_on_grid(table: RawTable, config: IngestConfig) -> tuple[Recording, dict[str, Any], list[Finding]]:
    """Check one asset's raw samples and lay them on the grid of `config.interval_s`.

    Args:
        table: Raw samples in any order.
        config: Section `ingest`.

    Returns:
        The recording (missing samples are NaN), what the report says about the asset, and the findings.

    Raises:
        SourceError: conflicting rows, no usable row, samples slower than the grid, or a channel without any value.
    """
    names = tuple(channel.name for channel in config.channels)
    if not len(table.times_ns):
        raise SourceError(f"{table.asset}: no row with a usable time; see refused.csv in the reports")
    table, findings = in_order_once(table, names)
    check_rate(table, config.interval_s)
    origin_ns = grid_origin(table.times_ns, config.interval_s, _day_start_ns(table.times_ns[0], config.time_zone))
    samples, counts = resample(table.times_ns, table.values, interval_s=config.interval_s, origin_ns=origin_ns)
    if config.first_rows is not None and len(samples) > config.first_rows:
        n_cut = len(samples) - config.first_rows
        message = f"samples after the first {config.first_rows}, left out as ingest.first_rows asks"
        findings.append(Finding(table.asset, "cut", n_cut, "", message))
        samples, counts = samples[: config.first_rows], counts[: config.first_rows]
    recording = Recording(
        asset=table.asset,
        samples=samples,
        channels=names,
        units=tuple(channel.unit for channel in config.channels),
        interval_s=config.interval_s,
        start=pd.Timestamp(origin_ns, unit="ns", tz="UTC"),
        time_zone=config.time_zone,
    )
    gaps, times = gaps_of(samples), recording.times()
    findings += grid_findings(table.asset, samples, names, times, gaps)
    return recording, _facts(table, recording, counts, gaps, times), findings


def _facts(
    table: RawTable, recording: Recording, counts: np.ndarray, gaps: Sequence[Gap], times: pd.DatetimeIndex
) -> dict[str, Any]:
    samples = recording.samples
    missing = np.isnan(samples)
    longest = sorted(sorted(gaps, key=lambda gap: -gap.n_samples)[:_N_GAPS], key=lambda gap: gap.row)
    return {
        "n_rows": len(samples),
        "n_with_values": int((~missing.all(axis=1)).sum()),
        "n_raw": len(table.times_ns),
        "most_raw_per_row": int(counts.max()),
        "interval_s": recording.interval_s,
        "start": times[0].isoformat(),
        "end": times[-1].isoformat(),
        "n_missing": int(missing.sum()),
        "n_gaps": len(gaps),
        "gaps": [{"start": times[gap.row].isoformat(), "n_samples": gap.n_samples} for gap in longest],
        "channels": {
            name: {
                "unit": unit,
                "min": float(np.nanmin(samples[:, index])),
                "mean": float(np.nanmean(samples[:, index])),
                "max": float(np.nanmax(samples[:, index])),
                "n_missing": int(missing[:, index].sum()),
            }
            for index, (name, unit) in enumerate(zip(recording.channels, recording.units, strict=True))
        },
    }


def _too_little(asset: str, facts: dict[str, Any], config: IngestConfig) -> str:
    return (
        f"{asset}: too little data: {facts['n_with_values']} samples of {config.interval_s:g} s with values "
        f"({facts['start']} to {facts['end']}), needed are {max(config.min_rows, 1)} (ingest.min_rows; one leak-free "
        "window in each part takes context + 3 x horizon, 1920 for 1200 and 240); record longer, or shorten the windows"
    )


def _day_start_ns(time_ns: int, time_zone: str) -> int:
    """Midnight of the local day of `time_ns`, in nanoseconds since 1970 UTC."""
    local = pd.Timestamp(int(time_ns), unit="ns", tz="UTC").tz_convert(time_zone)
    midnight = local.tz_localize(None).normalize().tz_localize(time_zone, ambiguous=True, nonexistent="shift_forward")
    return int(midnight.tz_convert("UTC").as_unit("ns").value)
