import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import os, time
from tasks.worker import end_with_worker
end_with_worker()
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("started_by_worker", "outlives"), [(True, False), (False, True)])
def test_a_run_ends_with_its_worker_and_not_with_a_shell(started_by_worker: bool, outlives: bool) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    env.pop("PREFECT__FLOW_RUN_ID", None)
    if started_by_worker:
        env["PREFECT__FLOW_RUN_ID"] = "1"
    start = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {CHILD!r}]); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", start], env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + (3 if outlives else 30)
        while child.is_running() and child.status() != "zombie" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (child.is_running() and child.status() != "zombie") is outlives
        if outlives:
            child.kill()
