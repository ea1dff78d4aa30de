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
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(SOURCES), *([inherited] if inherited else [])])

    def work(request: dict[str, Any]) -> dict[str, Any]:
        filled = {**request, "artefact": str(artefact.resolve()), "windows": str(windows.resolve())}
        done = subprocess.run(
            [sys.executable, "-m", "foresense.bench.worker"],
            input=json.dumps(filled),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env={**os.environ, "PYTHONPATH": path, "FORESENSE_SPAWNED_S": repr(time.time())},
        )
        return read_answer(f"{device.name}: {request['file']}", done.returncode, done.stdout, done.stderr)

    yield work
