"""A running bridge with real servers: TLS, a store that asks for patience, a full disk, a rival, alarms, SIGTERM."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import urllib3

from benchmarks.rig import BridgeProcess, Publisher, Spool, message, read_back, sample, servers
from foresense.bridge import TOPIC
from foresense.bridge.bridge import run_bridge
from foresense.bridge.connection import Connection
from foresense.bridge.counters import Counters
from foresense.bridge.plant import Message
from foresense.bridge.settings import BrokerSettings
from foresense.bridge.watch import read_state
from foresense.stores import NoDatabaseError, StoreError, StoreUnavailableError
from foresense.stores.embedded import EmbeddedStore
from foresense.stores.influx import InfluxSettings, InfluxStore

pytestmark = pytest.mark.slow


@contextmanager
def running(settings: Any, store: Any) -> Iterator[Counters]:
    """The bridge in a thread, until the block ends; an error of it is raised here."""
    stop, counters, errors = threading.Event(), Counters(), []

    def work() -> None:
        try:
            run_bridge(settings, store, stop, counters)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: bool(errors) or (settings.folder / "state.json").exists())
        yield counters
    finally:
        stop.set()
        thread.join(30)
    if errors:
        raise errors[0]


def wait_until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def wait_until_connected(folder: Path) -> None:
    wait_until(lambda: bool(read_state(folder)["is_connected"]))


def publish(broker: BrokerSettings, folder: Path, payloads: list[bytes]) -> None:
    spool = Spool(folder / f"publisher-{time.time_ns()}")
    try:
        publisher = Publisher(broker, spool, topic=TOPIC, client_id="test")
        done = publisher.run([Message(0, 1, payload) for payload in payloads], threading.Event(), speed=0)
    finally:
        spool.close()
    assert (done.messages, done.unheard) == (len(payloads), 0)


def expected(n: int) -> dict[tuple[str, int, str], float]:
    return {(asset, at, "temp_body"): celsius for asset, at, celsius in map(sample, range(n))}


def stored(store: Any, n: int) -> bool:
    """Whether the store has samples 0 to `n`, each once and with its value."""
    found, n_doubled = read_back(store, n)
    return n_doubled == 0 and found == {(asset, at): celsius for asset, at, celsius in map(sample, range(n))}


@pytest.fixture
def real_server() -> Iterator[Callable[..., Any]]:
    started = []

    def make(name: str, *arguments: Any) -> Any:
        try:
            started.append(getattr(servers(), name)(*arguments))
        except servers().MissingServerError as error:
            pytest.skip(str(error))
        return started[-1]

    yield make
    for server in started:
        server.stop()


# paho-mqtt 2.2 leaves the closing of a socket whose handshake failed to its collection
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_tls_with_user_and_password_and_a_foreign_ca_gets_nothing(
    real_server, certificates, store, settings_of, tmp_path, caplog
) -> None:
    ca, certificate, key = certificates(tmp_path, "ours")
    foreign, *_ = certificates(tmp_path, "foreign")
    users = tmp_path / "users"
    users.touch(0o700)
    subprocess.run(["mosquitto_passwd", "-b", str(users), "me", "s3cret"], check=True, capture_output=True)
    broker = real_server("mosquitto", tmp_path / "mosquitto", {
        "certfile": str(certificate), "keyfile": str(key), "password_file": str(users), "allow_anonymous": "false",
    })  # fmt: skip
    broker.start()

    def reached_with(ca_file: Path) -> BrokerSettings:
        environment = {"FORESENSE_MQTT_PASSWORD": "s3cret", "FORESENSE_MQTT_CA_FILE": str(ca_file)}
        return BrokerSettings.from_url(
            f"mqtts://me@127.0.0.1:{broker.port}", environment, retry_first_s=0.1, retry_last_s=0.3
        )

    with running(settings_of(broker.port, tmp_path / "a", broker=reached_with(foreign)), store) as counters:
        wait_until(lambda: caplog.text.count("CERTIFICATE_VERIFY_FAILED") >= 2)
        assert (counters.received, read_state(tmp_path / "a")["is_connected"]) == (0, False)
    assert "of a CA that we do not know: set FORESENSE_MQTT_CA_FILE; next try in" in caplog.text
    assert "New client connected" not in (broker.folder / "log.txt").read_text()

    with running(settings_of(broker.port, tmp_path / "b", broker=reached_with(ca)), store):
        wait_until_connected(tmp_path / "b")
        publish(reached_with(ca), tmp_path, [message(number) for number in range(500)])
        wait_until(lambda: store.values == expected(500))
    assert "s3cret" not in caplog.text
    with pytest.raises(OSError, match=r"FORESENSE_MQTT_CA_FILE: .*none.crt cannot be read: .*the broker's CA \(PEM\)"):
        Connection(reached_with(tmp_path / "none.crt"), client_id="x")


@contextmanager
def impatient(server_url: str, n_busy: int, retry_after_s: int) -> Iterator[tuple[str, list[tuple[float, int]]]]:
    """A proxy that answers the first `n_busy` writes with 429; its address, and when it answered a write with what."""
    answers: list[tuple[float, int]] = []
    pool = urllib3.PoolManager(retries=False, timeout=30)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_GET(self) -> None:
            self._pass_on("GET")

        def do_POST(self) -> None:
            self._pass_on("POST")

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _pass_on(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_write = self.path.startswith("/write")
            if is_write and len(answers) < n_busy:
                status, content = 429, b'{"error": "slow down"}'
            else:
                headers = {"Content-Encoding": found} if (found := self.headers.get("Content-Encoding")) else {}
                response = pool.request(method, server_url + self.path, body=body, headers=headers)
                status, content = response.status, response.data
            if is_write:
                answers.append((time.monotonic(), status))
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", str(retry_after_s))
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        pool.clear()


@pytest.mark.parametrize("is_spooling", [True, False])
def test_a_store_that_asks_for_patience_gets_it_and_everything(
    is_spooling, real_server, broker, settings_of, tmp_path
) -> None:
    influxd = real_server("influxd", tmp_path / "influxd")
    influxd.start()
    with (
        impatient(influxd.url, n_busy=2, retry_after_s=2) as (url, answers),
        InfluxStore(InfluxSettings(url=url, flavour="v1")) as store,
    ):
        store.prepare()
        settings = settings_of(broker.port, tmp_path, is_spooling=is_spooling)
        with running(settings, store) as counters:
            wait_until_connected(tmp_path)
            publish(settings.broker, tmp_path, [message(number) for number in range(300)])
            wait_until(lambda: counters.store_problem.endswith("answers 429: slow down; try later"))
            wait_until(lambda: counters.acknowledged == 300 and counters.stored >= 300 and not counters.store_problem)
        assert stored(store, 300)
    assert [status for _, status in answers[:3]] == [429, 429, 204]
    waits_s = [later - earlier for (earlier, _), (later, _) in pairwise(answers[:3])]
    assert all(2.0 <= wait_s < 4.0 for wait_s in waits_s), waits_s


def test_a_database_that_is_missing_is_made_when_the_server_can_be_reached(
    real_server, broker, settings_of, tmp_path
) -> None:
    influxd = real_server("influxd", tmp_path / "influxd")
    with InfluxStore(InfluxSettings(url=influxd.url)) as store:
        settings = settings_of(broker.port, tmp_path)
        with running(settings, store) as counters:
            wait_until_connected(tmp_path)
            publish(settings.broker, tmp_path, [message(number) for number in range(100)])
            wait_until(lambda: "cannot be reached" in counters.store_problem)
            influxd.start()
            wait_until(lambda: counters.stored == 100)
        assert stored(store, 100)


def test_a_database_that_cannot_be_made_is_said(broker, store, settings_of, tmp_path, monkeypatch) -> None:
    def refuse() -> None:
        raise StoreError("no right to make databases")

    store.problem = NoDatabaseError("answers 404")
    monkeypatch.setattr(store, "prepare", refuse, raising=False)
    settings = settings_of(broker.port, tmp_path)
    with running(settings, store) as counters:
        wait_until_connected(tmp_path)
        publish(settings.broker, tmp_path, [message(0)])
        wait_until(lambda: bool(counters.store_problem))
        assert counters.store_problem == "answers 404; making it failed: no right to make databases"
        store.problem = None
        wait_until(lambda: store.values == expected(1))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED, a full file system: needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_file_system_acknowledges_nothing_and_goes_on_when_there_is_room(
    small_disk, broker, store, settings_of, tmp_path, caplog
) -> None:
    settings = settings_of(broker.port, small_disk)
    with running(settings, store) as counters:
        wait_until_connected(small_disk)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * (2 << 20))
        publish(settings.broker, tmp_path, [message(number, n_pad=2000) for number in range(300)])
        wait_until(lambda: "disk is full" in counters.intake_problem or "disk I/O" in counters.intake_problem)
        n_kept = counters.acknowledged
        assert n_kept < 300
        wait_until(lambda: "messages cannot be kept, so the broker keeps them" in caplog.text)
        assert "make room on the disk" in counters.intake_problem
        filler.unlink()
        wait_until(lambda: store.values == expected(300))
        wait_until(lambda: counters.acknowledged >= 300 and not read_state(small_disk)["intake_problem"])
    assert counters.redelivered > 0


def test_a_rival_with_our_id_is_said_and_not_fought_in_a_tight_loop(
    broker, store, settings_of, tmp_path, caplog
) -> None:
    patient = BrokerSettings(host="127.0.0.1", port=broker.port, retry_first_s=0.2, retry_last_s=10.0)
    settings = settings_of(broker.port, tmp_path, broker=patient)
    with running(settings, store):
        wait_until_connected(tmp_path)
        rival = Connection(patient, client_id=settings.client_id, topics=settings.topics, on_message=lambda _: None)
        thread = threading.Thread(target=publish, args=(patient, tmp_path, [message(n) for n in range(300)]))
        thread.start()
        said = "closed soon: has another client our id 'foresense-bridge', is a second one running?; next try"
        began = time.monotonic()
        while said not in caplog.text or time.monotonic() < began + 4.0:
            assert time.monotonic() < began + 60.0, "the rival is not said"
            rival.step(0.05)
        fought_s = time.monotonic() - began
        rival.close()
        thread.join()
        wait_until(lambda: store.values == expected(300))
        wait_until(lambda: read_state(tmp_path)["n_connection_losses"] >= 1)
        n_losses = read_state(tmp_path)["n_connection_losses"]
    # waits of 0.2, 0.4, 0.8, 1.6 s on both sides: five or so in 4 s; without the growing wait about five each second
    assert n_losses <= 2 + 2 * fought_s


def test_a_broker_that_names_the_rival_is_quoted(caplog) -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.reasoncodes import ReasonCode

    connection = Connection(BrokerSettings(), client_id="mine")
    connection._on_disconnect(
        connection.client, None, None, ReasonCode(PacketTypes.DISCONNECT, "Session taken over"), None
    )
    assert "(Session taken over); another client has our id 'mine': is a second one running?; next try" in caplog.text


def test_each_alarm_runs_the_command_once_when_it_begins_and_once_when_it_ends(
    broker, store, settings_of, tmp_path
) -> None:
    told = tmp_path / "told.txt"
    command = (sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))")
    settings = settings_of(
        broker.port, tmp_path, alarm_command=command, alarm_after_s=0.3, alarm_spool_mib=0.01, state_every_s=0.1
    )

    def is_on() -> set[str]:
        return set(read_state(tmp_path)["alarms_on"])

    with running(settings, store):
        wait_until_connected(tmp_path)
        broker.stop()
        wait_until(lambda: is_on() == {"broker_unavailable"})
        broker.start()
        wait_until(lambda: not is_on())
        store.problem = StoreUnavailableError("no answer")
        publish(settings.broker, tmp_path, [message(number) for number in range(200)])
        wait_until(lambda: is_on() == {"store_unavailable", "spool_above"})
        store.problem = None
        wait_until(lambda: not is_on() and store.values == expected(200))
    changes = [json.loads(line) for line in told.read_text().splitlines()]
    for name in ("broker_unavailable", "store_unavailable", "spool_above"):
        assert [found["is_on"] for found in changes if found["alarm"] == name] == [True, False]
    assert len(changes) == 6
    assert {"alarm", "is_on", "text", "time_utc", "state"} == set(changes[0])
    texts = {found["alarm"]: found["text"] for found in changes if found["is_on"]}
    assert settings.broker.address in texts["broker_unavailable"]
    assert re.fullmatch(r"for \d+ s: no answer", texts["store_unavailable"])
    assert re.search(r"MiB wait for the store, the limit is 0\.0 MiB", texts["spool_above"])


def test_sigterm_at_any_moment_of_the_start_loses_nothing(broker, tmp_path) -> None:
    bridge = BridgeProcess(tmp_path, f"mqtt://127.0.0.1:{broker.port}", f"embedded:{tmp_path / 'store'}", {}, [])
    try:
        bridge.start()
        bridge.wait_until_connected()
        assert bridge.end() == 0
        plain = BrokerSettings(host="127.0.0.1", port=broker.port)
        publish(plain, tmp_path, [message(number) for number in range(200)])
        for wait_s in (0.3, 0.6, 0.9, 1.2, 1.6, 2.0, None):  # None: the first moment at which it is caught
            bridge.start()
            if wait_s is None:
                wait_until(lambda: catches_sigterm(bridge.pid))
            else:
                time.sleep(wait_s)
            is_caught = catches_sigterm(bridge.pid)
            assert bridge.end() in ((0,) if is_caught else (0, -signal.SIGTERM))
        bridge.start()
        bridge.wait_until_connected()
        wait_until(lambda: stored(EmbeddedStore(tmp_path / "store"), 200))
        assert bridge.end() == 0
    finally:
        bridge.close()


def catches_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(mask >> (signal.SIGTERM - 1) & 1)
