"""A driver of its own: `driver.py <request>`, JSON with what to run; prints an outcome a line."""

import json
import signal
import sys
from pathlib import Path

from foresense.config import EngineConfig
from foresense.engine import Job, run_jobs

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests themselves run in the background
    request = json.loads(Path(sys.argv[1]).read_text())
    outcomes = run_jobs(
        "fleet_functions:act",
        [Job(tuple(job["assets"]), tuple(job["digests"]), job["arguments"]) for job in request["jobs"]],
        settings=EngineConfig(**request["settings"]),
        records=Path(request["records"]),
        modules=[Path(__file__).with_name("fleet_functions.py")],
    )
    for outcome in outcomes:
        sys.stdout.write(json.dumps(outcome.as_json()) + "\n")
        sys.stdout.flush()
