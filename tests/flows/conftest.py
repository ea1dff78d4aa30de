"""A project like ours whose steps take no time: real dvc.yaml, flows, tasks and command line, stand-in steps."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """
stages:
  ingest:
    oil: {raw: data/raw/ett, code: ingest}
    plant: {raw: src/foresense/sources/simulate.py, code: ingest}
  window: {oil: {code: window}, plant: {code: window}}
  features: {oil: {code: features}, plant: {code: features}}
  train:
    oil: {section: train, code: train}
    plant: {section: train, code: train}
  export: {oil: {code: export}, plant: {code: export}}
  benchmark: {oil: {code: benchmark}, plant: {code: benchmark}}
pipelines:
  oil:
    description: stand-in
    ingest: {source: ett, raw: ett, channels: [{name: a, unit: "1"}]}
    window: {context: 48, horizon: 24}
    features: {}
    train: {candidates: {tuned: {learning_rate: 5e-4}}}
    export: {}
    benchmark: {gates: {size_mib: {at_most: 1.0}}}
  plant:
    description: stand-in
    ingest: {source: simulate, channels: [{name: a, unit: "1"}]}
    window: {context: 48, horizon: 24}
    features: {}
    train: {candidates: {only: {learning_rate: 4e-4}}}
    export: {}
    benchmark: {gates: {size_mib: {at_most: 1.0}}}
"""
#: Stand-ins: each writes the digest of what it read, its section, and a real report. `hold-<step>` makes one wait.
STUB = '''
"""The real command line with stand-ins for the six steps."""

import os
import sys
import time
from pathlib import Path

from foresense.signals import Gate, Paths, write_bytes, write_json
from foresense.signals.reports import REPORTS
from foresense.steps import run as runs

READS = {"ingest": (), "window": ("recordings",), "features": ("windows",), "train": ("windows", "features"),
         "export": ("windows", "models"), "benchmark": ("windows", "exports")}
WRITES = {"ingest": "recordings", "window": "windows", "features": "features", "train": "models", "export": "exports"}
FIELDS = {
    "ingest": dict(source="x", assets={}, findings=[]),
    "window": dict(groups={}),
    "features": dict(n_windows=1, features={}),
    "train": dict(model={}, windows={}, test={"mse": 0.5, "mae": 0.5}, interval={}, baselines={}, per_channel={},
                  timing={}, candidates={}, groups={}, beats_baselines=True, conclusion="fine"),
    "export": dict(variants={}, groups={}, refused={}),
    "benchmark": dict(device="host", plan={}, variants={}, groups={}, ships=None),
}
PICTURE = b"picture"


def stand_in(run, config):
    print(f"{run.step} of {run.pipeline} works", flush=True)
    with (run.layout.cache / "started").open("a") as file:
        file.write(f"{run.step}@{run.pipeline} {os.getpid()}\\n")
    while (run.layout.project / f"hold-{run.step}").exists():
        time.sleep(0.05)
    if (run.layout.project / f"fail-{run.step}").exists():
        raise ValueError(f"{run.step} was told to fail")
    if run.step in WRITES:
        text = config.model_dump_json() + "".join(
            path.read_text() for name in READS[run.step] for path in sorted(getattr(run.paths, name).glob("*")))
        write_bytes(getattr(run.paths, WRITES[run.step]) / "content", text.encode())
    if run.step == "train":
        write_json(run.paths.reports / "metrics.json", {"mse": 0.5})
        write_bytes(run.paths.reports / "loss.csv", b"epoch,loss\\n1,0.5\\n")
        write_bytes(run.paths.reports / "plots" / "m-forecast.png", PICTURE)
    gates = []
    if run.step == "benchmark":
        write_json(run.paths.reports / "metrics_edge.json", {"size_mib": 0.5})
        gates = [Gate.judge("size_mib", 0.5, "MiB", at_most=config.gates["size_mib"].at_most)]
    return run.finish(REPORTS[run.step], data_sha256="0", gates=gates, **FIELDS[run.step])


NIGHT = {"watch": "drift.json", "promote": "decisions.json"}


def word(name, pipeline):
    """A word of the night: writes down that it began, waits or fails when told to, writes its record."""
    root = Path.cwd()
    print(f"{name} of {pipeline} works", flush=True)
    with (root / ".foresense" / "started").open("a") as file:
        file.write(f"{name}@{pipeline} {os.getpid()}\\n")
    while (root / f"hold-{name}").exists():
        time.sleep(0.05)
    if name in NIGHT:
        row = {"champion": 1, "moved": [], "alarm": []} if name == "watch" else None
        assets = {"mill": row} if row else [{"asset": "mill", "status": "promoted", "reason": "better"}]
        write_json(root / "nights" / pipeline / "2026-11-21" / NIGHT[name], {"night": "2026-11-21", "assets": assets})


for name in runs.STEP_FUNCTIONS:
    runs.STEP_FUNCTIONS[name] = f"stub:{name}"
    globals()[name] = stand_in

if __name__ == "__main__":
    sys.modules["stub"] = sys.modules["__main__"]
    if sys.argv[1] in ("night", "forecast", "gc"):
        from foresense.steps.process import die_with_parent

        die_with_parent()
        word(*((sys.argv[2], sys.argv[3]) if sys.argv[1] == "night" else (sys.argv[1], sys.argv[2].strip("-"))))
        sys.exit()
    from foresense.__main__ import main

    main()
'''


class Project:
    """The scratch project and how to call tools in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        outside = {"PREFECT_API_URL", "MLFLOW_TRACKING_URI", "FORESENSE_PROJECT", "PREFECT_TEST_MODE"}
        self.env = {name: value for name, value in os.environ.items() if name not in outside} | {
            "FORESENSE_DATA": "",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(root / ".prefect"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PYTHONPATH": os.pathsep.join([str(root), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).strip(":"),
        }

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=170)
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def dvc(self, *words: str, check: bool = True) -> str:
        done = self.call(sys.executable, "-m", "dvc", *words, check=check)
        return done.stdout + done.stderr

    def started(self) -> list[str]:
        """Every step that has started, in order, as `train@plant`."""
        path = self.root / ".foresense" / "started"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.is_file() else []

    def pids(self) -> list[int]:
        """The processes of those steps."""
        return [int(line.split()[1]) for line in (self.root / ".foresense" / "started").read_text().splitlines()]

    def forget(self) -> None:
        (self.root / ".foresense" / "started").unlink(missing_ok=True)

    def replace(self, old: str, new: str, file: str = "params.yaml") -> None:
        text = (self.root / file).read_text()
        assert old in text
        (self.root / file).write_text(text.replace(old, new))


def make_project(root: Path) -> Project:
    """A git checkout with DVC, two pipelines and stand-in steps."""
    for folder in ("flows", "tasks", "devices", ".dvc"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
    (root / ".dvc-site" / "repo").mkdir(parents=True)
    for name in ("prefect.yaml", ".gitignore", ".dvcignore", ".dvc-site/repo/.gitignore"):
        shutil.copy(ROOT / name, root / name)
    stages = (ROOT / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(stages.replace("exec python -m foresense", "exec python stub.py"))
    night = root / "tasks" / "night.py"
    night.write_text(night.read_text().replace('"-m", "foresense")', '"stub.py")'))
    (root / "params.yaml").write_text(textwrap.dedent(PARAMS))
    steps = ("ingest", "window", "features", "train", "export", "benchmark")
    (root / "code.json").write_text(json.dumps({step: {"steps": f"{step}-1"} for step in steps}))
    (root / "stub.py").write_text(STUB)
    simulator = root / "src" / "foresense" / "sources" / "simulate.py"
    simulator.parent.mkdir(parents=True)
    simulator.write_text("")
    (root / "data" / "raw" / "ett").mkdir(parents=True)
    (root / "data" / "raw" / "ett" / "ETTh1.csv").write_text("date,a\n")
    (root / "data" / "raw" / ".gitignore").write_text("/ett\n")
    made = Project(root)
    for command in (
        ("git", "init", "-q"),
        ("git", "add", "-A"),
        ("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"),
    ):
        made.call(*command)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all tests of a module."""
    return make_project(tmp_path_factory.mktemp("shared") / "project")
