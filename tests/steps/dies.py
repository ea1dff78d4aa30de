"""Ends steps at every write, one death after another, and looks at what the next run makes of it; prints JSON.

`python dies.py <empty folder> <every how many writes>`: a process of its own, as it forks, and the deaths are SIGKILLs.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foresense.config import STEPS, PipelineConfig
from foresense.signals import Layout, tree_sha256
from foresense.steps.frame import StepRun
from foresense.steps.run import run_step

CHANNELS = [{"name": "temp_body", "unit": "Cel"}, {"name": "current", "unit": "A"}]
CONFIG = PipelineConfig.model_validate(
    {
        "description": "two machines",
        "ingest": {"source": "csv", "raw": "hall", "time_column": "time", "channels": CHANNELS},
        "window": {"context": 24, "horizon": 6},
        "features": {"stride": 24},
        "train": {"candidates": {"only": {}}},
        "export": {},
        "benchmark": {},
    }
)
#: What Python tells an audit hook before it changes a folder (docs.python.org/3/library/audit_events.html).
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree")


def is_write(event: str, arguments: tuple[Any, ...]) -> bool:
    return event in CHANGES or (event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)))


def in_child(work: Callable[..., object], *arguments: object, **named: object) -> int:
    """Exit code of a forked child that does `work(*arguments, **named)`; -9 where it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(*arguments, **named)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(root: Path, step: str, *, dies_at: int | None = None, count: Path | None = None) -> None:
    n = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n
        if is_write(event, arguments):
            n += 1
            if n == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    run_step(StepRun(step=step, pipeline="hall", layout=Layout(root, root)), CONFIG)
    if count is not None:
        count.write_text(str(n))


def made(root: Path) -> dict[str, str]:
    """Digest of each folder that steps have written, and the reports without what a clock says."""
    paths = Layout(root, root).of("hall")
    folders = {"ingest": paths.recordings, "window": paths.windows, "features": paths.features}
    found = {
        step: tree_sha256(folder) if any(path.is_file() for path in folder.rglob("*")) else "empty"
        for step, folder in folders.items()
        if folder.is_dir()
    }
    for path in paths.reports.glob("*.json"):
        report = json.loads(path.read_text())
        for name in ("created_utc", "duration_s", "peak_rss_mib", "environment", "ms_per_window", "git_dirty"):
            report.pop(name, None)
        found[path.name] = json.dumps(report, sort_keys=True)
    return found


def left_over(root: Path) -> list[str]:
    hidden = [path for path in root.rglob(".*") if path.name != ".foresense"]
    return sorted(path.relative_to(root).as_posix() for path in hidden)


def project(root: Path) -> None:
    (root / "data" / "raw" / "hall").mkdir(parents=True)
    hours = pd.date_range("2024-01-01", periods=400, freq="h")
    for name in ("lathe", "mill"):
        values = {"temp_body": 60 + 5 * np.sin(np.arange(400) / 4), "current": np.arange(400) % 12.0}
        pd.DataFrame({"time": hours, **values}).to_csv(root / "data" / "raw" / "hall" / f"{name}.csv", index=False)
    (root / "code.json").write_text(json.dumps({step: {"steps": "0" * 16} for step in STEPS}))


def deaths(root: Path, base: Path, step: str, expected: dict[str, str], every: int) -> list[dict[str, Any]]:
    """Die at every `every`th write of `step` in copies of `base`; run it again, and compare with `expected`."""
    counted = root / "counted"
    shutil.copytree(base, counted)
    assert in_child(run, counted, step, count=root / "count") == 0, step
    shutil.rmtree(counted)
    rows = []
    for dies_at in range(1, int((root / "count").read_text()) + 1, every):
        broken = root / "broken"
        shutil.copytree(base, broken)
        code = in_child(run, broken, step, dies_at=dies_at)
        seen = made(broken)
        again = in_child(run, broken, step)
        rows.append(
            {
                "step": step,
                "killed": code == -signal.SIGKILL,
                "half": [name for name, digest in seen.items() if digest != expected[name]],
                "again": again,
                "equal": made(broken) == expected,
                "left_over": left_over(broken),
            }
        )
        shutil.rmtree(broken)
    return rows


def main(root: Path, every: int) -> None:
    """Each step on its own, first where it has written nothing yet, then over what an earlier run wrote."""
    before, rows = root / "before", []
    before.mkdir()
    project(before)
    for step in ("ingest", "window", "features"):
        whole = root / "whole"
        shutil.copytree(before, whole)
        assert in_child(run, whole, step) == 0, step
        expected = made(whole)
        rows += [{"over": False, **row} for row in deaths(root, before, step, expected, every)]
        rows += [{"over": True, **row} for row in deaths(root, whole, step, expected, every)]
        shutil.rmtree(before)
        whole.rename(before)
    sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
