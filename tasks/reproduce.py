"""Run one DVC stage and say what came of it; knows nothing of Prefect."""

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from foresense.config import read_any
from foresense.steps.report import Overview, pipeline_overview
from foresense.steps.run import AFRESH, fetch_raw_of, reads_a_store, steps_of, stream

ROOT = Path(__file__).resolve().parents[1]
#: What DVC 3.67.1, and a step itself, say when somebody else holds a lock; DVC's exit code is 255 for everything.
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock", "is running already, in process")
#: What the source `store` says when the store gives no answer (foresense.sources.store).
AWAY = "the store is away: "


class StoreBusyError(RuntimeError):
    """Another DVC command holds a lock that this stage needs, or the store does not answer; worth a retry."""


class StepFailedError(RuntimeError):
    """The step's own process failed; a retry would fail again."""


class GateFailedError(RuntimeError):
    """The pipeline ran, and what it made is not good enough, or nobody knows."""


def reproduce(
    step: str, pipeline: str, echo: Callable[[str], object], project: Path = ROOT, *, afresh: bool = False
) -> str:
    """Bring the stage `<step>@<pipeline>` and all that it needs up to date.

    Args:
        step: Name of the step.
        pipeline: Name of the pipeline.
        echo: Receives each line of DVC and of the step when it is printed.
        project: The checkout.
        afresh: Run the step although nothing has changed; what it needs must be up to date.

    Returns:
        `ran`, `up to date`, or `not used` where the pipeline has no such step.

    Raises:
        StoreBusyError: somebody else holds a lock, or the store does not answer.
        StepFailedError: the step failed; with its last lines.
    """
    steps = steps_of(project, pipeline)
    if step not in steps:
        return "not used"
    forced: tuple[str, ...] = AFRESH if afresh else ()
    if step == "ingest":
        fetch_raw_of(project, pipeline)
        forced = AFRESH if reads_a_store(read_any(project / "params.yaml", pipeline)) else forced
    stage = f"{step}@{pipeline}"
    if not forced and _looks_current(step, pipeline, steps, project):
        echo(f"{stage} and all that it needs are up to date")
        return "up to date"
    tail: deque[str] = deque(maxlen=30)
    seen: set[str] = set()

    def hear(line: str) -> None:
        if line.strip():
            tail.append(line)
            seen.update({line} if stage in line else ())
            echo(line)

    code = stream([sys.executable, "-m", "dvc", "repro", *forced, stage], project, hear)
    text = "\n".join(tail)
    if code == 0:
        return "up to date" if f"Stage '{stage}' didn't change, skipping" in seen else "ran"
    if any(mark in text for mark in (*BUSY, AWAY)):
        raise StoreBusyError(f"{stage}: {tail[-1]}")
    raise StepFailedError(f"{stage} failed with exit code {code}; its last lines:\n{text}")


#: Pipelines of this process all of whose stages were current at their first step; a look costs up to a second.
_all_current: set[tuple[Path, str]] = set()


def _looks_current(step: str, pipeline: str, steps: tuple[str, ...], project: Path) -> bool:
    """Whether nothing is to do for `step`; the first look of a run (the one after a forced reading) is at all steps."""
    key, first = (project, pipeline), steps[0]
    reads_anew = first == "ingest" and reads_a_store(read_any(project / "params.yaml", pipeline))
    if step == steps[1 if reads_anew and len(steps) > 1 else 0]:
        _all_current.discard(key)
        if is_current(f"{steps[-1]}@{pipeline}", project):
            _all_current.add(key)
    return key in _all_current or is_current(f"{step}@{pipeline}", project)


def is_current(stage: str, project: Path = ROOT) -> bool:
    """Whether DVC finds nothing to do for `stage` and all that it needs; looks and changes nothing.

    Asked in this process: starting DVC takes 2 s, and a flow asks six times. Whatever keeps DVC from an answer (a lock,
    a broken file) is left to `dvc repro`, which then tells it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    in_the_project = {"core": {"site_cache_dir": str(project / ".dvc-site")}}  # .dvc/config says it from the root
    try:
        with Repo(str(project), config=in_the_project) as repo:
            return not repo.status(targets=[f"{project / 'dvc.yaml'}:{stage}"], with_deps=True)
    except DvcException:
        return False


def judge_gates(pipeline: str, project: Path = ROOT) -> Overview:
    """Look at every gate of `pipeline`.

    Raises:
        GateFailedError: one failed, or has no verdict; the message has a line for each with target and value, or why.
        ConfigError: params.yaml has no such pipeline, or problems.
        FileNotFoundError: the pipeline has no report yet.
    """
    found = pipeline_overview(project, pipeline)
    lines = [
        f"{gate.name}: {gate.value:.4g} {gate.unit}, asked {gate.comparison} {gate.target:g} ({step})"
        for step, gate in found.gates
        if not gate.passed
    ]
    unjudged = [f"{name}: {reason}" for name, reason in found.unjudged.items()]
    if lines or unjudged:
        failed = [f"{pipeline}: {len(lines)} gate(s) failed", *lines] if lines else []
        raise GateFailedError("\n".join([*failed, *([f"{pipeline}: not judged", *unjudged] if unjudged else [])]))
    return found
