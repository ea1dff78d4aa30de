"""End a flow run with the worker that started it: after `kill -9` of a worker its engine runs on, unnoticed."""

import os
import signal
import threading
import time

POLL_S = 1.0
PATIENCE_S = 20.0
#: Set by a worker in the process of a flow run; a run from somebody's own shell may outlive that shell.
MARK = "PREFECT__FLOW_RUN_ID"

_watched = threading.Event()


def end_with_worker() -> None:
    """Watch the worker, where there is one; when it is gone, end this process, and with it DVC and the step."""
    if MARK not in os.environ or _watched.is_set():
        return
    _watched.set()
    threading.Thread(target=_watch, args=(os.getppid(),), name="end-with-worker", daemon=True).start()


def _watch(worker: int) -> None:
    while os.getppid() == worker:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)  # Prefect ends the run in order, and the task its process group
    time.sleep(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)  # DVC and the step follow by themselves (foresense.steps.process)
