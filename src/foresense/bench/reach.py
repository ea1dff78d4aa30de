"""Ways of reaching a device: each gives a function that runs one request in a fresh process there."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from foresense.config import DeviceConfig

#: Runs one request of `bench.worker` in a fresh process and gives its answer; artefact and windows are filled in.
Work = Callable[[dict[str, Any]], dict[str, Any]]
Session = Callable[[DeviceConfig, Path, Path], AbstractContextManager[Work]]

#: `reach` of a device -> "module:function"; the function takes (device, artefact, windows).
REACHES: dict[str, str] = {
    "local": "foresense.bench.local:session",
    "ssh": "foresense.bench.ssh:session",
}

TIMEOUT_S = 3600


class WorkerError(RuntimeError):
    """A measuring process failed; the message has its last lines."""


def open_session(device: DeviceConfig, artefact: Path, windows: Path) -> AbstractContextManager[Work]:
    """Bring what is measured to the device, for the length of a `with` block.

    Args:
        device: Where to measure.
        artefact: `exports/<pipeline>/<group>`.
        windows: `data/windows/<pipeline>/<group>`.
    """
    module, _, function = REACHES[device.reach].partition(":")
    session: Session = getattr(import_module(module), function)
    return session(device, artefact, windows)


def why_not_measured(device: DeviceConfig) -> str | None:
    """The reason why nothing can be measured on the device, or None."""
    if device.reach == "ssh" and not device.host:
        return f"not measured: no host set in devices/{device.name}.yaml"
    return None


def read_answer(what: str, returncode: int, stdout: str, stderr: str) -> dict[str, Any]:
    """The worker's last line as a dictionary.

    Raises:
        WorkerError: the process failed or said something else.
    """
    lines = stdout.strip().splitlines()
    if returncode == 0 and lines:
        try:
            content = json.loads(lines[-1])
        except json.JSONDecodeError:
            content = None
        if isinstance(content, dict):
            return content
    tail = "\n".join((stderr.strip() or stdout.strip() or "it printed nothing").splitlines()[-8:])
    raise WorkerError(f"{what}: exit code {returncode}, expected 0 and one line of JSON; last lines:\n{tail}")
