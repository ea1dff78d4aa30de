"""One Prefect task per step: brings that step's DVC stage up to date, upstream included, and publishes its report."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, get_run_logger, task

from tasks.publish import publish
from tasks.reproduce import StoreBusyError, judge_gates, reproduce
from tasks.worker import end_with_worker

P = ParamSpec("P")
R = TypeVar("R")


def only_when_busy(_task: object, _run: object, state: Any) -> bool:
    """Retry when another DVC command holds a lock; every other failure would fail again."""
    return isinstance(state.result(raise_on_failure=False), StoreBusyError)


def patient(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """The policy of every step and of every word of a night: its name, and patience with locks."""
    return task(
        name=name,
        task_run_name=f"{name}@{{pipeline}}",
        retries=10,
        retry_delay_seconds=[1, 2, 4, 8],
        retry_jitter_factor=0.5,
        retry_condition_fn=only_when_busy,
    )


def _run(name: str, pipeline: str, *, afresh: bool = False) -> str:
    end_with_worker()
    outcome = reproduce(name, pipeline, get_run_logger().info, afresh=afresh)
    if outcome != "not used":
        publish(name, pipeline)
    return outcome


@patient("ingest")
def ingest(pipeline: str) -> str:
    """Fetch, check and lay recordings on one rate."""
    return _run("ingest", pipeline)


@patient("window")
def window(pipeline: str) -> str:
    """Split, scale and index windows."""
    return _run("window", pipeline)


@patient("features")
def extract_features(pipeline: str) -> str:
    """Compute named features of every window."""
    return _run("features", pipeline)


@patient("train")
def train(pipeline: str, afresh: bool = False) -> str:
    """Train the candidates and compare the best with its baselines; `afresh` also when nothing has changed."""
    return _run("train", pipeline, afresh=afresh)


@patient("export")
def export(pipeline: str) -> str:
    """Write every format and the artefact."""
    return _run("export", pipeline)


@patient("benchmark")
def benchmark(pipeline: str) -> str:
    """Measure the artefact and judge the gates."""
    return _run("benchmark", pipeline)


@task(name="judge", task_run_name="judge@{pipeline}")
def judge(pipeline: str) -> None:
    """Fail when a gate of the pipeline failed or has no verdict, so that a bad model is never promoted."""
    judge_gates(pipeline)
