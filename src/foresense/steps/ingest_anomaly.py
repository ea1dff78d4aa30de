"""Step `ingest` of a pipeline of anomaly detectors: recordings of machines, each in one condition, at one rate."""

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from foresense.config.anomaly import AnomalyIngestConfig, SyntheticImagesConfig, SyntheticVibrationConfig
from foresense.signals import IngestReport
from foresense.signals.clips import UNKNOWN, ConditionSet, write_conditions
from foresense.sources import Places
from foresense.sources.conditions import load_conditions
from foresense.steps.frame import StepRun
from foresense.steps.refused import warn_of, write_refused

LOG = logging.getLogger(__name__)


def ingest_anomaly(run: StepRun, config: AnomalyIngestConfig) -> IngestReport:
    """Load the recordings of one pipeline, and write them.

    Args:
        run: The step's run.
        config: Section `ingest`.

    Returns:
        The report, written to `reports/<pipeline>/ingest.json`, with one entry for each condition; recordings lie in
        `data/recordings/<pipeline>/`, files that were refused in `reports/<pipeline>/refused.csv`, which is there
        only when there are any.

    Raises:
        FileNotFoundError: the source's files are not there.
        SourceError: files that are not in the source's layout, or whose rate cannot be told.
    """
    places = Places(run.layout.raw, run.layout.project, run.layout.cache / "kept" / run.pipeline)
    found = load_conditions(config.source)(config, places)
    write_refused(run.paths.reports / "refused.csv", found.refusals)
    warn_of(found.findings, config.source, LOG)
    facts = {"source": config.source, "raw_sha256": found.sha256, **found.facts}
    write_conditions(run.paths.recordings, found.recordings, facts=facts)
    return run.finish(
        IngestReport,
        data_sha256=found.sha256,
        seed=config.seed if isinstance(config, SyntheticImagesConfig | SyntheticVibrationConfig) else 0,
        source=config.source,
        assets=_conditions(found.recordings),
        findings=[asdict(finding) for finding in found.findings],
    )


def _conditions(found: ConditionSet) -> dict[str, dict[str, Any]]:
    """Condition -> how many recordings of how many assets it has, and how long they are."""
    lengths, assets = found.ends - found.starts, np.asarray(found.assets)
    facts: dict[str, dict[str, Any]] = {}
    for label in np.unique(found.labels):
        own = found.labels == label
        name = "unknown" if label == UNKNOWN else found.classes[label]
        facts[name] = {"n_recordings": int(own.sum()), "n_assets": len(np.unique(assets[own])), "unit": found.unit}
        if found.rate_hz is not None:
            facts[name] |= {"rate_hz": found.rate_hz, "total_s": round(float(lengths[own].sum()) / found.rate_hz, 3)}
    return facts
