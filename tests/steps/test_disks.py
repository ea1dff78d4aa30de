"""Real disks that are full or can only be read: small ones that the test mounts where nobody else sees them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foresense.config import STEPS
from foresense.signals import tree_sha256
from tests.steps.hall import ONE_MILL

#: As root of a user namespace of its own, which many systems give to everybody, and some to nobody.
ALONE = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    if (
        not shutil.which("unshare")
        or subprocess.run([*ALONE, "mount", "-t", "tmpfs", "x", "/mnt"], check=False).returncode
    ):
        pytest.skip("needs a system where `unshare --map-root-user --mount` may mount")
    root = tmp_path / "project"
    (root / "data" / "raw" / "hall").mkdir(parents=True)
    (root / "data" / "recordings").mkdir()
    times = pd.date_range("2024-01-01", periods=800, freq="h")
    values = np.random.default_rng(0).normal(60, 5, 800)  # noise, which no codec makes much smaller: 6 KiB
    pd.DataFrame({"time": times, "temp_body": values}).to_csv(root / "data" / "raw" / "hall" / "mill.csv", index=False)
    (root / "params.yaml").write_text(json.dumps({"pipelines": {"hall": ONE_MILL}}))
    (root / "code.json").write_text(json.dumps({step: {"steps": "0" * 16} for step in STEPS}))
    return root


def ingest(project: Path) -> str:
    return f"{sys.executable} -m foresense --project {project} ingest hall"


def alone(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ALONE, "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False)


def test_a_full_disk_is_said_and_the_same_command_ends_when_there_is_room(project: Path, tmp_path: Path) -> None:
    disk, copy = project / "data" / "recordings", tmp_path / "copy"
    done = alone(
        f"mount -t tmpfs -o size=4k disk {disk}; {ingest(project)}; echo left $?; ls -A {disk}; "
        f"mount -o remount,size=1m {disk}; {ingest(project)} && cp -r {disk} {copy}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "left 1"
    assert done.stdout.splitlines()[1].startswith("ingest@hall: done"), "something lies on the full disk"
    assert "No space left on device\nThe disk is full: nothing half-written took the place of anything" in done.stderr
    assert "Traceback" not in done.stderr
    undisturbed = alone(ingest(project))
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert tree_sha256(copy / "hall") == tree_sha256(disk / "hall")


def test_a_folder_that_can_only_be_read_is_named(project: Path) -> None:
    disk = project / "data" / "recordings"
    done = alone(f"mount -t tmpfs -o ro disk {disk}; {ingest(project)}")
    assert done.returncode == 1
    assert f"Read-only file system: '{disk}/.hall." in done.stderr
    assert "That folder can only be read: work in a checkout of your own" in done.stderr
    assert not (project / "reports" / "hall" / "ingest.json").exists()
