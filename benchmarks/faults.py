"""What survives: brokers, stores and bridges that go away, disks that fill, and what hostile senders send.

Each case publishes samples with times of their own through the real publisher, to a real mosquitto with the durable
configuration, a bridge in a process of its own, and a real store; then it reads the store and counts. A sample is lost
when the broker acknowledged it and the store does not have it. The tests run the same cases in a short form. Run from
the project root: `python -m benchmarks.faults`.
"""

import argparse
import json
import logging
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import write_results
from benchmarks.rig import Rig, Size, message, read_back, rig, sample, wait_for

LOG = logging.getLogger(__name__)
_DEEP = b"[" * 5000
#: Messages that must be refused, each counted once, and must harm nothing.
HOSTILE = (
    b"",
    b"\x00\xff\xfe binary",
    b"not json",
    b"[1, 2, 3]",
    _DEEP,
    b'{"workspace_id": "x", "time_ns": 1700000000000000000, "temp_body": NaN}',
    b'{"workspace_id": "x", "time_ns": 1700000000000000000, "temp_body": 1e999}',
    b'{"workspace_id": "x", "time_ns": 1700000000000000000, "temp_body": "50"}',
    b'{"workspace_id": "x", "time_ns": 1700000000000000000, "temp_body": true}',
    b'{"workspace_id": "x", "time_ns": true, "temp_body": 1}',
    b'{"workspace_id": "x", "time": "1970-01-01T00:00:00Z", "temp_body": 1}',
    b'{"workspace_id": "x", "time": "2262-04-12T00:00:00Z", "temp_body": 1}',
    b'{"workspace_id": "x", "time": "9999-12-31T23:59:59Z", "temp_body": 1}',
    b'{"workspace_id": "x", "time_ns": 99999999999999999999999, "temp_body": 1}',
    b'{"workspace_id": "x", "temp_body": 1}',
    b'{"workspace_id": "", "time_ns": 1700000000000000000, "temp_body": 1}',
    b'{"workspace_id": "a\\u0000b", "time_ns": 1700000000000000000, "temp_body": 1}',
    b'{"workspace_id": "x", "time_ns": [1700000000000000000], "temp_body": [[[[1]]]]}',
    b'{"samples": "none"}',
    b'{"workspace_id": "x", "time_ns": 1700000000000000000, "temp_body": 1, "pad": "' + b"x" * (1 << 20) + b'"}',
)


SHORT = Size()
LONG = Size(n=15_000, outage_s=10.0, n_kills=25)


@dataclass(frozen=True)
class Outcome:
    """What a case has shown.

    Attributes:
        case: Name.
        sent: Samples that the broker acknowledged.
        stored: Those that the store has.
        lost: Those that it does not have, or has with another value.
        duplicated: Rows beyond one for each asset and time.
        hostile: Messages that must be refused.
        letters: Messages in the dead-letter files, each counted once.
        seconds: From the first message until all was stored.
    """

    case: str
    sent: int
    stored: int
    lost: int
    duplicated: int
    hostile: int
    letters: int
    seconds: float


def outcome(case: str, rig: Rig, n: int, began: float, hostile: int = 0) -> Outcome:
    """Wait until everything is stored, stop the bridge as systemd does, and count."""
    rig.finish_publishing()
    store = rig.open_store()
    try:
        try:
            wait_for(lambda: len(read_back(store, n)[0]) >= n, 60, "not everything is stored")
        except TimeoutError as error:
            LOG.warning("%s: %s", case, error)
        seconds = time.monotonic() - began
        rig.bridge.wait_until_connected()
        code = rig.bridge.end()
        found, duplicated = read_back(store, n)
    finally:
        store.close()
    if code != 0:
        raise AssertionError(f"{case}: the bridge left with exit code {code}; see {rig.folder / 'bridge.log'}")
    expected = {(asset, at): celsius for asset, at, celsius in map(sample, range(n))}
    stored = sum(found.get(key) == celsius for key, celsius in expected.items())
    n_letters = len(refused_messages(rig.folder / "bridge"))
    return Outcome(
        case, n, stored, n - stored, duplicated + len(found.keys() - expected), hostile, n_letters, round(seconds, 1)
    )


def refused_messages(folder: Path) -> set[str]:
    """Payloads in the dead letters, each once: what a killed bridge had not acknowledged yet comes a second time."""
    files = folder.glob("dead-letters*.jsonl")
    letters = (json.loads(line) for path in files for line in path.read_bytes().splitlines())
    return {letter.get("payload", letter.get("payload_base64")) for letter in letters}


def broker_down(folder: Path, size: Size) -> Outcome:
    """The broker is stopped in the middle, and comes back."""
    return _outage("broker_down", folder, size, is_influx=False, broker=True)


def store_down(folder: Path, size: Size) -> Outcome:
    """The store is stopped in the middle, and comes back."""
    return _outage("store_down", folder, size, is_influx=True, store=True)


def both_down(folder: Path, size: Size) -> Outcome:
    """Both are away at one time."""
    return _outage("both_down", folder, size, is_influx=True, broker=True, store=True)


def store_down_without_spool(folder: Path, size: Size) -> Outcome:
    """The store is away and there is no queue but the broker's."""
    return _outage("store_down_without_spool", folder, size, is_influx=True, store=True, options=["--no-spool"])


def spool_full(folder: Path, size: Size) -> Outcome:
    """The store is away for so long that the queue's disk is full."""
    return _outage("spool_full", folder, size, is_influx=True, store=True, options=["--spool-mib", "8"], n_pad=20_000)


def _outage(
    case: str,
    folder: Path,
    size: Size,
    *,
    is_influx: bool,
    broker: bool = False,
    store: bool = False,
    options: Sequence[str] = (),
    n_pad: int = 0,
) -> Outcome:
    with rig(folder, size, is_influx=is_influx, options=options) as found:
        began = time.monotonic()
        found.publish(message(number, n_pad) for number in range(size.n))
        time.sleep(size.n / size.rate_hz / 4)
        stopped = [server for server, is_hit in ((found.broker, broker), (found.influxd, store)) if is_hit]
        for server in stopped:
            server.stop()
        time.sleep(size.outage_s)
        for server in stopped:
            server.start()
        counted = outcome(case, found, size.n, began)
        if n_pad and "disk is full" not in (folder / "bridge.log").read_text():
            raise AssertionError(f"{case}: the queue was never full")
        return counted


def bridge_killed(folder: Path, size: Size) -> Outcome:
    """`kill -9` of the bridge at random moments while messages come."""
    rng = random.Random(0)
    with rig(folder, size, is_influx=False) as found:
        began = time.monotonic()
        found.publish(map(message, range(size.n)))
        for _ in range(size.n_kills):
            time.sleep(rng.uniform(0.2, 2.0))
            found.bridge.end(signal.SIGKILL)
            found.bridge.start()
        return outcome("bridge_killed", found, size.n, began)


def sent_twice(folder: Path, size: Size) -> Outcome:
    """Every message comes two times."""
    with rig(folder, size, is_influx=True) as found:
        began = time.monotonic()
        found.publish(payload for number in range(size.n) for payload in (message(number), message(number)))
        return outcome("sent_twice", found, size.n, began)


def out_of_order(folder: Path, size: Size) -> Outcome:
    """Messages come in random order, so most of them late."""
    numbers = list(range(size.n))
    random.Random(0).shuffle(numbers)
    with rig(folder, size, is_influx=False) as found:
        began = time.monotonic()
        found.publish(map(message, numbers))
        return outcome("out_of_order", found, size.n, began)


def hostile(folder: Path, size: Size) -> Outcome:
    """Messages that must be refused come among the good ones, and the bridge is killed once."""
    every = max(size.n // len(HOSTILE), 1)
    bad = iter(HOSTILE)

    def payloads() -> Iterator[bytes]:
        for number in range(size.n):
            yield message(number)
            if number % every == 0 and (found := next(bad, None)) is not None:
                yield found
        yield from bad

    with rig(folder, size, is_influx=False) as found:
        began = time.monotonic()
        found.publish(payloads())
        time.sleep(size.n / size.rate_hz / 2)
        found.bridge.end(signal.SIGKILL)
        found.bridge.start()
        return outcome("hostile", found, size.n, began, hostile=len(HOSTILE))


CASES: dict[str, Callable[[Path, Size], Outcome]] = {
    case.__name__: case
    for case in (
        *(broker_down, store_down, both_down, store_down_without_spool, spool_full),
        *(bridge_killed, sent_twice, out_of_order, hostile),
    )
}


def main() -> int:
    """Run cases and write benchmarks/results/faults.json; exits 1 where something was lost, doubled or not counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only this one; may come again")
    parser.add_argument("--short", action="store_true", help="the form of the tests; writes nothing")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    rows = []
    for name in chosen.case or CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = CASES[name](Path(folder), SHORT if chosen.short else LONG)
        rows.append(asdict(found))
        print(json.dumps(rows[-1]), flush=True)  # noqa: T201
    if not chosen.short and not chosen.case:
        write_results("faults", rows)
    return int(any(row["lost"] or row["duplicated"] or row["letters"] != row["hostile"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
