"""Step `ingest` of an activity pipeline: labelled recordings of people, in g, one rate."""

import logging
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from foresense.config.activity import ActivityIngestConfig
from foresense.signals import IngestReport
from foresense.signals.labelled import UNLABELLED, LabelledRecording, LabelledSet, write_labelled
from foresense.sources import Places, SourceError
from foresense.sources.people import load_people
from foresense.steps.frame import StepRun
from foresense.steps.refused import warn_of, write_refused

LOG = logging.getLogger(__name__)
#: Where the median magnitude of a resting wrist lies, in g; outside of it the unit is another one.
MAGNITUDE_G = (0.5, 2.0)


def ingest_activity(run: StepRun, config: ActivityIngestConfig) -> IngestReport:
    """Load the people of one pipeline, check them, and write their recordings.

    Args:
        run: The step's run.
        config: Section `ingest`.

    Returns:
        The report, written to `reports/<pipeline>/ingest.json`; recordings lie in `data/recordings/<pipeline>/`, rows
        that were refused in `reports/<pipeline>/refused.csv`, which is there only when there are any.

    Raises:
        FileNotFoundError: the source's files are not there.
        SourceError: fewer people than asked for, a class that nobody has, or another unit than g.
    """
    places = Places(run.layout.raw, run.layout.project, run.layout.cache / "kept" / run.pipeline)
    found = load_people(config.source)(config, places)
    write_refused(run.paths.reports / "refused.csv", found.refusals)
    warn_of(found.findings, config.source, LOG)
    people = replace(found.labelled, people=found.labelled.people[: config.first_people])
    _require_people(people, config)
    assets = {one.person: _facts(one, people) for one in people.people}
    write_labelled(
        run.paths.recordings, people, facts={"source": config.source, "raw_sha256": found.sha256, **found.facts}
    )
    return run.finish(
        IngestReport,
        data_sha256=found.sha256,
        seed=config.seed,
        source=config.source,
        assets=assets,
        findings=[asdict(finding) for finding in found.findings],
    )


def _require_people(found: LabelledSet, config: ActivityIngestConfig) -> None:
    if len(found.people) < config.min_people:
        raise SourceError(
            f"{len(found.people)} people, ingest.min_people asks for {config.min_people}: people are split into parts, "
            "never their windows; bring more people, or lower min_people"
        )
    labelled = np.zeros(len(found.classes), np.int64)
    for one in found.people:
        labelled += np.bincount(one.labels[one.labels != UNLABELLED], minlength=len(found.classes))
        magnitude = float(np.median(np.linalg.norm(one.samples[:: max(1, len(one.samples) // 10_000)], axis=1)))
        if not MAGNITUDE_G[0] <= magnitude <= MAGNITUDE_G[1]:
            raise SourceError(
                f"{one.person}: the median magnitude is {magnitude:.3g}, expected about 1 g "
                f"({MAGNITUDE_G[0]:g} to {MAGNITUDE_G[1]:g}); the values look like another unit: set ingest.found_unit"
            )
    absent = [name for name, count in zip(found.classes, labelled, strict=True) if not count]
    if absent:
        raise SourceError(f"nobody has a sample of {absent}; correct ingest.classes or ingest.labels")


def _facts(one: LabelledRecording, people: LabelledSet) -> dict[str, Any]:
    counts = np.bincount(one.labels[one.labels != UNLABELLED], minlength=len(people.classes))
    return {
        "n_rows": len(one.samples),
        "n_stretches": len(one.stretches),
        "hours": round(len(one.samples) / people.rate_hz / 3600, 3),
        "n_unlabelled": int((one.labels == UNLABELLED).sum()),
        "minutes": {
            name: round(int(count) / people.rate_hz / 60, 2) for name, count in zip(people.classes, counts, strict=True)
        },
    }
