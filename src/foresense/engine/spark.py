"""Engine `spark`: one Spark task a job, on a cluster or on this machine (`local[n]`).

Must be on storage that the driver and all workers share, under the same paths: the records folder, and whatever
folders the arguments of jobs name. Code is not: foresense and `modules` are shipped; the interpreter
(`PYSPARK_PYTHON`, else this one's path) with the libraries that they need has to be on every worker.

Outcomes come back through an accumulator, so they arrive with the end of each task while others run, and nothing else
goes through the driver. A Python worker or an executor that dies is Spark's to replace: it starts the task again.
"""

import json
import os
import re
import sys
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresense.config import EngineConfig
from foresense.engine.calling import first_line, legible
from foresense.engine.jobs import Job, Outcome, Work, outcome_from_json
from foresense.engine.plan import Plan, usable_cores
from foresense.engine.ship import shipped
from foresense.engine.spark_task import N_ATTEMPTS, Arrivals, Task, as_text, given_up, run_task

if TYPE_CHECKING:
    from pyspark import SparkContext

#: Address of the master where the section names none.
MASTER = "FORESENSE_SPARK_MASTER"
#: How often the driver looks for outcomes that have arrived, s.
POLL_S = 0.1
#: The last attempt of a task runs nothing: it writes that the others died.
_MAX_FAILURES = N_ATTEMPTS + 1


@contextmanager
def open_spark(settings: EngineConfig, *, n_workers: int | None = None, ui: bool = False) -> "Iterator[SparkContext]":
    """A Spark context for runs in this block; `run_jobs` opens one itself where none is active.

    Args:
        settings: `master`, `workers`, `threads`.
        n_workers: Of a master on this machine (`local`); absent: `workers`, else usable cores divided by `threads`.
        ui: Serve Spark's own page, port 4040 upwards.

    Raises:
        ImportError: PySpark is not installed; names the extra.
    """
    try:
        from pyspark import SparkConf, SparkContext
    except ImportError as error:
        raise ImportError("engine 'spark' needs PySpark: pip install 'foresense[spark]'") from error
    chosen = _options(settings, n_workers, ui)
    context = SparkContext(conf=SparkConf().setAll(list(chosen.items())))
    context.pythonExec = os.environ.get("PYSPARK_PYTHON", sys.executable)
    try:
        yield context
    finally:
        context.stop()


def stream(plan: Plan, found: Iterator[Outcome | Work]) -> Generator[Outcome, None, None]:
    """Run all work as one Spark job in a thread, and give what arrives.

    Where Spark itself gives the job up (its master is gone, say), all that has not arrived is failed.
    """
    jobs: list[Job] = []
    for item in found:
        if isinstance(item, Outcome):
            yield item
        else:
            jobs.append(item.job)
    if not jobs:
        return
    with _context(plan, len(jobs)) as context:
        _ship(context, plan)
        action = _Action(context, plan, jobs)
        try:
            yield from _arriving(action, jobs, plan)
        finally:
            action.cancel()


def _arriving(action: "_Action", jobs: list[Job], plan: Plan) -> Iterator[Outcome]:
    waited_for = {asset for job in jobs for asset in job.assets}
    is_over = False
    while waited_for and not is_over:
        is_over = action.wait(POLL_S)  # first: what arrives later than the end is in `returned`
        for outcome in action.arrived():
            if outcome.asset in waited_for:
                waited_for.remove(outcome.asset)
                yield outcome
    if not waited_for:
        action.wait(None)
        return
    reason = f"Spark gave up: {_said(action.error)}"
    for job in jobs:
        for part in plan.records.left([job]):
            outcomes = given_up(part, reason, plan.records) if isinstance(part, Work) else [part]
            yield from (outcome for outcome in outcomes if outcome.asset in waited_for)


def _said(error: Exception | None) -> str:
    """The line of an error of Spark's that says what happened; the first one names a call of py4j's."""
    if error is None:
        return "no outcome came back"
    lines = [line.lstrip(": ") for line in str(error).splitlines() if line.strip()]
    return legible(lines[1]) if len(lines) > 1 and lines[0].startswith("An error occurred") else first_line(error)


@dataclass
class _Action:
    """A Spark job that runs in a thread, because PySpark's actions come back only when all is done."""

    context: "SparkContext"
    plan: Plan
    jobs: list[Job]
    error: Exception | None = None
    returned: list[str] = field(default_factory=list)
    n_seen: int = 0

    def __post_init__(self) -> None:
        self._group = f"foresense-{uuid.uuid4()}"
        self._accumulator: Any = self.context.accumulator([], Arrivals())  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run, name="engine-spark", daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None) -> bool:
        """Whether the Spark job is over, after waiting so long for that; None: as long as it takes."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def arrived(self) -> Iterator[Outcome]:
        """Outcomes that came since the last call; after the end also those that came with it."""
        texts = self._accumulator.value[self.n_seen :]
        self.n_seen += len(texts)
        for text in [*texts, *self.returned]:
            yield outcome_from_json(json.loads(text))

    def cancel(self) -> None:
        """End what still runs, and wait for it."""
        if self._thread.is_alive():
            self.context.cancelJobGroup(self._group)
            self._thread.join()

    def _run(self) -> None:
        task = Task(self.plan.function, self.plan.limits, str(self.plan.records.folder))
        texts = [as_text(job) for job in self.jobs]
        try:
            self.context.setJobGroup(self._group, f"{len(texts)} jobs of {task.function}", interruptOnCancel=True)
            tasks = self.context.parallelize(texts, len(texts))
            self.returned = tasks.mapPartitions(partial(run_task, task, arrivals=self._accumulator)).collect()
        except Exception as error:  # what Spark raises for a job that it gives up has many kinds
            self.error = error


@contextmanager
def _context(plan: Plan, n_jobs: int) -> "Iterator[SparkContext]":
    """The active context where there is one, else one for this run.

    Raises:
        ValueError: the active one belongs to another master than the settings name.
    """
    active = _active()
    if active is None:
        with open_spark(plan.settings, n_workers=min(plan.n_workers, n_jobs)) as context:
            yield context
        return
    asked = plan.settings.master
    if asked is not None and active.master not in (asked, _trying_again(asked)):
        raise ValueError(
            f"engine.master is {asked!r}, but the active Spark context has {active.master!r}; stop that one, or leave "
            "engine.master out"
        )
    yield active


def _active() -> "SparkContext | None":
    try:
        from pyspark import SparkContext
    except ImportError:  # `open_spark` says what to install
        return None
    found: SparkContext | None = SparkContext._active_spark_context
    return found


def _options(settings: EngineConfig, n_workers: int | None, ui: bool) -> dict[str, str]:
    """Settings of a Spark context."""
    n_local = n_workers or settings.workers or max(1, usable_cores() // settings.threads)
    asked = settings.master or os.environ.get(MASTER) or f"local[{n_local * settings.threads}]"
    master = _trying_again(asked)
    options = {
        "spark.app.name": "foresense",
        "spark.master": master,
        "spark.python.worker.reuse": "true",  # a worker process of the engine is kept as long as its Python worker
        "spark.speculation": "false",  # two tasks at once would write the same files
        "spark.task.maxFailures": str(_MAX_FAILURES),
        "spark.task.cpus": str(settings.threads),
        "spark.locality.wait": "0s",
        "spark.ui.enabled": str(ui).lower(),
        "spark.ui.showConsoleProgress": "false",
    }
    if master.startswith("local") or "//127.0.0.1" in master or "//localhost" in master:
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if not master.startswith("local") and settings.workers is not None:
        options["spark.cores.max"] = str(settings.workers * settings.threads)
    return options


def _trying_again(master: str) -> str:
    """The same master; `local[n]` with a number of failures, without which it starts no task again."""
    found = re.fullmatch(r"local(?:\[(\d+|\*)\])?", master)
    return f"local[{found[1] or 1},{_MAX_FAILURES}]" if found else master


def _ship(context: "SparkContext", plan: Plan) -> None:
    """Give foresense and the modules of the plan to all workers, those that come later included.

    Spark reads the files whenever an executor asks for them: they stay as long as the context.
    """
    folder = Path(context._temp_dir)
    for module in (Path(__file__).parents[1], *plan.modules):
        path = shipped(module, folder)
        if path.name not in {Path(known).name for known in context.listFiles}:
            context.addPyFile(str(path))
