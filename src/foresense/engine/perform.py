"""One call and what follows from it: outcomes with their records and logs, or work taken apart."""

import logging
from pathlib import Path
from typing import Protocol

from foresense.engine.jobs import Job, Outcome, Work, shown
from foresense.engine.records import Records
from foresense.engine.supervise import Answer

log = logging.getLogger(__name__)


class Runner(Protocol):
    """Where a function is called."""

    @property
    def catches_output(self) -> bool:
        """Whether all that is printed goes to the log of the job."""

    def run(self, function: str, job: Job, written: Path) -> Answer:
        """Call the function; what is caught of its output goes to the end of `written`."""


def perform(runner: Runner, function: str, work: Work, records: Records) -> tuple[list[Outcome], tuple[Work, ...]]:
    """Run one job.

    Returns:
        Outcomes, each on the disk already, and no work; or no outcome and the work in single assets, when a job of
        several gave nothing.
    """
    job = work.job
    written = records.new_log()
    answer = runner.run(function, job, written)
    if answer.error is not None and len(job.assets) > 1:
        log.info("job of %s gave nothing, each asset is tried alone: %s", shown(job.assets), answer.error)
        written.unlink()
        return [], work.apart()
    if has_log := runner.catches_output or written.stat().st_size > 0:
        records.keep_log(written, job.assets)
    else:
        records.drop_log(written, job.assets)
    outcomes = [
        _outcome(answer, asset, digest, tries + 1, str(records.log_path(asset)) if has_log else None, len(job.assets))
        for asset, digest, tries in zip(job.assets, job.digests, work.tries, strict=True)
    ]
    for outcome in outcomes:
        records.write(outcome)
    return outcomes, ()


def _outcome(answer: Answer, asset: str, digest: str, n_tries: int, log_path: str | None, n_assets: int) -> Outcome:
    found = answer.answers.get(asset, {"status": "failed", "reason": answer.error, "result": {}})
    return Outcome(
        asset=asset,
        digest=digest,
        status=found["status"],
        reason=found["reason"],
        log=log_path,
        seconds=answer.seconds / n_assets,
        peak_rss_mib=answer.peak_rss_mib,
        n_tries=n_tries,
        worker=answer.worker,
        result=found["result"],
    )
