"""Step `ingest` of a pipeline of mixed recordings: numbers full of holes beside categories, on one grid."""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from foresense.config.mixed import MixedIngestConfig, MixedSyntheticIngestConfig
from foresense.signals import IngestReport
from foresense.signals.mixed import MixedRecording, MixedSet, write_mixed
from foresense.signals.mixed_columns import MISSING
from foresense.sources import Places
from foresense.sources.mixed import load_mixed
from foresense.steps.frame import StepRun
from foresense.steps.refused import warn_of, write_refused

LOG = logging.getLogger(__name__)
#: Above so many recordings a report names none of them.
MOST_NAMED = 50


def ingest_mixed(run: StepRun, config: MixedIngestConfig) -> IngestReport:
    """Load the mixed recordings of one pipeline, and write them.

    Args:
        run: The step's run.
        config: Section `ingest`.

    Returns:
        The report, written to `reports/<pipeline>/ingest.json`; recordings lie in `data/recordings/<pipeline>/`, rows
        and cells that were refused in `reports/<pipeline>/refused.csv`, which is there only when there are any.

    Raises:
        FileNotFoundError: the source's files are not there.
        SourceError: files that are not in the source's layout.
        SignalError: not one recording.
    """
    places = Places(run.layout.raw, run.layout.project, run.layout.cache / "kept" / run.pipeline)
    found = load_mixed(config.source)(config, places)
    write_refused(run.paths.reports / "refused.csv", found.refusals)
    warn_of(found.findings, config.source, LOG)
    facts = {"source": config.source, "raw_sha256": found.sha256, **found.facts}
    write_mixed(run.paths.recordings, found.recordings, facts=facts)
    return run.finish(
        IngestReport,
        data_sha256=found.sha256,
        seed=config.seed if isinstance(config, MixedSyntheticIngestConfig) else 0,
        source=config.source,
        assets=_assets(found.recordings),
        findings=[asdict(finding) for finding in found.findings],
    )


def _assets(recordings: MixedSet) -> dict[str, dict[str, Any]]:
    """Facts of each recording; of more than MOST_NAMED, which may be people, those of all of them together."""
    found = {one.name: _facts(one, recordings) for one in recordings.recordings}
    if len(found) <= MOST_NAMED:
        return found
    n_missing = [facts["n_missing"] for facts in found.values()]
    return {
        f"{len(found)} recordings": {
            "n_rows": sum(facts["n_rows"] for facts in found.values()),
            "n_missing": sum(n_missing),
            "missing_share": round(float(np.mean([facts["missing_share"] for facts in found.values()])), 6),
            "n_missing_of_one": [min(n_missing), int(np.median(n_missing)), max(n_missing)],
        }
    }


def _facts(one: MixedRecording, recordings: MixedSet) -> dict[str, Any]:
    n_missing = int(np.isnan(one.numeric).sum() + (one.categories == MISSING).sum())
    found: dict[str, Any] = {
        "n_rows": one.n_steps,
        "n_missing": n_missing,
        "missing_share": round(n_missing / (one.numeric.size + one.categories.size), 6),
    }
    if recordings.has_time:
        last_ns = one.start_ns + round(recordings.interval_s * 1e9) * (one.n_steps - 1)
        found |= {"start": _utc(one.start_ns), "end": _utc(last_ns)}
    return found


def _utc(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="seconds")
