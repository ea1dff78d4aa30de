"""Step `ingest` of a pipeline of minute actigraphy: one recording of each person, one count a minute."""

import logging
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from foresense.config.actigraphy import ActigraphyIngestConfig
from foresense.signals import IngestReport, Recording, write_recordings
from foresense.sources import Places
from foresense.sources.actigraphy import FoundActigraphy, load_actigraphy
from foresense.steps.frame import StepRun
from foresense.steps.refused import warn_of, write_refused

LOG = logging.getLogger(__name__)
#: Of everybody together: a report that is committed names no person.
EVERYONE = "people"


def ingest_actigraphy(run: StepRun, config: ActigraphyIngestConfig) -> IngestReport:
    """Load the people of one pipeline, and write their recordings.

    Args:
        run: The step's run.
        config: Section `ingest`.

    Returns:
        The report, written to `reports/<pipeline>/ingest.json`; it tells of all people together and names none.
        Recordings lie in `data/recordings/<pipeline>/`, rows that were refused in `reports/<pipeline>/refused.csv`,
        which is there only when there are any.

    Raises:
        FileNotFoundError: the source's files are not there.
        SourceError: files that are not in the source's layout, or hold another unit.
    """
    places = Places(run.layout.raw, run.layout.project, run.layout.cache / "kept" / run.pipeline)
    found = load_actigraphy(config.source)(config, places)
    write_refused(run.paths.reports / "refused.csv", found.refusals)
    warn_of(found.findings, config.source, LOG)
    facts = {
        "source": config.source,
        "raw_sha256": found.sha256,
        "unit": found.unit,
        "has_time": found.has_time,
        "people": [{"name": one.name, "label": one.label, "facts": one.facts} for one in found.people],
        **found.facts,
    }
    write_recordings(run.paths.recordings, found.recordings, facts=facts)
    kinds = Counter(finding.kind for finding in found.findings)
    return run.finish(
        IngestReport,
        data_sha256=found.sha256,
        source=config.source,
        assets={EVERYONE: _facts(found)},
        findings=[
            {**asdict(next(one for one in found.findings if one.kind == kind)), "asset": EVERYONE, "where": "", "n": n}
            for kind, n in sorted(kinds.items())
        ],
    )


def _facts(found: FoundActigraphy) -> dict[str, Any]:
    n_minutes = np.array([len(one.samples) for one in found.recordings])
    return {
        "n_people": len(found.people),
        "labels": dict(sorted(Counter(one.label or "" for one in found.people).items())),
        "unit": found.unit,
        "n_rows": int(n_minutes.sum()),
        "n_missing": sum(_n_missing(one) for one in found.recordings),
        "days": [round(float(value) / 1440, 1) for value in (n_minutes.min(), np.median(n_minutes), n_minutes.max())],
    }


def _n_missing(one: Recording) -> int:
    return int(np.isnan(one.samples).sum())
