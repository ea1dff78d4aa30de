"""Writing and reading InfluxDB: ours against influxdb-client, on servers from Debian.

influxdb-client reaches that server through the path mapping of tests/stores/shim.py, and so does our writer here; both
reach VictoriaMetrics as it is. Run from the project root: `python -m benchmarks.stores`.
"""

import argparse
import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import influxdb_client
import numpy as np
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.client.write_api import SYNCHRONOUS, WriteApi

from benchmarks.harness import RESULTS, ROOT, compare, interleave, write_results
from foresense.stores.batch import Batch
from foresense.stores.influx import InfluxSettings, InfluxStore
from foresense.stores.influxql import FIRST_NS, LAST_NS
from foresense.stores.lines import to_lines

LOG = logging.getLogger(__name__)
CHANNELS = ("temp_body", "temp_shaft", "current", "vibration_magnitude")
N_ASSETS, BATCH_ROWS = 10, 5000
TARGET, LIMIT_S, LIMIT_MIB = 500_000.0, 10.0, 400.0
PEER = f"influxdb-client {influxdb_client.VERSION} WriteApi SYNCHRONOUS"


def make_batch(n_points: int) -> Batch:
    """A sample a second of ten machines with four channels; values of 0.001 resolution, as sensors have."""
    n_rows = n_points // len(CHANNELS)
    rng = np.random.default_rng(0)
    return Batch(
        assets=tuple(f"lathe-{number}" for number in range(N_ASSETS)),
        asset_index=(np.arange(n_rows) % N_ASSETS).astype(np.int32),
        times_ns=(1_700_000_000 + np.arange(n_rows) // N_ASSETS) * 10**9,
        channels=CHANNELS,
        values=np.round(rng.normal(60, 5, (n_rows, len(CHANNELS))), 3),
    )


def points_per_s(write: Callable[[Batch], object], batch: Batch) -> float:
    """Points per second of `write`, in batches of 5000 rows."""
    begin = time.perf_counter()
    for first in range(0, len(batch), BATCH_ROWS):
        write(batch.rows(slice(first, first + BATCH_ROWS)))
    return batch.n_points / (time.perf_counter() - begin)


def peer_writes(writer: WriteApi, form: str, measurement: str) -> Callable[[Batch], None]:
    """What a user of influxdb-client writes: Point objects, a list of lines, or ready bytes."""

    def rows(batch: Batch) -> Iterator[tuple[str, int, list[float]]]:
        names = [batch.assets[index] for index in batch.asset_index.tolist()]
        return zip(names, batch.times_ns.tolist(), batch.values.tolist(), strict=True)

    def line(asset: str, time_ns: int, values: list[float]) -> str:
        fields = ",".join(f"{name}={value!r}" for name, value in zip(CHANNELS, values, strict=True))
        return f"{measurement},sensor_type=machine,workspace_id={asset} {fields} {time_ns}"

    def point(asset: str, time_ns: int, values: list[float]) -> Point:
        made = Point(measurement).tag("sensor_type", "machine").tag("workspace_id", asset).time(time_ns)
        for name, value in zip(CHANNELS, values, strict=True):
            made = made.field(name, value)
        return made

    def write(batch: Batch) -> None:
        if form == "Point":
            writer.write("New_Sensor", record=[point(*row) for row in rows(batch)])
        elif form == "list[str]":
            writer.write("New_Sensor", record=[line(*row) for row in rows(batch)])
        else:
            writer.write("New_Sensor", record="\n".join(line(*row) for row in rows(batch)).encode())

    return write


def measure_writing(server: str, url: str, batch: Batch, repeats: int, *, flavour: str) -> list[dict[str, Any]]:
    """Rows of the result: ours against the peer in three forms, all through /api/v2/write at one address."""
    forms = ("bytes", "list[str]", "Point")
    with ExitStack() as stack:
        client = stack.enter_context(InfluxDBClient(url=url, token="any:thing", org="-"))
        writer = stack.enter_context(client.write_api(write_options=SYNCHRONOUS))
        numbers = count()

        def ours() -> float:
            settings = InfluxSettings.model_validate(
                {"url": url, "flavour": flavour, "org": "-", "token": "any:thing", "measurement": f"o{next(numbers)}"}
            )
            with InfluxStore(settings) as store:
                return points_per_s(store.write, batch)

        def peer(form: str) -> float:
            return points_per_s(peer_writes(writer, form, f"p{next(numbers)}"), batch)

        cases: dict[str, Callable[[], float]] = {"ours": ours} | {form: partial(peer, form) for form in forms}
        found = interleave(cases, repeats)
    case = f"writing {_shape(batch)} to {server}"
    return [
        compare(case, "points/s", ours=found["ours"], peer=f"{PEER}, {form}", peer_values=found[form]) for form in forms
    ]


def measure_lines(batch: Batch, repeats: int) -> dict[str, Any]:
    """Row of the result: line protocol alone."""
    layout = InfluxSettings(url="http://localhost").layout
    found = [points_per_s(lambda part: to_lines(part, layout), batch) for _ in range(repeats)]
    return compare(f"line protocol of {_shape(batch)}", "points/s", ours=found, peer="target", peer_values=[TARGET])


def measure_reading(url: str, n_points: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of the result: time and memory of reading one machine's history, against the limits of issue 3."""
    batch = make_batch(n_points)
    times_ns = 1_700_000_000 * 10**9 + 10**9 * np.arange(len(batch))
    with InfluxStore(_history(url)) as store:
        store.write(Batch.of_asset("lathe", times_ns, CHANNELS, batch.values))
    found = [_read_in_fresh_process(url) for _ in range(repeats)]
    if any(n_rows != len(batch) for n_rows, _, _ in found):
        raise ValueError(f"{len(batch)} rows written, read {[n_rows for n_rows, _, _ in found]}")
    case = f"reading {n_points:,} points of one machine, {len(CHANNELS)} channels, fresh process"
    seconds, memory = [row[1] for row in found], [row[2] for row in found]
    return [
        compare(case, "s", ours=seconds, peer="limit", peer_values=[LIMIT_S], is_more_better=False),
        compare(
            f"{case}: peak memory", "MiB", ours=memory, peer="limit", peer_values=[LIMIT_MIB], is_more_better=False
        ),
    ]


def read_history(url: str) -> tuple[int, float, float]:
    """Rows, seconds, and the most resident memory in MiB that this process ever had (Linux, man 5 proc)."""
    with InfluxStore(_history(url)) as store:
        begin = time.perf_counter()
        found = store.read("lathe", FIRST_NS, LAST_NS, channels=CHANNELS)
        taken_s = time.perf_counter() - begin
    return len(found), taken_s, _peak_mib()


@contextmanager
def running() -> Iterator[tuple[str, str, str]]:
    """Addresses of an empty influxd 1.6.7, of the same behind the write endpoint of 2.x, and of a VictoriaMetrics."""
    servers, shims = _helper("servers"), _helper("shim")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(servers.influxd(folder / "influxd"))
        victoria = stack.enter_context(servers.victoria_metrics(folder / "victoria"))
        with InfluxStore(InfluxSettings(url=server.url)) as store:
            store.prepare()
        shim = stack.enter_context(shims.Shim(server.url))
        yield server.url, shim.url, victoria.url


def main() -> None:
    """Measure and write benchmarks/results/stores.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--read", metavar="URL", help="read the history there in this process and print what it took")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for stores.json")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.read:
        sys.stdout.write(json.dumps(read_history(options.read)) + "\n")
        return
    batch = make_batch(options.points)
    rows = [measure_lines(batch, options.repeats)]
    with running() as (url, shim_url, victoria_url):
        rows += measure_writing("influxd 1.6.7, all through the shim", shim_url, batch, options.repeats, flavour="v2")
        rows += measure_writing("VictoriaMetrics", victoria_url, batch, options.repeats, flavour="v2")
        rows += measure_reading(url, options.points, options.repeats)
    LOG.info("written: %s", write_results("stores", rows, options.results))
    for row in rows:
        LOG.info("%(case)s: %(ours)s %(unit)s, %(peer)s %(peer_value)s, ratio %(ratio)s", row)


def _shape(batch: Batch) -> str:
    return f"{batch.n_points:,} points, {len(CHANNELS)} a line, {BATCH_ROWS} lines a request"


def _history(url: str) -> InfluxSettings:
    return InfluxSettings(url=url, measurement="history")


def _read_in_fresh_process(url: str) -> tuple[int, float, float]:
    words = [sys.executable, "-m", "benchmarks.stores", "--read", url]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    n_rows, seconds, memory_mib = json.loads(done.stdout)
    return n_rows, seconds, memory_mib


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _helper(name: str) -> ModuleType:
    path = ROOT / "tests" / "stores" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"store_{name}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path}: the servers of the tests are started by this file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
