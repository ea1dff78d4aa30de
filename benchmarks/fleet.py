"""200 machines in a night: what becomes of each, and how many are trained in a minute, by which engine.

Simulated machines, three with too little data, one without a single value, one whose training kills its process; the
driver is killed in the middle and started again. Then machines per minute for the engines `local` and `spark` (a
standalone master and worker, the worker killed once), against one process for each machine, one after the other.
Run from the project root, on a quiet machine: `python -m benchmarks.fleet`.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from benchmarks.harness import ROOT, compare, write_results
from benchmarks.spark_cluster import Cluster, spark_cluster
from foresense.config import EngineConfig, FleetConfig, PipelineConfig, read_pipeline
from foresense.engine import Job, run_jobs
from foresense.evaluate.scaled_error import error_ratio
from foresense.signals import Layout, Recording, read_recordings, write_recordings
from foresense.steps import fleet_assets
from foresense.steps.frame import StepRun
from foresense.steps.run import run_step
from foresense.steps.train_fleet import train_fleet

PIPELINE = "fleet"
FUNCTION = "benchmarks.fleet:train_or_die"
SEED = 40  # another one than that of params.yaml and of every search
SHORT_ROWS, N_SHORT = 600, 3
N_NAIVE = 6  # machines that are trained the slow way
N_SPARK = 100


def train_or_die(assets: tuple[str, ...], arguments: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write down who is trained, die for the poisoned machine, train the others."""
    with (Path(arguments["scratch"]).parent / "calls").open("a") as file:
        file.writelines(f"{asset}\n" for asset in assets if asset not in arguments["why_not"])
    if any(asset == arguments.get("poison") and asset not in arguments["why_not"] for asset in assets):
        os.kill(os.getpid(), signal.SIGSEGV)
    return fleet_assets.train_assets(assets, arguments)


def prepare(root: Path, n_machines: int) -> tuple[Layout, PipelineConfig]:
    """Windows and features of a fleet below `root`, some of its machines spoilt."""
    config = read_pipeline(ROOT / "params.yaml", PIPELINE)
    asked = config.ingest.model_copy(update={"n_assets": n_machines, "seed": SEED})
    config = config.model_copy(update={"ingest": asked})
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "code.json", root / "code.json")
    layout = Layout(root, root)
    _run(layout, config, "ingest")
    recordings = read_recordings(layout.of(PIPELINE).recordings)
    spoilt = [_cut(one) if number < N_SHORT else one for number, one in enumerate(recordings)]
    empty = spoilt[N_SHORT]
    spoilt[N_SHORT] = Recording(**{**vars(empty), "samples": np.full_like(empty.samples, np.nan)})
    write_recordings(layout.of(PIPELINE).recordings, spoilt, facts={})
    for step in ("window", "features"):
        _run(layout, config, step)
    return layout, config


def night(layout: Layout, config: PipelineConfig) -> dict[str, Any]:
    """Train the whole fleet; the driver is killed once half of the machines are done, and started again."""
    calls = layout.cache / "fleet" / PIPELINE / "calls"
    records = layout.cache / "fleet" / PIPELINE / "records"
    command = [sys.executable, "-m", "benchmarks.fleet", "--drive", str(layout.root)]
    begun_s = time.monotonic()
    log = (layout.root / "driver.log").open("ab")
    driver = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=log, stderr=log)
    n_windowed = len(list(layout.of(PIPELINE).windows.glob("*/index.json")))
    while driver.poll() is None and len(list(records.glob("*.json"))) < n_windowed // 2:
        time.sleep(0.2)
    if driver.poll() is not None:
        raise RuntimeError(f"the driver ended before it could be killed; see {layout.root / 'driver.log'}")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    killed_s = time.monotonic() - begun_s
    done_before = {json.loads(path.read_text())["asset"] for path in records.glob("*.json")}
    trained_before = calls.read_text().split()
    calls.unlink()
    begun_s = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=log)
    again = calls.read_text().split()
    report = json.loads((layout.of(PIPELINE).reports / "train.json").read_text())
    rows = report["outcomes"]
    ratios = [error_ratio(row["test_mse"], row["naive_mse"]) for row in rows.values() if row["test_mse"] is not None]
    return {
        "case": f"{len(rows)} machines, {sys.platform}, engine local, the driver killed once half were done",
        "status": {
            status: sum(row["status"] == status for row in rows.values()) for status in ("success", "skipped", "failed")
        },
        "reasons": {asset: row["reason"] for asset, row in rows.items() if row["status"] != "success"},
        "finished_before_the_kill": len(done_before),
        "trained_before_the_kill": len(set(trained_before)),
        "trained_again_although_finished": sorted(set(again) & done_before),
        "minutes": [round(killed_s / 60, 2), round((time.monotonic() - begun_s) / 60, 2)],
        "median_mse_ratio_to_seasonal_naive": round(float(np.median(ratios)), 3),
        "better_than_seasonal_naive": int(np.sum(np.array(ratios) < 1)),
        "judged": len(ratios),
        "candidates": {name: one["validation_mse"] for name, one in report["candidates"].items()},
        "conclusion": report["conclusion"],
    }


def drive(root: Path) -> None:
    """The driver of `night`, as a process that can be killed."""
    config = read_pipeline(ROOT / "params.yaml", PIPELINE)
    fleet = _fleet(config)
    poison = sorted(path.parent.name for path in (root / "data" / "windows" / PIPELINE).glob("*/index.json"))[-1]
    run = StepRun("train", PIPELINE, Layout(root, root), engine=EngineConfig(name="local", limit_min=10))
    train_fleet(run, fleet, FUNCTION, more={"poison": poison})


def rates(layout: Layout, config: PipelineConfig, folder: Path) -> list[dict[str, Any]]:
    """Machines per minute: each engine, and one process for each machine."""
    fleet = _fleet(config)
    default = _only_default(fleet)
    assets = sorted(path.parent.name for path in layout.of(PIPELINE).windows.glob("*/index.json"))[N_SHORT:]
    shared = next((layout.cache / "fleet" / PIPELINE / "shared").iterdir())
    naive = _naive(layout, default, assets[:N_NAIVE], shared, folder / "naive")
    local = _by_engine(layout, default, assets, shared, folder / "local", EngineConfig(name="local"))
    with spark_cluster(folder / "cluster") as cluster:
        quick = _on_cluster(layout, default, assets[:N_SPARK], shared, folder / "spark", cluster, kill=False)
    with spark_cluster(folder / "cluster-2") as cluster:
        hurt = _on_cluster(layout, default, assets[:N_SPARK], shared, folder / "spark-2", cluster, kill=True)
    peer = "one process for each machine, one after the other"
    rows = [
        compare("engine local, the default candidate", "machines/min", ours=[local], peer=peer, peer_values=[naive]),
        compare("engine spark, standalone", "machines/min", ours=[quick], peer=peer, peer_values=[naive]),
        compare("engine spark, worker killed once", "machines/min", ours=[hurt], peer=peer, peer_values=[naive]),
    ]
    farthest = max(_distance(folder / "local", folder / name, assets[:N_SPARK]) for name in ("spark", "spark-2"))
    return [*rows, {"case": "largest difference of a weight between local and spark", "value": farthest}]


def _only_default(fleet: FleetConfig) -> FleetConfig:
    """The last candidate of params.yaml alone."""
    name = list(fleet.candidates)[-1]
    return fleet.model_copy(
        update={
            "candidates": {name: fleet.candidates[name]},
            "from_shared": tuple(one for one in fleet.from_shared if one == name),
        }
    )


def _naive(layout: Layout, fleet: FleetConfig, assets: Sequence[str], shared: Path, folder: Path) -> float:
    begun_s = time.monotonic()
    for asset in assets:
        (job,) = _jobs(layout, fleet.model_copy(update={"at_once": 1}), [asset], shared, folder)
        text = json.dumps({"assets": job.assets, "arguments": job.arguments})
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        subprocess.run([sys.executable, "-m", "benchmarks.fleet", "--one", text], cwd=ROOT, env=environment, check=True)
    return 60 * len(assets) / (time.monotonic() - begun_s)


def _by_engine(
    layout: Layout, fleet: FleetConfig, assets: Sequence[str], shared: Path, folder: Path, engine: EngineConfig
) -> float:
    begun_s = time.monotonic()
    jobs = _jobs(layout, fleet, assets, shared, folder)
    outcomes = list(run_jobs("foresense.steps.fleet_assets:train_assets", jobs, settings=engine, records=folder / "r"))
    failed = [outcome for outcome in outcomes if outcome.status != "success"]
    if failed:
        raise RuntimeError(f"{len(failed)} machines failed, the first: {failed[0]}")
    return 60 * len(outcomes) / (time.monotonic() - begun_s)


def _on_cluster(
    layout: Layout,
    fleet: FleetConfig,
    assets: Sequence[str],
    shared: Path,
    folder: Path,
    cluster: Cluster,
    *,
    kill: bool,
) -> float:
    engine = EngineConfig(name="spark", workers=2, master=cluster.address)
    first = cluster.add_worker("worker-1", cores=2, memory="2g")
    if not kill:
        return _by_engine(layout, fleet, assets, shared, folder, engine)
    with _killed_after(cluster, first, folder / "r"):
        return _by_engine(layout, fleet, assets, shared, folder, engine)


@contextmanager
def _killed_after(cluster: Cluster, worker: "subprocess.Popen[bytes]", records: Path) -> Iterator[None]:
    """Kill the worker once a first machine is done, and start another one."""
    import threading

    def hurt() -> None:
        while not list(records.glob("*.json")):
            time.sleep(0.2)
        cluster.kill(worker)
        cluster.add_worker("worker-2", cores=2, memory="2g")

    thread = threading.Thread(target=hurt, daemon=True)
    thread.start()
    yield
    thread.join()


def _jobs(layout: Layout, fleet: FleetConfig, assets: Sequence[str], shared: Path, folder: Path) -> list[Job]:
    paths = layout.of(PIPELINE)
    common = {
        "windows": str(paths.windows),
        "features": str(paths.features),
        "shared": str(shared),
        "config": fleet.model_dump(mode="json"),
        "why_not": {},
        "scratch": str(folder / "scratch"),
        "code": "benchmark",
    }
    found = []
    for first in range(0, len(assets), fleet.at_once):
        names = tuple(assets[first : first + fleet.at_once])
        results = {name: str(folder / "results" / name) for name in names}
        found.append(Job(names, tuple(f"{name}-1" for name in names), {**common, "results": results}))
    return found


def _distance(first: Path, second: Path, assets: Sequence[str]) -> float:
    """Largest absolute difference of a weight of the same machine."""
    found = 0.0
    for asset in assets:
        one, other = (load_file(place / "results" / asset / "model" / "model.safetensors") for place in (first, second))
        found = max(found, *(float(np.abs(one[name] - other[name]).max(initial=0.0)) for name in one))
    return found


def _cut(recording: Recording) -> Recording:
    return Recording(**{**vars(recording), "samples": recording.samples[-SHORT_ROWS:]})


def _run(layout: Layout, config: PipelineConfig, step: str) -> None:
    run_step(StepRun(step, PIPELINE, layout), config)


def _fleet(config: PipelineConfig) -> FleetConfig:
    if config.fleet is None:
        raise ValueError(f"pipeline {PIPELINE!r} has no section `fleet`")
    return config.fleet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, or one part in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help="keep the fleet's files here")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("foresense").setLevel(logging.INFO)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if asked.drive:
        drive(asked.drive)
        return 0
    if asked.one:
        content = json.loads(asked.one)
        fleet_assets.train_assets(tuple(content["assets"]), content["arguments"])
        return 0
    with tempfile.TemporaryDirectory(prefix="foresense-fleet-") as scratch:
        root = asked.root or Path(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root / 'mlflow.db'}"
        layout, config = prepare(root / "project", asked.machines)
        told = night(layout, config)
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
        rows = [told, *rates(layout, config, root / "rates")]
        sys.stdout.write(f"{write_results('fleet', rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
