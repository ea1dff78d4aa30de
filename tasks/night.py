"""The Prefect tasks of a night beside the six steps: each runs one command and publishes its record."""

import json
import subprocess
import sys
from collections import deque
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from foresense.config import PipelineConfig, read_any, read_stages
from foresense.steps.run import stream
from tasks.publish import key_of
from tasks.reproduce import BUSY, ROOT, StepFailedError, StoreBusyError
from tasks.stages import patient
from tasks.worker import end_with_worker

DVC = (sys.executable, "-m", "dvc")
FORESENSE = (sys.executable, "-m", "foresense")
#: Gibibytes that MLflow's artifacts and DVC's cache may take together after a night.
KEEP_GIB = 50
#: A scheduled run that begins so much later was missed, and the next one does its work.
MAX_LATE_H = 12


def forecasts(pipeline: str) -> bool:
    """Whether a pipeline forecasts; the others have no drift watch and no machines at risk.

    Raises:
        ConfigError: params.yaml has no such pipeline, or problems.
    """
    return isinstance(read_any(ROOT / "params.yaml", pipeline), PipelineConfig)


@patient("watch")
def watch(pipeline: str) -> None:
    """Check the newest data and the drift against each champion's training data."""
    call(*FORESENSE, "night", "watch", pipeline)
    found = newest(pipeline, "drift.json")
    rows = [
        {
            "machine": asset,
            "champion": one["champion"],
            "moved": ", ".join(one["moved"]),
            "alarm": ", ".join(one["alarm"]),
        }
        for asset, one in found["assets"].items()
    ]
    create_table_artifact(
        key=key_of(pipeline, "drift"), table=rows, description=f"Drift of {pipeline}, {found['night']}"
    )


@patient("promote")
def promote(pipeline: str) -> None:
    """Register what was trained, compare challengers with champions, promote on evidence."""
    call(*FORESENSE, "night", "promote", pipeline)
    found = newest(pipeline, "decisions.json")
    create_table_artifact(
        key=key_of(pipeline, "promotion"),
        table=found["assets"],
        description=f"Decisions of {pipeline}, {found['night']}",
    )


@patient("forecast")
def forecast(pipeline: str) -> None:
    """Forecast every machine with its champion, and record which are at risk."""
    call(*FORESENSE, "forecast", pipeline)


@patient("page")
def write_page(pipeline: str) -> None:
    """Write the page of the night."""
    lines = call(*FORESENSE, "night", "page", pipeline)
    create_markdown_artifact(
        key=key_of(pipeline, "night"),
        markdown=f"The page of the night: `{lines[-1]}`",
        description=f"Night of {pipeline}",
    )


@patient("save")
def save_night(pipeline: str) -> None:
    """Save the night as a DVC experiment; push it, and its data and weights, where there is a remote for them."""
    night = newest(pipeline, "decisions.json")["night"]
    name = f"night-{night}-{pipeline}"
    message = f"night of {pipeline}, {date.fromisoformat(night)}"
    # Without its stages DVC wants the outputs of every pipeline to be here, also of those that nobody has run.
    stages = [f"{step}@{pipeline}" for step, names in read_stages(ROOT / "params.yaml").items() if pipeline in names]
    call(*DVC, "exp", "save", "--force", "--name", name, "--message", message, *stages)
    log = get_run_logger().info
    if _lines("git", "remote"):
        call(*DVC, "exp", "push", "--no-cache", _lines("git", "remote")[0], name)
    else:
        log("%s stays on this machine: git has no remote", name)
    if _lines(*DVC, "remote", "list"):
        call(*DVC, "push", "--quiet")
    else:
        log("data and weights stay on this machine: DVC has no remote (dvc remote add --default ...)")


@patient("collect")
def collect(pipeline: str) -> None:
    """Keep MLflow's artifacts and DVC's cache within the disk budget."""
    call(*FORESENSE, "gc", "--keep-gib", str(KEEP_GIB))


@patient("forget")
def forget_trainings(pipeline: str) -> None:
    """Forget what earlier nights trained."""
    call(*FORESENSE, "night", "forget", pipeline)


def missed() -> State[None] | None:
    """The state of a run whose time is long over, because no worker ran then; None for every other run."""
    planned = flow_run.scheduled_start_time
    late_h = (datetime.now(UTC) - planned).total_seconds() / 3600
    if late_h <= MAX_LATE_H:
        return None
    return Cancelled(
        message=f"planned for {planned:%Y-%m-%d %H:%M} UTC, {late_h:.0f} h ago: a missed night is not made up for"
    )


def call(*command: str) -> list[str]:
    """Run a command that ends with this process; its lines go to the log of the run.

    Returns:
        Its last lines.

    Raises:
        StoreBusyError: somebody else holds a lock.
        StepFailedError: it failed; with its last lines.
    """
    end_with_worker()
    log, tail = get_run_logger().info, deque[str](maxlen=30)

    def hear(line: str) -> None:
        if line.strip():
            tail.append(line)
            log(line)

    code = stream(list(command), ROOT, hear)
    words = " ".join(command[2:])
    if code == 0:
        return list(tail)
    if any(mark in line for line in tail for mark in BUSY):
        raise StoreBusyError(f"{words}: {tail[-1]}")
    raise StepFailedError(f"{words} failed with exit code {code}; its last lines:\n" + "\n".join(tail))


def newest(pipeline: str, file: str, project: Path = ROOT) -> dict[str, Any]:
    """The newest night's record of that name."""
    found = sorted((project / "nights" / pipeline).glob(f"*/{file}"))
    content: dict[str, Any] = json.loads(found[-1].read_text())
    return content


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()
