"""The bridge in this process, on a real mosquitto, with a store in memory that is away, refuses, and comes back."""

import json
import logging
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from benchmarks.rig import ASSETS, Publisher, Spool, message, sample, servers
from foresense.bridge import TOPIC
from foresense.bridge.bridge import run_bridge
from foresense.bridge.connection import Connection
from foresense.bridge.counters import Counters
from foresense.bridge.intake import Intake
from foresense.bridge.plant import Message
from foresense.bridge.publisher import PublishError
from foresense.bridge.settings import BrokerSettings
from foresense.bridge.spool import SpoolError
from foresense.bridge.watch import Alarms, problem_of, read_state
from foresense.stores import StoreUnavailableError

pytestmark = pytest.mark.slow


@contextmanager
def running(settings: Any, store: Any) -> Iterator[Counters]:
    """The bridge until the block ends; an error of it is raised here."""
    stop, counters, errors = Event(), Counters(), []

    def work() -> None:
        try:
            run_bridge(settings, store, stop, counters)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: bool(errors) or is_connected(settings.folder))
        yield counters
    finally:
        stop.set()
        thread.join(30)
    if errors:
        raise errors[0]


def is_connected(folder: Path) -> bool:
    try:
        return bool(read_state(folder)["is_connected"])
    except FileNotFoundError:
        return False


def wait_until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def publish(port: int, folder: Path, payloads: list[bytes]) -> None:
    spool = Spool(folder / f"publisher-{time.time_ns()}")
    broker = BrokerSettings(host="127.0.0.1", port=port, retry_first_s=0.1)
    try:
        publisher = Publisher(broker, spool, topic=TOPIC, client_id="test")
        done = publisher.run([Message(0, 1, payload) for payload in payloads], Event(), speed=0)
    finally:
        spool.close()
    assert (done.messages, done.unheard) == (len(payloads), 0)


def expected(n: int) -> dict[tuple[str, int, str], float]:
    return {(asset, at, "temp_body"): celsius for asset, at, celsius in map(sample, range(n))}


@pytest.mark.parametrize("is_spooling", [True, False])
def test_what_is_published_is_stored(is_spooling, broker, store, settings_of, tmp_path) -> None:
    with running(settings_of(broker.port, tmp_path, is_spooling=is_spooling), store) as counters:
        publish(broker.port, tmp_path, [message(number) for number in range(1000)])
        wait_until(lambda: counters.acknowledged == 1000 and counters.stored == 1000)
    assert store.values == expected(1000)
    assert (counters.refused, counters.stale) == (0, 0)


@pytest.mark.parametrize("is_spooling", [True, False])
def test_a_store_that_is_away_for_a_while_gets_everything(is_spooling, broker, store, settings_of, tmp_path) -> None:
    store.problem = StoreUnavailableError("no answer")
    with running(settings_of(broker.port, tmp_path, is_spooling=is_spooling), store) as counters:
        publish(broker.port, tmp_path, [message(number) for number in range(300)])
        wait_until(lambda: counters.store_problem == "no answer")
        if is_spooling:
            wait_until(lambda: counters.acknowledged == 300)
        assert counters.acknowledged == (300 if is_spooling else 0)
        store.problem = None
        wait_until(lambda: len(store.values) == 300 and not counters.store_problem)
    assert store.values == expected(300)


def test_what_the_store_does_not_take_until_the_end_is_there_after_the_next_start(
    broker, store, settings_of, tmp_path
) -> None:
    store.problem = RuntimeError("a defect")
    settings = settings_of(broker.port, tmp_path)
    with running(settings, store) as counters:
        publish(broker.port, tmp_path, [message(number) for number in range(50)])
        wait_until(lambda: counters.store_problem == "RuntimeError: a defect")
    assert read_state(tmp_path)["spooled"] == 50
    store.problem = None
    with running(settings, store):
        wait_until(lambda: store.values == expected(50))
    assert problem_of(read_state(tmp_path), 15.0).startswith("stopped at ")


def test_refused_by_schema_or_store_is_a_dead_letter_and_the_rest_is_stored(
    broker, store, settings_of, tmp_path
) -> None:
    store.refuses = {ASSETS[1]}
    payloads = [message(0), b"\xff", message(1), message(2), b'{"samples": [%s, 3]}' % message(4)]
    with running(settings_of(broker.port, tmp_path), store) as counters:
        publish(broker.port, tmp_path, payloads)
        wait_until(lambda: counters.refused == 3)
    assert set(store.values) == {key for n in (0, 2, 4) for key in [(*sample(n)[:2], "temp_body")]}
    letters = [json.loads(line) for line in (tmp_path / "dead-letters.jsonl").read_text().splitlines()]
    assert [(found["n_refused"], found["reason"].split(":")[0]) for found in letters] == [
        (1, "is no JSON in UTF-8"),
        (1, "no such asset here"),
        (1, "samples[1]"),
    ]


def test_a_queue_that_cannot_be_written_acknowledges_nothing_and_comes_back(
    broker, store, settings_of, tmp_path, monkeypatch
) -> None:
    is_full = True
    append = Spool.append

    def full(self: Spool, messages: Any) -> None:
        if is_full and "publisher" not in self.path.name:
            raise SpoolError("the disk is full")
        append(self, messages)

    monkeypatch.setattr(Spool, "append", full)
    with running(settings_of(broker.port, tmp_path), store) as counters:
        publish(broker.port, tmp_path, [message(number) for number in range(100)])
        wait_until(lambda: counters.intake_problem == "the disk is full")
        assert counters.acknowledged == 0
        is_full = False
        wait_until(lambda: store.values == expected(100))
        assert counters.redelivered >= 100
        assert not counters.intake_problem


def test_an_acknowledgement_from_before_a_reconnect_is_not_sent(broker, settings_of, tmp_path) -> None:
    kept, sent = [], []
    settings = settings_of(broker.port, tmp_path)

    def keep(messages: Any) -> None:
        kept.extend(messages)
        if len(kept) == 1:  # the connection is lost while the disk is busy
            intake.connection.client._sock_close()
            intake.connection._lost()

    intake = Intake(settings, keep, counters := Counters())
    intake.connection.client.ack = lambda packet_id, qos: sent.append(packet_id)  # type: ignore[method-assign]
    wait_until(lambda: intake.connection.step(0.05) or intake.connection.is_up)
    publish(broker.port, tmp_path, [message(0)])
    wait_until(lambda: intake.connection.step(0.05) or bool(intake._waiting))
    intake.flush()
    assert (sent, counters.stale, len(kept)) == ([], 1, 1)
    wait_until(lambda: intake.connection.step(0.05) or bool(intake._waiting))
    intake.flush()
    assert (len(sent), counters.redelivered, len(kept)) == (1, 1, 2)
    intake.connection.close()


def test_a_session_that_the_broker_forgot_is_said(real_mosquitto, caplog) -> None:
    server = real_mosquitto(is_durable=False)
    connection = Connection(
        BrokerSettings(host="127.0.0.1", port=server.port, retry_first_s=0.1), client_id="a", topics=["t"]
    )
    wait_until(lambda: connection.step(0.05) or connection.is_up)
    server.stop()
    wait_until(lambda: connection.step(0.05) or not connection.is_up)
    server.start()
    wait_until(lambda: connection.step(0.05) or connection.is_up)
    connection.close()
    assert "the broker has forgotten our session" in caplog.text
    assert "connection lost" in caplog.text


def test_a_wrong_password_is_said_and_never_shown(real_mosquitto, caplog) -> None:
    server = real_mosquitto(settings={"allow_anonymous": "false"})
    broker = BrokerSettings.from_url(
        f"mqtt://me@127.0.0.1:{server.port}", {"FORESENSE_MQTT_PASSWORD": "s3cret"}, retry_first_s=0.1
    )
    connection = Connection(broker, client_id="a", topics=["t"])
    with caplog.at_level(logging.DEBUG):
        wait_until(lambda: connection.step(0.05) or "the broker refuses us: Not authorized" in caplog.text)
    connection.close()
    assert "s3cret" not in caplog.text + repr(broker)
    assert connection.n_losses >= 1


def test_what_the_broker_refuses_stays_on_disk(real_mosquitto, tmp_path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\n")
    rules.chmod(0o700)
    server = real_mosquitto(settings={"acl_file": str(rules)})
    spool = Spool(tmp_path / "s")
    publisher = Publisher(BrokerSettings(host="127.0.0.1", port=server.port), spool, topic=TOPIC, client_id="p")
    with pytest.raises(PublishError, match=r"refuses messages of topic 'sensor/data' \(reason 0x87\).*2 messages stay"):
        publisher.run([Message(0, 1, b"a"), Message(0, 1, b"b")], Event(), speed=0)
    publisher.connection.close()
    assert spool.depth == 2
    spool.close()


@pytest.fixture
def real_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    started = []

    def make(**options: Any) -> Any:
        try:
            server = servers().mosquitto(tmp_path / "own-mosquitto", **options)
        except servers().MissingServerError as error:
            pytest.skip(str(error))
        server.start()
        started.append(server)
        return server

    yield make
    for server in started:
        server.stop()


def test_alarms_metrics_and_state_say_what_happens(broker, store, settings_of, tmp_path) -> None:
    (port,) = servers().free_ports(1)
    told = tmp_path / "told.txt"
    command = (sys.executable, "-c", f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))")
    settings = settings_of(
        broker.port, tmp_path, metrics_port=port, alarm_command=command, alarm_after_s=0.3, alarm_quiet_s=1.0
    )
    with running(settings, store) as counters:
        publish(broker.port, tmp_path, [message(0)])
        wait_until(lambda: counters.stored == 1)
        store.problem = StoreUnavailableError("no answer")
        publish(broker.port, tmp_path, [message(1), b"{}"])
        wait_until(lambda: "store_unavailable" in read_state(tmp_path)["alarms_on"])
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
        with page:
            text = page.read().decode()
        assert "foresense_bridge_stored_samples_total 1.0" in text
        assert "foresense_bridge_store_ok 0.0" in text
        assert "foresense_bridge_spooled_messages 2.0" in text
        store.problem = None
        wait_until(lambda: counters.stored == 2)
        wait_until(lambda: not read_state(tmp_path)["alarms_on"] and len(told.read_text().splitlines()) == 4)
    changes = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(found["alarm"], found["is_on"]) for found in changes] == [
        ("store_unavailable", True),
        ("store_unavailable", False),
        ("refusals", True),
        ("refusals", False),
    ]
    assert "no answer" in changes[0]["text"]
    assert changes[0]["state"]["spooled"] == 2
    assert {found["command"] for found in read_state(tmp_path)["alarms"]} == {"exit 0"}


def test_a_port_that_is_taken_is_named(broker, store, settings_of, tmp_path) -> None:
    with pytest.raises(OSError, match=rf"metrics: 127.0.0.1:{broker.port} cannot be opened.*--metrics-port, or 0"):
        run_bridge(settings_of(broker.port, tmp_path, metrics_port=broker.port), store, Event())


def test_an_alarm_command_that_fails_is_recorded_and_said_once(caplog) -> None:
    for command, told in ((["/no/such"], "failed: FileNotFoundError"), (["false"], "exit 1"), ([], "none")):
        alarms = Alarms(command)
        for _ in range(3):
            alarms.update("refusals", True, "x", {})
        assert [found["command"] for found in alarms.told] == [told]
    assert "the alarm command /no/such failed" in caplog.text
    assert "the alarm command false ended with 1" in caplog.text
