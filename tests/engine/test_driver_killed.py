"""The driver ends in the middle, however that comes: no worker lives on, and the next start runs what is left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = {"a": "good", "b": "too_short", "c": "gate", "d": "gate", "e": "good", "f": "good"}
DRIVER = Path(__file__).with_name("driver.py")


def request_of(fleet, **settings) -> Path:
    path = fleet.folder / "request.json"
    jobs = [{"assets": job.assets, "digests": job.digests, "arguments": job.arguments} for job in fleet.jobs(KINDS)]
    path.write_text(json.dumps({"jobs": jobs, "settings": settings, "records": str(fleet.records)}))
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_lives_on_and_the_next_start_runs_what_is_left(number, fleet, alive, until) -> None:
    request = request_of(fleet, name="local", workers=2)
    with subprocess.Popen([sys.executable, str(DRIVER), str(request)], stderr=subprocess.PIPE) as driver:
        try:
            until(lambda: len(fleet.running()) == 4, "two workers and their child processes wait at the gate")
            workers = fleet.running()
            assert all(map(alive, workers))
            os.kill(driver.pid, number)
            driver.wait(60)
        finally:
            driver.kill()
    assert driver.returncode == -number
    until(lambda: not any(map(alive, workers)), "every worker has ended, and its child processes")
    fleet.open_gate()
    found = fleet.run("local", KINDS)
    assert {asset for asset, one in found.items() if one.resumed} == {"a", "b"}
    assert {asset: one.status for asset, one in found.items()} == {**dict.fromkeys(KINDS, "success"), "b": "skipped"}
    assert fleet.calls() == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 1, "f": 1}
