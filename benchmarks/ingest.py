"""`foresense ingest` of 1,000,000 points from a store, against pandas doing the same: seconds and memory of processes.

Three machines, four channels, one sample every ten seconds, in the embedded store and in Debian's influxd. The peer
reads everything into pandas, keeps the last of equal rows, takes hourly means with `resample`, and writes Parquet. Run
from the project root: `python -m benchmarks.ingest`.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.harness import ROOT, compare, interleave, write_results
from benchmarks.rig import servers
from foresense.steps.frame import peak_rss_mib
from foresense.stores import Batch, Store
from foresense.stores.embedded import EmbeddedStore
from foresense.stores.influx import InfluxSettings, InfluxStore

LOG = logging.getLogger(__name__)
CHANNELS = ("temp_body", "temp_shaft", "current", "vibration_magnitude")
ASSETS = ("lathe-1-spindle", "cnc-mill-5-axis", "robot-arm-02")
STEP_NS = 10 * 10**9
START_NS = 1_735_689_600 * 10**9
LIMIT_S, LIMIT_MIB = 10.0, 400.0


class Run(NamedTuple):
    """What one process took.

    Attributes:
        seconds: From its start to its end.
        peak_mib: Most resident memory.
    """

    seconds: float
    peak_mib: float


def fill(store: Store, n_points: int) -> None:
    """Write the machines' samples in batches, as a bridge does."""
    n_rows = n_points // len(CHANNELS) // len(ASSETS)
    rng = np.random.default_rng(0)
    for asset in ASSETS:
        for first in range(0, n_rows, 5000):
            times_ns = START_NS + np.arange(first, min(first + 5000, n_rows)) * STEP_NS
            values = np.round(rng.normal(60, 5, (len(times_ns), len(CHANNELS))), 3)
            store.write(Batch.of_asset(asset, times_ns, CHANNELS, values))


def make_project(folder: Path, interval_s: float) -> None:
    """A project with the one pipeline `live` that reads a store."""
    channels = [{"name": name, "unit": "1"} for name in CHANNELS]
    section = {"source": "store", "interval_s": interval_s, "channels": channels}
    pipeline = {"description": "x", "ingest": section, "window": {}, "train": {"candidates": {"a": {}}}}
    (folder / "params.yaml").write_text(json.dumps({"pipelines": {"live": pipeline}}))
    shutil.copy(ROOT / "code.json", folder)


def timed(command: Sequence[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run one process to its end; its seconds, and what it printed."""
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def with_pandas(source: str, target: Path) -> None:
    """The peer: everything into pandas, hourly means per machine, Parquet."""
    if source.startswith("http"):
        statement = f"SELECT workspace_id, {', '.join(CHANNELS)} FROM sensor_data"
        query = urllib.parse.urlencode({"db": "New_Sensor", "q": statement, "epoch": "ns"})
        asked = urllib.request.Request(f"{source}/query?{query}", headers={"Accept": "application/csv"})
        with urllib.request.urlopen(asked) as answer:
            found = pd.read_csv(answer).rename(columns={"workspace_id": "asset", "time": "time_ns"})
    else:
        found = pd.concat([pd.read_parquet(path) for path in sorted(Path(source).glob("*.parquet"))])
    found = found.drop_duplicates(["asset", "time_ns"], keep="last")
    found.index = pd.DatetimeIndex(found.pop("time_ns"), tz="UTC")
    found.groupby("asset")[list(CHANNELS)].resample("1h").mean().to_parquet(target)


def measure(name: str, source: str, environment: dict[str, str], folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Rows of the result for one store."""
    projects = {"hourly": 3600.0, "every sample": STEP_NS / 1e9}
    for project, interval_s in projects.items():
        (folder / project).mkdir(parents=True)
        make_project(folder / project, interval_s)

    def ours(project: str, *, afresh: bool) -> Run:
        if afresh:
            shutil.rmtree(folder / project / ".foresense", ignore_errors=True)
        words = [sys.executable, "-m", "foresense", "--project", str(folder / project), "ingest", "live"]
        seconds, _ = timed(words, environment)
        report = json.loads((folder / project / "reports" / "live" / "ingest.json").read_text())
        return Run(seconds, report["peak_rss_mib"])

    def peer() -> Run:
        words = [sys.executable, "-m", "benchmarks.ingest", "--peer", source, str(folder / "peer.parquet")]
        seconds, said = timed(words, {})
        return Run(seconds, float(said))

    cases: dict[str, Callable[[], Run]] = {
        "hourly": partial(ours, "hourly", afresh=True),
        "hourly, again": partial(ours, "hourly", afresh=False),
        "every sample": partial(ours, "every sample", afresh=True),
        "peer": peer,
    }
    found: dict[str, list[Run]] = {case: [] for case in cases}

    def once(case: str) -> float:
        found[case].append(cases[case]())
        return found[case][-1].seconds

    interleave({case: partial(once, case) for case in cases}, repeats)
    rows = []
    pandas = f"pandas {pd.__version__}"
    for case in ("hourly", "hourly, again", "every sample"):
        what = f"ingest of 1,000,000 points from {name}, {case}"
        for unit, at, limit in (("s", 0, LIMIT_S), ("MiB", 1, LIMIT_MIB)):
            values = [run[at] for run in found[case]]
            rivals = {"limit": [limit]} | ({pandas: [run[at] for run in found["peer"]]} if case == "hourly" else {})
            rows += [
                compare(what, unit, ours=values, peer=rival, peer_values=theirs, is_more_better=False)
                for rival, theirs in rivals.items()
            ]
    return rows


def main() -> None:
    """Measure and write benchmarks/results/ingest.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", nargs=2, metavar=("SOURCE", "FILE"), help="be the peer, in this process")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.peer:
        with_pandas(options.peer[0], Path(options.peer[1]))
        sys.stdout.write(f"{peak_rss_mib():.1f}\n")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embedded = EmbeddedStore(folder / "store")
        fill(embedded, 1_000_000)
        embedded.close()
        rows = measure(
            "the embedded store",
            str(folder / "store"),
            {"FORESENSE_STORE": f"embedded:{folder / 'store'}"},
            folder / "embedded",
            options.repeats,
        )
        with servers().influxd(folder / "influxd") as server:
            with InfluxStore(InfluxSettings(url=server.url, flavour="v1")) as store:
                store.prepare()
                fill(store, 1_000_000)
            environment = {"FORESENSE_STORE": "influx", "FORESENSE_INFLUX_URL": server.url}
            rows += measure("influxd 1.6.7", server.url, environment, folder / "influx", options.repeats)
    LOG.info("written: %s", write_results("ingest", rows))
    for row in rows:
        LOG.info("%(case)s: %(ours)s %(unit)s, %(peer)s %(peer_value)s, ratio %(ratio)s", row)


if __name__ == "__main__":
    main()
