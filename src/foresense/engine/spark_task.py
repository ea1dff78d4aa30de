"""The part of engine `spark` that runs on Spark's workers: one task, one job, in a supervised process of its own.

Spark's Python worker calls no function itself: it keeps one worker process of the engine, as engine `local` does, so a
crash, a hang or a memory hog ends that process and never the Python worker.
"""

import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foresense.engine.jobs import Job, Outcome, Work
from foresense.engine.perform import perform
from foresense.engine.records import Records
from foresense.engine.ship import extra_places, unpacked
from foresense.engine.supervise import Limits, Supervised

#: A task whose Python worker or executor dies so often is given up, so that one job cannot end the whole Spark job.
N_ATTEMPTS = 3


@dataclass(frozen=True)
class Task:
    """What every task of a run knows."""

    function: str
    limits: Limits
    records: str  # the folder, on storage that all workers share


class Arrivals:
    """Spark accumulator of outcomes: how they come back, with the end of each task, while others run."""

    def zero(self, value: list[str]) -> list[str]:
        """What a task begins with."""
        return []

    def addInPlace(self, value: list[str], added: list[str]) -> list[str]:  # noqa: N802 (Spark's name)
        """Outcomes of one more task."""
        value.extend(added)
        return value


def as_text(job: Job) -> str:
    """A job as JSON, for the way to a task."""
    content = {"assets": job.assets, "digests": job.digests, "arguments": job.arguments}
    return json.dumps(content, allow_nan=False)


def run_task(task: Task, texts: Iterable[str], arrivals: Any) -> Iterator[str]:
    """Run the work of one task, and give its outcomes as JSON.

    A task that Spark starts again finds what its forerunner has finished in the records, and does not run it again.

    Args:
        task: Of this run.
        texts: The jobs of one partition, each as `as_text` wrote it.
        arrivals: The accumulator; Spark hands over what a task added when it has succeeded.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    attempt = context.attemptNumber() if context is not None else 0
    for text in texts:
        content = json.loads(text)
        job = Job(tuple(content["assets"]), tuple(content["digests"]), content["arguments"])
        for outcome in _outcomes(task, job, attempt):
            told = json.dumps(outcome.as_json())
            arrivals.add([told])
            yield told


def _outcomes(task: Task, job: Job, attempt: int) -> Iterator[Outcome]:
    records = Records(Path(task.records))
    for item in records.left([job]):
        if isinstance(item, Outcome):
            yield replace(item, resumed=False)  # finished by an earlier attempt, in this start
        elif attempt >= N_ATTEMPTS:
            yield from given_up(item, f"its Spark worker died {attempt} times", records)
        else:
            waiting = deque([item])
            while waiting:
                outcomes, apart = perform(_worker(task.limits), task.function, waiting.popleft(), records)
                waiting.extend(apart)
                yield from outcomes


def given_up(work: Work, reason: str, records: Records) -> Iterator[Outcome]:
    """Failed outcomes, with their records, of work that did not come to an end."""
    for asset, digest, tries in zip(work.job.assets, work.job.digests, work.tries, strict=True):
        outcome = Outcome(asset, digest, "failed", reason, None, 0.0, 0.0, tries + 1, "spark", {})
        records.write(outcome)
        yield outcome


class _Kept:
    """The worker process of this Python worker, kept from task to task."""

    made_for: tuple[Limits, tuple[str, ...]] | None = None
    worker: Supervised | None = None


def _worker(limits: Limits) -> Supervised:
    made_for = limits, tuple(sys.path)  # a later run may have shipped another module
    if _Kept.worker is None or _Kept.made_for != made_for:
        if _Kept.worker is not None:
            _Kept.worker.close()
        _Kept.worker, _Kept.made_for = Supervised(limits, _module_path()), made_for
    return _Kept.worker


def _module_path() -> list[str]:
    """Where Spark's Python worker finds modules; what was shipped as a zip is unpacked first, once a worker."""
    from pyspark import SparkFiles

    root = Path(SparkFiles.getRootDirectory()).absolute()
    own = Path(tempfile.mkdtemp(prefix="modules-", dir=root))  # goes with Spark's own folder
    places: list[Path] = []
    for place in extra_places():
        is_shipped = place.parent == root and place.suffix == ".zip"
        places.append(unpacked(place, own) if is_shipped else place)
    return list(dict.fromkeys(map(str, places)))
