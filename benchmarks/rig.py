"""A real broker, a real store, a bridge in a process of its own and the real publisher, for faults and for speed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.harness import ROOT
from foresense.bridge import TOPIC
from foresense.bridge.payload import CHANNELS
from foresense.bridge.plant import Message
from foresense.bridge.publisher import Publisher
from foresense.bridge.settings import BrokerSettings
from foresense.bridge.spool import Spool
from foresense.stores import Store, open_store

ASSETS = ("lathe-1-spindle", "cnc-mill-5-axis")
START_NS = 1_700_000_000 * 10**9
_SECOND = 10**9


@dataclass(frozen=True)
class Size:
    """How large a case is.

    Attributes:
        n: Messages.
        rate_hz: Messages a second.
        outage_s: How long something is away.
        n_kills: Of the bridge.
    """

    n: int = 1500
    rate_hz: float = 500.0
    outage_s: float = 2.0
    n_kills: int = 5


def servers() -> ModuleType:
    """The servers of the tests, by path: a package `tests` may be installed elsewhere."""
    name = "store_servers"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "stores" / "servers.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def sample(number: int) -> tuple[str, int, float]:
    """Asset, time and temperature of sample `number`: no two have one asset and time."""
    return ASSETS[number % len(ASSETS)], START_NS + (number // len(ASSETS)) * _SECOND, 20.0 + number % 1000 / 16


def message(number: int, n_pad: int = 0) -> bytes:
    """Sample `number` as the bridge wants it, with a field of `n_pad` letters that no channel has."""
    asset, time_ns, celsius = sample(number)
    content = {"workspace_id": asset, "time_ns": time_ns, "temp_body": celsius, "current": None}
    return json.dumps(content | ({"pad": "x" * n_pad} if n_pad else {})).encode()


class BridgeProcess:
    """`foresense bridge run` in a process of its own, that can be killed and started again."""

    def __init__(self, folder: Path, url: str, store: str, environment: dict[str, str], options: Sequence[str]) -> None:
        self._command = [
            *(sys.executable, "-m", "foresense", "bridge", "run", "--url", url, "--store", store),
            *("--folder", str(folder / "bridge"), "--metrics-port", "0"),
            *("--retry-first-s", "0.2", "--retry-last-s", "1", *options),
        ]
        self._environment = {**os.environ, **environment, "FORESENSE_PROJECT": str(folder), "OMP_NUM_THREADS": "1"}
        self._environment["PYTHONPATH"] = f"{ROOT / 'src'}:{ROOT}"
        self._folder = folder
        self._log = (folder / "bridge.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(self._command, env=self._environment, stdout=self._log, stderr=self._log)

    def wait_until_connected(self) -> None:
        """Wait until the process that was started last has said that the broker knows it."""
        wait_for(lambda: _is_connected(state_of(self._folder), self.pid), 60, "the bridge does not connect")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal; returns its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(30)

    def close(self) -> None:
        """End it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)
        self._log.close()


@dataclass
class Rig:
    """Broker, store, bridge and publisher of one case."""

    folder: Path
    broker: Any
    influxd: Any
    bridge: BridgeProcess
    open_store: Callable[[], Store]
    size: Size
    published: int = 0
    thread: Thread | None = field(default=None)

    def publish(self, payloads: Iterable[bytes]) -> None:
        """Begin to publish at the rate of the size, one payload after the other, from a queue on disk."""
        messages = (Message(START_NS + number * _SECOND, 1, payload) for number, payload in enumerate(payloads))

        def work() -> None:
            spool = Spool(self.folder / "publisher.sqlite")
            broker = BrokerSettings(host="127.0.0.1", port=self.broker.port, retry_first_s=0.2, retry_last_s=1.0)
            try:
                publisher = Publisher(broker, spool, topic=TOPIC, client_id="faults")
                self.published = publisher.run(messages, Event(), speed=self.size.rate_hz).messages
            finally:
                spool.close()

        self.thread = Thread(target=work, name="publisher")
        self.thread.start()

    def finish_publishing(self) -> None:
        """Wait until the broker has acknowledged everything."""
        assert self.thread is not None
        self.thread.join(300)
        if self.thread.is_alive():
            raise TimeoutError("the broker has not acknowledged everything within 300 s")


@contextmanager
def rig(folder: Path, size: Size, *, is_influx: bool, options: Sequence[str] = ()) -> Iterator[Rig]:
    """Start a broker, a store, and a bridge that has subscribed."""
    with ExitStack() as stack:
        broker = stack.enter_context(servers().mosquitto(folder / "mosquitto"))
        environment: dict[str, str] = {}
        influxd, name = None, f"embedded:{folder / 'store'}"
        if is_influx:
            influxd = stack.enter_context(servers().influxd(folder / "influxd"))
            environment = {"FORESENSE_INFLUX_URL": influxd.url, "FORESENSE_INFLUX_FLAVOUR": "v1"}
            name = "influx"
            prepare(environment)
        bridge = BridgeProcess(folder, f"mqtt://127.0.0.1:{broker.port}", name, environment, options)
        stack.callback(bridge.close)
        bridge.start()
        bridge.wait_until_connected()
        yield Rig(folder, broker, influxd, bridge, lambda: open_store(name, environment), size)


def prepare(environment: dict[str, str]) -> None:
    """Make the database."""
    from foresense.stores.influx import InfluxSettings, InfluxStore

    with InfluxStore(InfluxSettings.from_environment(environment)) as store:
        store.prepare()


def state_of(folder: Path) -> dict[str, Any]:
    """What the bridge last said of itself."""
    try:
        found: dict[str, Any] = json.loads((folder / "bridge" / "state.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _is_connected(state: dict[str, Any], pid: int) -> bool:
    return bool(state) and state["pid"] == pid and state["is_connected"]


def wait_for(is_true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not within `seconds`; says `otherwise`.
    """
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"{otherwise} within {seconds:g} s")
        time.sleep(0.1)


def read_back(store: Store, n: int) -> tuple[dict[tuple[str, int], float], int]:
    """What the store has of samples 0 to `n`: temperature by asset and time, and rows beyond one for each of these."""
    found: dict[tuple[str, int], float] = {}
    n_rows = 0
    for asset in ASSETS:
        batch = store.read(asset, START_NS, START_NS + (n + 1) * _SECOND, channels=CHANNELS)
        n_rows += len(batch)
        if not np.isnan(batch.values[:, CHANNELS.index("current")]).all():
            raise AssertionError("a value that was never measured is in the store")
        found |= {(asset, int(at)): float(value) for at, value in zip(batch.times_ns, batch.values[:, 0], strict=True)}
    return found, n_rows - len(found)
