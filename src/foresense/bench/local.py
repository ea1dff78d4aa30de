"""This machine: one fresh Python process per request."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foresense.bench.reach import TIMEOUT_S, Work, read_answer
from foresense.config import DeviceConfig

SOURCES = Path(__file__).parents[2]  # the folder that holds the package, wherever it is installed


@contextmanager
def session(device: DeviceConfig, artefact: Path, windows: Path) -> Iterator[Work]:
    """Run requests here; nothing is copied."""
    places = {"artefact": str(artefact.resolve()), "windows": str(windows.resolve())}
    yield lambda request: run_worker("foresense.bench.worker", {**request, **places}, device=device.name)


def run_worker(module: str, request: dict[str, Any], *, device: str = "host") -> dict[str, Any]:
    """What a fresh process of this machine answers to one request.

    Args:
        module: What it runs, as `foresense.bench.worker`.
        request: With `file`; everything else is the worker's.
        device: Name of this machine, for the message.

    Raises:
        WorkerError: the process failed; the message has its last lines.
    """
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(SOURCES), *([inherited] if inherited else [])])
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": path, "FORESENSE_SPAWNED_S": repr(time.time())},
    )
    return read_answer(f"{device}: {request['file']}", done.returncode, done.stdout, done.stderr)
