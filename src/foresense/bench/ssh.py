"""A device behind ssh: worker, artefact and test windows are copied into a temporary folder there, and removed after.

The device needs python3 with numpy and the runtime of the formats that its YAML lists; nothing of this project.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foresense.bench import worker
from foresense.bench.openssh import options, python_of
from foresense.bench.reach import TIMEOUT_S, Work, WorkerError, read_answer
from foresense.config import DeviceConfig
from foresense.export import predict

#: What the worker reads of a group's windows.
WINDOW_FILES = ("index.json", "samples.npy", "starts_test.npy")
REMOTE_FOLDER = re.compile(r"/[\w./-]*foresense\.\w+")


@contextmanager
def session(device: DeviceConfig, artefact: Path, windows: Path) -> Iterator[Work]:
    """Copy once, run many requests, clean up.

    Raises:
        WorkerError: the device cannot be reached, or a copy or request fails there.
    """
    host = device.host
    if not host or host.startswith("-"):
        raise WorkerError(f"{device.name}: no usable host in devices/{device.name}.yaml, found {host!r}")
    folder = _ssh(device, host, "mktemp -d -t foresense.XXXXXX").strip()
    if not REMOTE_FOLDER.fullmatch(folder):
        raise WorkerError(f"{device.name}: mktemp answered {folder!r}, expected a path such as /tmp/foresense.a1b2c3")
    try:
        # a package of its own, so that the worker runs as it does here even where the project is installed
        rooms = "foresense/__init__.py foresense/bench/__init__.py foresense/export/__init__.py"
        folders = "artefact windows foresense/bench foresense/export"
        _ssh(device, host, f"cd {folder} && mkdir -p {folders} && touch {rooms}")
        _scp(device, host, [Path(worker.__file__)], f"{folder}/foresense/bench/")
        _scp(device, host, [Path(predict.__file__)], f"{folder}/foresense/export/")
        _scp(device, host, sorted(path for path in artefact.iterdir() if path.is_file()), f"{folder}/artefact/")
        _scp(device, host, [windows / name for name in WINDOW_FILES], f"{folder}/windows/")

        def work(request: dict[str, Any]) -> dict[str, Any]:
            filled = {**request, "artefact": f"{folder}/artefact", "windows": f"{folder}/windows"}
            python = python_of(device)
            command = f"cd {folder} && FORESENSE_SPAWNED_S=$(date +%s.%N) {python} -m foresense.bench.worker"
            done = _run(["ssh", *options(device), host, command], json.dumps(filled))
            return read_answer(f"{device.name}: {request['file']}", done.returncode, done.stdout, done.stderr)

        yield work
    finally:
        _run(["ssh", *options(device), host, f"rm -rf {shlex.quote(folder)}"], "")


def _ssh(device: DeviceConfig, host: str, command: str) -> str:
    return _checked(device, f"ssh {host}", ["ssh", *options(device), host, command])


def _scp(device: DeviceConfig, host: str, files: list[Path], target: str) -> None:
    _checked(device, f"scp to {host}", ["scp", "-q", *options(device), *map(str, files), f"{host}:{target}"])


def _checked(device: DeviceConfig, what: str, words: list[str]) -> str:
    done = _run(words, "")
    if done.returncode:
        tail = " ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise WorkerError(f"{device.name}: {what} failed with exit code {done.returncode}: {tail}")
    return done.stdout


def _run(words: list[str], text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except FileNotFoundError as error:
        raise WorkerError(f"{words[0]}: no such program; install an OpenSSH client to reach devices") from error
