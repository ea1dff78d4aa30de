"""Engine `here`: in this process, one job after the other, no limits; for debugging and for a single group."""

import os
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path

from foresense.engine.calling import answers, find, first_line
from foresense.engine.jobs import Job, Outcome, Work
from foresense.engine.perform import perform
from foresense.engine.plan import Plan
from foresense.engine.supervise import Answer
from foresense.engine.worker import forget_peak, peak_mib


class Here:
    """Calls functions in this process; what they print goes where this process prints."""

    catches_output = False

    def run(self, function: str, job: Job, written: Path) -> Answer:
        """Call the function; where it raises, the traceback goes to `written`."""
        worker = f"{socket.gethostname()}/{os.getpid()}"
        forget_peak()
        began = time.monotonic()
        try:
            found = answers(find(function), job.assets, job.arguments)
        except Exception as error:  # whatever a function raises is an outcome
            seconds = time.monotonic() - began
            written.write_text(traceback.format_exc(), errors="backslashreplace")
            return Answer({}, first_line(error), seconds, peak_mib(), worker)
        return Answer(found, None, time.monotonic() - began, peak_mib(), worker)


def stream(plan: Plan, found: Iterator[Outcome | Work]) -> Generator[Outcome, None, None]:
    """Run one job after the other."""
    runner = Here()
    for module in plan.modules:
        if (folder := str(module.absolute().parent)) not in sys.path:
            sys.path.append(folder)
    for item in found:
        if isinstance(item, Outcome):
            yield item
            continue
        waiting = deque([item])
        while waiting:
            outcomes, apart = perform(runner, plan.function, waiting.popleft(), plan.records)
            waiting.extend(apart)
            yield from outcomes
