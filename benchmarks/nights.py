"""Three nights in a row, for real: Prefect, DVC, MLflow, a store that grows by a day, and workers that die.

Five simulated machines in an embedded store. The first night is started by the schedule, the others by hand. The first
trains for a few epochs, the second for many, and the third with a rate that is far too low: so the second night's
challengers win and the third's lose. The third night's worker is killed while it trains. From the second night on one
machine's body runs 6 °C warmer. At the end a person takes one promotion back. Run from the project root, on a quiet
machine: `python -m benchmarks.nights`.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psutil

from benchmarks.harness import ROOT, write_results
from foresense.sources.simulate import UNITS, machine_name, simulate_machine
from foresense.stores import Batch, open_store
from tools.serve import deploy, end, prefect, prefect_server

PIPELINE = "shop"
N_MACHINES, N_DAYS, SEED = 5, 95, 60
WARM = machine_name(1)  # the machine whose body runs warmer from the second night on
WARM_C = 6.0
START = datetime(2026, 1, 5, tzinfo=ZoneInfo("UTC"))
#: Of the shared network: learning rate, epochs, samples between the starts of windows.
FEW, MANY, BAD = ("3e-3", 4, 3), ("3e-3", 30, 2), ("1e-7", 3, 8)
ZONE = "Europe/Berlin"
SOON_S = 100  # the scheduler looks once a minute
_NETWORK = """{patch_length: 24, patch_stride: 24, d_model: 32, ffn_dim: 64, n_heads: 4, n_layers: 2, head: flatten,
          norm: layernorm, position_std: 0.02, instance_norm: true, schedule: onecycle, batch_size: 32, patience: 30,
          clip_norm: null, RATE}"""
PARAMS = f"""
stages:
  ingest: {{shop: {{raw: src/foresense/sources/store.py}}}}
  window: [shop]
  features: [shop]
  train: {{shop: {{section: fleet, code: train_fleet}}}}
  export: [shop]
  benchmark: [shop]
pipelines:
  shop:
    description: five machines in a store
    ingest:
      source: store
      store: embedded:store
      newest_rows: 2160
      channels:
{"".join(f"        - {{name: {name}, unit: {unit}}}" + chr(10) for name, unit in UNITS.items())}
    window: {{context: 168, horizon: 24}}
    features: {{stride: 24}}
    engine: local
    fleet:
      shared: {_NETWORK}
      candidates:
        tuned: {_NETWORK.replace("RATE", "learning_rate: 1e-4, n_epochs: 2, train_stride: 4")}
      from_shared: [tuned]
      validation_stride: 4
      min_rows: 1000
    export: {{variants: [onnx-float32], n_calibration: 8}}
    benchmark:
      n_warmup: 5
      n_timed: 50
      n_threads: [1]
      gates:
        size_mib: {{at_most: 5}}
        latency_ms_p95: {{at_most: 50}}
        peak_rss_mib: {{at_most: 512}}
"""


class Project:
    """A checkout of its own with a store, remotes for git and DVC, and real steps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("flows", "tasks", "devices"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (".gitignore", ".dvcignore", "dvc.yaml", "code.json"):
            shutil.copy(ROOT / name, root / name)
        source = root / "src" / "foresense" / "sources" / "store.py"
        source.parent.mkdir(parents=True)
        shutil.copy(ROOT / "src" / "foresense" / "sources" / "store.py", source)
        self.env = os.environ | {"FORESENSE_PROJECT": str(root), "PYTHONPATH": f"{root}{os.pathsep}{ROOT / 'src'}"}
        self.env.pop("MLFLOW_TRACKING_URI", None)
        self.train_at(MANY)
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "a shop")):
            self.call("git", "-c", "user.name=shop", "-c", "user.email=shop@example.org", *words)
        self.call("git", "init", "-q", "--bare", str(root.parent / "remote.git"))
        self.call("git", "remote", "add", "origin", str(root.parent / "remote.git"))
        self.call("git", "push", "-q", "origin", "HEAD")
        self.dvc("init", "-q")
        self.dvc("remote", "add", "--default", "store", str(root.parent / "remote-dvc"))
        self.call("git", "-c", "user.name=shop", "-c", "user.email=shop@example.org", "commit", "-qam", "with DVC")

    def train_at(self, plan: tuple[str, int, int]) -> None:
        """Write params.yaml with another way of training the shared network."""
        rate, n_epochs, stride = plan
        said = f"learning_rate: {rate}, n_epochs: {n_epochs}, train_stride: {stride}"
        (self.root / "params.yaml").write_text(PARAMS.replace("RATE", said))

    def call(self, *command: str) -> str:
        """Run a command in the project, and give what it printed."""
        done = subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def dvc(self, *words: str) -> str:
        """Run DVC."""
        return self.call(sys.executable, "-m", "dvc", *words)

    def foresense(self, *words: str) -> str:
        """Run our own command line."""
        return self.call(sys.executable, "-m", "foresense", *words)

    def schedule(self, at: datetime) -> None:
        """Write prefect.yaml with the deployment `nightly` of this pipeline, due at `at`."""
        (self.root / "prefect.yaml").write_text(
            "name: shop\ndeployments:\n  - name: nightly\n    entrypoint: flows.nightly.run_nightly\n"
            f"    parameters: {{pipelines: [{PIPELINE}]}}\n    work_pool: {{name: local}}\n"
            "    concurrency_limit: {limit: 1, collision_strategy: ENQUEUE}\n"
            f'    schedules:\n      - {{cron: "{at.minute} {at.hour} * * *", timezone: {ZONE}, active: true}}\n'
        )

    def night(self) -> dict[str, Any]:
        """The newest night: how many machines were promoted, refused, drifting."""
        folder = sorted((self.root / "nights" / PIPELINE).iterdir())[-1]
        decisions = json.loads((folder / "decisions.json").read_text())["assets"]
        drift = json.loads((folder / "drift.json").read_text())["assets"]
        return {
            "night": folder.name,
            "decisions": dict(Counter(one["status"] for one in decisions)),
            "reasons": {one["asset"]: one["reason"] for one in decisions},
            "moved": {asset: one["moved"] for asset, one in drift.items() if one["moved"]},
            "alarm": {asset: one["alarm"] for asset, one in drift.items() if one["alarm"]},
        }


class Life:
    """The machines' samples, and how far the store knows them."""

    def __init__(self, project: Project) -> None:
        n_rows = (N_DAYS + 3) * 24
        self.times_ns = int(START.timestamp() * 1e9) + np.arange(n_rows, dtype=np.int64) * 3_600_000_000_000
        self.project, self.known = project, 0
        self.samples = {
            machine_name(number): simulate_machine(number, self.times_ns, interval_s=3600, time_zone="UTC", seed=SEED)[
                0
            ]
            for number in range(N_MACHINES)
        }
        self.samples[WARM][(N_DAYS + 1) * 24 :, list(UNITS).index("temp_body")] += WARM_C

    def go_on(self, days: int) -> None:
        """Write `days` more into the store."""
        rows = slice(self.known, self.known + days * 24)
        store = open_store("embedded:store", {}, self.project.root)
        store.prepare()
        for asset, samples in self.samples.items():
            store.write(Batch.of_asset(asset, self.times_ns[rows], tuple(UNITS), samples[rows]))
        store.close()
        self.known = rows.stop


class Server:
    """A running Prefect server, and workers."""

    def __init__(self, project: Project, env: dict[str, str]) -> None:
        self.project, self.env = project, env | {"PYTHONPATH": project.env["PYTHONPATH"]}
        self.workers = [self.worker(), self.worker()]

    def worker(self) -> "subprocess.Popen[bytes]":
        """Start one more worker."""
        log = (self.project.root / ".prefect" / "worker.log").open("ab")
        command = prefect("worker", "start", "--pool", "local", "--limit", "1")
        return subprocess.Popen(
            command, cwd=self.project.root, env=self.env, stdout=log, stderr=log, start_new_session=True
        )

    def ask(self, path: str, **body: Any) -> Any:
        """Post to the server."""
        request = urllib.request.Request(
            f"{self.env['PREFECT_API_URL']}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def start(self) -> str:
        """Start a night by hand; the id of its run."""
        command = prefect("deployment", "run", "nightly/nightly")
        done = subprocess.run(command, cwd=self.project.root, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.partition("UUID:")[2].split()[0]

    def state(self, run: str) -> str:
        """Name of the state of a run."""
        (found,) = self.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        return str(found["state_name"])

    def scheduled(self) -> list[str]:
        """Runs that the scheduler made and that have begun."""
        begun = {"state": {"name": {"any_": ["Running", "Completed", "Failed"]}}}
        return [run["id"] for run in self.ask("flow_runs/filter", flow_runs=begun) if run["auto_scheduled"]]

    def finished(self, run: str, limit_s: float = 1800) -> str:
        """Wait until a run has ended; the name of its state."""
        wait(lambda: self.state(run) in ("Completed", "Failed", "Crashed", "Cancelled"), limit_s, f"run {run} to end")
        return self.state(run)

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            end(worker)


def three_nights(project: Project) -> list[dict[str, Any]]:
    """Live through them, and tell of each."""
    life = Life(project)
    life.go_on(N_DAYS)
    project.schedule(datetime.now(ZoneInfo(ZONE)) - timedelta(hours=1))
    project.train_at(FEW)
    with prefect_server(project.root, _free_port()) as env:
        project.schedule(datetime.now(ZoneInfo(ZONE)) + timedelta(seconds=SOON_S))
        subprocess.run(deploy(), cwd=project.root, env=env, check=True, capture_output=True)
        server = Server(project, env)
        try:
            return [_first(server), _second(server, life), _third(server, life), _taken_back(project)]
        finally:
            server.close()


def _first(server: Server) -> dict[str, Any]:
    wait(server.scheduled, 300, "the schedule to start a night")
    begun_s = time.monotonic()
    (run,) = server.scheduled()
    state = server.finished(run)
    return _told("started by the schedule", server, state, begun_s)


def _second(server: Server, life: Life) -> dict[str, Any]:
    life.go_on(1)
    server.project.train_at(MANY)
    begun_s = time.monotonic()
    first, again = server.start(), server.start()
    waited: set[str] = set()

    def both_done() -> bool:
        waited.add(server.state(again))
        return server.state(first) in ("Completed", "Failed", "Crashed")

    wait(both_done, 1800, "the second night")
    told = _told("started by hand, twice", server, server.state(first), begun_s)
    told["states_of_the_second_start_meanwhile"] = sorted(waited)
    told["second_start"] = server.finished(again)
    return told


def _third(server: Server, life: Life) -> dict[str, Any]:
    life.go_on(1)
    server.project.train_at(BAD)
    begun_s = time.monotonic()
    run = server.start()
    wait(lambda: _training(server.project.root), 600, "the third night to train")
    for worker in server.workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    wait(lambda: not _training(server.project.root), 60, "the training to end with its worker")
    server.workers = [server.worker()]
    again = server.start()
    state = server.finished(again)
    told = _told("worker killed while it trained, started again", server, state, begun_s)
    told["first_start"] = server.state(run)
    return told


def _taken_back(project: Project) -> dict[str, Any]:
    decisions = sorted((project.root / "nights" / PIPELINE).glob("*/decisions.json"))[1]
    promoted = [
        one["asset"]
        for one in json.loads(decisions.read_text())["assets"]
        if one["status"] == "promoted" and one["champion"]
    ]
    asset = promoted[0]
    said = project.foresense("rollback", asset, "--pipeline", PIPELINE, "--reason", "the operators trust the old one")
    return {
        "case": f"rollback of {asset} by hand",
        "said": said.strip().splitlines()[-1],
        "versions": project.foresense("versions", asset, "--pipeline", PIPELINE),
        "experiments": sorted(line.strip() for line in project.dvc("exp", "list", "origin", "--name-only").split()),
    }


def _told(case: str, server: Server, state: str, begun_s: float) -> dict[str, Any]:
    minutes = round((time.monotonic() - begun_s) / 60, 2)
    return {"case": case, "state": state, "minutes": minutes, **server.project.night()}


def _training(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(root) and "foresense" in words and "train" in words:
            found.append(process)
    return found


def wait(until: Callable[[], object], limit_s: float, what: str) -> None:
    """Ask every second until the answer is true.

    Raises:
        TimeoutError: it never was.
    """
    deadline_s = time.monotonic() + limit_s
    while not until():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {limit_s:g} s for {what}")
        time.sleep(1.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Live through three nights, write what they showed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nights", description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="keep the project here; it must not exist")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="foresense-nights-") as scratch:
        root = (asked.root or Path(scratch)) / "project"
        root.mkdir(parents=True)
        rows = three_nights(Project(root))
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        sys.stdout.write(f"{write_results('nights', rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
