"""Messages and points a second from the publisher through broker, queue and store, at QoS 1; and the bridge's memory.

Everything runs on this machine, publisher and broker too. Run from the project root: `python -m benchmarks.bridge`.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import write_results
from benchmarks.rig import ASSETS, START_NS, Rig, Size, message, read_back, rig, state_of, wait_for
from foresense.bridge.payload import CHANNELS
from foresense.stores.embedded import EmbeddedStore

TARGET_MESSAGES, TARGET_POINTS, LIMIT_MIB = 5_000.0, 150_000.0, 150.0
_N_COLUMN = 250  # samples of four channels in one batched message: 1000 points
_AFTER_S = 40.0  # at one write a second: enough for a merge
_FAST_HZ = 1e6  # the publisher is never the one that waits


def columns(n_messages: int) -> Iterator[bytes]:
    """Batched messages; no two samples have one asset and time."""
    for number in range(n_messages):
        first = number // len(ASSETS) * _N_COLUMN
        times_ns = [START_NS + (first + i) * 10**9 for i in range(_N_COLUMN)]
        values = {name: [20.0 + (first + i) % 1000 / 16 for i in range(_N_COLUMN)] for name in CHANNELS}
        content = {"workspace_id": ASSETS[number % len(ASSETS)], "time_ns": times_ns, **values}
        yield json.dumps(content).encode()


def stored_rows(folder: Path) -> int:
    """Samples in the store: one for each asset and time."""
    store = EmbeddedStore(folder / "store")
    end_ns = START_NS + 10**9 * 10**9
    return sum(len(store.read(asset, START_NS, end_ns, channels=("temp_body",))) for asset in ASSETS)


def throughput(folder: Path, case: str, n_messages: int, *, is_batched: bool) -> dict[str, Any]:
    """Publish as fast as acknowledgements come, and count until the last sample is stored."""
    n_samples = n_messages * (_N_COLUMN if is_batched else 1)
    with rig(folder, Size(rate_hz=_FAST_HZ), is_influx=False) as found:
        began = time.monotonic()
        found.publish(list(columns(n_messages)) if is_batched else [message(number) for number in range(n_messages)])
        wait_for(lambda: state_of(folder).get("stored", 0) >= n_samples, 900, "not everything is stored")
        seconds = time.monotonic() - began
        memory_mib = _memory_mib(found)
        found.finish_publishing()
        found.bridge.end()
    return {
        "case": case,
        "messages_per_s": round(n_messages / seconds),
        "points_per_s": round(n_samples * (len(CHANNELS) if is_batched else 1) / seconds),
        "sent": n_samples,
        "lost": n_samples - stored_rows(folder),
        "memory_mib": round(memory_mib, 1),
        "target": TARGET_POINTS if is_batched else TARGET_MESSAGES,
    }


def memory_in_outage(folder: Path, seconds: float, *, is_influx: bool, rate_hz: float = 500.0) -> dict[str, Any]:
    """Peak memory of the bridge while the store is away and messages come, and after that, while it catches up.

    The server of the one store is stopped; of the embedded one another process, this one, holds the writer's lock.
    """
    n = int((seconds + _AFTER_S) * rate_hz)
    with rig(folder, Size(n=n, rate_hz=rate_hz), is_influx=is_influx) as found, ExitStack() as outage:
        if is_influx:
            found.influxd.stop()
            outage.callback(found.influxd.start)
        else:
            holder = EmbeddedStore(folder / "store")
            holder.delete(0, 0)  # takes the lock
            outage.callback(holder.close)
        found.publish(message(number) for number in range(n))
        time.sleep(seconds)
        n_waiting, away_mib = state_of(folder)["spooled"], _memory_mib(found)
        outage.close()
        found.finish_publishing()
        wait_for(lambda: state_of(folder).get("stored", 0) >= n, 600, "not everything is stored")
        peak_mib = _memory_mib(found)
        found.bridge.end()
        store = found.open_store()
        try:
            n_stored = len(read_back(store, n)[0])
        finally:
            store.close()
    return {
        "case": f"{'influx' if is_influx else 'embedded'} away for {seconds:g} s at {rate_hz:g} messages/s",
        "sent": n,
        "waited": n_waiting,
        "lost": n - n_stored,
        "memory_away_mib": round(away_mib, 1),
        "memory_mib": round(peak_mib, 1),
        "target": LIMIT_MIB,
    }


def _memory_mib(found: Rig) -> float:
    """Peak of the bridge's process so far, as the kernel counted it."""
    lines = Path(f"/proc/{psutil.Process(found.bridge.pid).pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    """Measure; write benchmarks/results/bridge.json; exits 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small; writes nothing")
    is_short = parser.parse_args().short
    logging.basicConfig(level=logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("single", "batched", "embedded", "influx"):
            (root / name).mkdir()
        n = 5_000 if is_short else 1_000_000
        rows.append(throughput(root / "single", "one sample a message, spool", n, is_batched=False))
        rows.append(throughput(root / "batched", "1000 points a message, spool", n // 250, is_batched=True))
        for name in ("embedded", "influx"):
            outage_s = 5.0 if is_short else 600.0
            rows.append(memory_in_outage(root / name, outage_s, is_influx=name == "influx"))
    for row in rows:
        print(json.dumps(row))  # noqa: T201
    if not is_short:
        write_results("bridge", rows)
    return int(any(row["lost"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
