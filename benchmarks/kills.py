"""`kill -9` at random moments of a smoke run: what the next run makes of what it left.

Each pipeline runs undisturbed two times: files that differ even then (of converters that write the time, say) are named
and left out. Then it is killed, with all of its processes, at moments that are uniform over an undisturbed run; the
steps that had not finished run again in the same folder, among what the dead ones left, as DVC would run them; and
every file of recordings, windows, features, models and exports is compared with the undisturbed run's. Run from the
project root: `python -m benchmarks.kills --pipeline plant`.
"""

import argparse
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.harness import write_results
from foresense.config import read_any, steps_with_section
from foresense.config.smoke import shrink
from foresense.signals import Layout, file_sha256
from foresense.steps.frame import StepRun
from foresense.steps.run import run_step

ROOT = Path(__file__).resolve().parents[1]
#: Folders whose files are compared.
OUTPUTS = ("data", "models", "exports")
LIMIT_S = 900.0


def make_project(folder: Path) -> Path:
    """A project of the checkout's settings, and none of its results."""
    folder.mkdir(parents=True)
    for name in ("params.yaml", "code.json", "devices"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def scratch_of(project: Path, pipeline: str) -> Path:
    """Where a smoke run works."""
    return project / "runs" / f"smoke-{pipeline}"


def finish(project: Path, pipeline: str) -> None:
    """Run the steps that have no report, where they are."""
    layout = Layout(root=scratch_of(project, pipeline), project=project)
    config = shrink(read_any(project / "params.yaml", pipeline))
    for step in unfinished(project, pipeline):
        run_step(StepRun(step=step, pipeline=pipeline, layout=layout, profile="smoke"), config)


def unfinished(project: Path, pipeline: str) -> list[str]:
    """Steps without a report, in order."""
    config = read_any(project / "params.yaml", pipeline)
    reports = Layout(scratch_of(project, pipeline), project).of(pipeline).reports
    return [step for step in steps_with_section(config) if not (reports / f"{step}.json").is_file()]


def start(project: Path, *words: str) -> subprocess.Popen[bytes]:
    """A command in a process group of its own; what it says goes to `log` in the project."""
    with (project / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def smoke(project: Path, pipeline: str) -> subprocess.Popen[bytes]:
    """A smoke run, begun."""
    return start(project, "foresense", "--project", str(project), "run", pipeline, "--profile", "smoke")


def digests(project: Path, pipeline: str) -> dict[str, str]:
    """Path -> SHA-256 of every file that steps have written, and the scores on the test part."""
    root = scratch_of(project, pipeline)
    paths = sorted(path for name in OUTPUTS for path in (root / name).rglob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): file_sha256(path) for path in paths}
    train = json.loads((root / "reports" / pipeline / "train.json").read_text())
    return found | {"train.json: test": json.dumps(train["test"], sort_keys=True)}


def survivors(project: Path) -> list[int]:
    """Processes that still work in the project ten seconds after the kill."""
    for _ in range(100):
        found = [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if any(str(project) in word for word in process.info["cmdline"] or ())
        ]
        if not found:
            break
        time.sleep(0.1)
    return found


def left_over(project: Path, pipeline: str) -> list[str]:
    """Hidden files and folders beside outputs."""
    root = scratch_of(project, pipeline)
    return [path.relative_to(root).as_posix() for name in (*OUTPUTS, "reports") for path in (root / name).rglob(".*")]


def undisturbed(folder: Path, pipeline: str) -> tuple[dict[str, str], list[str], float]:
    """Digests of what is the same in two runs, names of what is not, and seconds of the second run."""
    found: list[dict[str, str]] = []
    seconds = 0.0
    for number in range(2):
        project = make_project(folder / f"whole-{number}")
        began = time.monotonic()
        code = smoke(project, pipeline).wait(LIMIT_S)
        seconds = time.monotonic() - began
        if unfinished(project, pipeline):
            raise RuntimeError(
                f"{pipeline}: an undisturbed run left with {code}:\n{(project / 'log').read_text()[-2000:]}"
            )
        found.append(digests(project, pipeline))
        shutil.rmtree(project)
    fixed = {name: digest for name, digest in found[0].items() if found[1].get(name) == digest}
    return fixed, sorted(set(found[0]) - set(fixed)), seconds


def kill_often(folder: Path, pipeline: str, n_kills: int) -> dict[str, object]:
    """The row of one pipeline."""
    expected, varying, seconds = undisturbed(folder, pipeline)
    rng = random.Random(0)
    died_in: Counter[str] = Counter()
    different: Counter[str] = Counter()
    failed, n_survivors, hidden = 0, 0, 0
    for number in range(n_kills):
        project = make_project(folder / f"killed-{number}")
        running = smoke(project, pipeline)
        try:
            running.wait(rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        left = unfinished(project, pipeline)
        died_in[left[0] if left else "after the last step"] += 1
        n_survivors += len(survivors(project))
        again = start(project, "benchmarks.kills", "--finish", str(project), "--pipeline", pipeline)
        if again.wait(LIMIT_S) != 0:
            failed += 1
            logging.warning("%s: killed in %s, then:\n%s", pipeline, left, (project / "log").read_text()[-2000:])
        else:
            found = digests(project, pipeline)
            different.update(name for name, digest in expected.items() if found.get(name) != digest)
            hidden += len(left_over(project, pipeline))
        shutil.rmtree(project)
    return {
        "pipeline": pipeline,
        "undisturbed_s": round(seconds, 1),
        "kills": n_kills,
        "died_in": dict(died_in),
        "survivors": n_survivors,
        "not_finished": failed,
        "files_compared": len(expected),
        "different": dict(different),
        "left_over": hidden,
        "vary_undisturbed": varying,
    }


def main() -> int:
    """Run pipelines and write benchmarks/results/kills.json; exits 1 where a run did not end as an undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", action="append", required=True, help="may come again")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--finish", type=Path, help="only run what is unfinished in this project")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if chosen.finish is not None:
        finish(chosen.finish, chosen.pipeline[0])
        return 0
    rows = []
    for pipeline in chosen.pipeline:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(kill_often(Path(folder), pipeline, chosen.kills))
        print(json.dumps(rows[-1]), flush=True)  # noqa: T201
        write_results("kills", rows)  # hours may lie between the first pipeline and the last
    return int(any(row["survivors"] or row["not_finished"] or row["different"] or row["left_over"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
