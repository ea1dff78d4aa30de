"""The broker's configuration on a real mosquitto: only the places and the port are another one."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

paho = pytest.importorskip("paho.mqtt.client")
CONFIG = Path(__file__).parents[2] / "deploy" / "mosquitto"
PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs mosquitto 2 (Debian: apt-get install mosquitto)")


class Broker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "passwords").touch(0o600)
        for user in ("bridge", "machines"):
            words = ["mosquitto_passwd", "-b", str(folder / "passwords"), user, f"{user}-password"]
            subprocess.run(words, check=True, capture_output=True)
        text = (CONFIG / "mosquitto.conf").read_text()
        for old, new in (
            ("listener 1883", f"listener {self.port} 127.0.0.1"),
            ("/run/mosquitto/passwords", str(folder / "passwords")),
            ("/mosquitto/config/acl", str(CONFIG / "acl")),
            ("/mosquitto/data/", f"{folder}/"),
        ):
            assert old in text
            text = text.replace(old, new)
        (folder / "mosquitto.conf").write_text(text + ("user root\n" if os.getuid() == 0 else ""))

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([str(PROGRAM), "-c", str(self.folder / "mosquitto.conf")], stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    found = Broker(tmp_path)
    found.start()
    yield found
    found.kill()


@contextmanager
def client(broker: Broker, user: str | None, **handlers: Any) -> Iterator[Any]:
    """A connected client with a session that outlives it."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    found = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=user or "nobody", protocol=paho.MQTTv5)
    if user is not None:
        found.username_pw_set(user, f"{user}-password")
    for name, handler in handlers.items():
        setattr(found, name, handler)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    found.connect("127.0.0.1", broker.port, clean_start=False, properties=session)
    found.loop_start()
    try:
        yield found
    finally:
        found.disconnect()
        found.loop_stop()


def wait_until(done: Any) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened within 30 s")


def test_no_one_gets_in_without_a_password(broker: Broker) -> None:
    codes: list[str] = []
    with client(broker, None, on_connect=lambda *given: codes.append(str(given[3]))):
        wait_until(lambda: codes)
    assert set(codes) == {"Not authorized"}


def test_machines_only_speak_and_the_bridge_only_listens(broker: Broker) -> None:
    heard: list[tuple[str, bytes]] = []
    answers: list[str] = []

    def published(*given: Any) -> None:
        answers.append(str(given[3]))

    with (
        client(
            broker, "bridge", on_message=lambda *given: heard.append(("bridge", given[2].payload)), on_publish=published
        ) as one,
        client(broker, "machines", on_message=lambda *given: heard.append(("machines", given[2].payload))) as two,
    ):
        one.subscribe("#", qos=1)
        two.subscribe("#", qos=1)
        one.publish("sensors", b"from the bridge", qos=1)
        wait_until(lambda: answers)
        two.publish("sensors", b"from a machine", qos=1)
        wait_until(lambda: heard)
        time.sleep(0.3)
    assert answers == ["Not authorized"]
    assert heard == [("bridge", b"from a machine")]


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_kill_of_the_broker(broker: Broker) -> None:
    """3000 is three times the default queue; two seconds are more than one autosave."""
    n = 3000
    subscribed: list[int] = []
    with client(broker, "bridge", on_subscribe=lambda *_: subscribed.append(1)) as bridge:
        bridge.subscribe("#", qos=1)
        wait_until(lambda: subscribed)
    acknowledged: list[int] = []
    with client(broker, "machines", on_publish=lambda *_: acknowledged.append(1)) as machine:
        for number in range(n):
            machine.publish("sensors", str(number).encode(), qos=1)
        wait_until(lambda: len(acknowledged) == n)
    time.sleep(2.5)
    broker.kill()
    broker.start()
    heard: set[bytes] = set()
    with client(broker, "bridge", on_message=lambda *given: heard.add(given[2].payload)):
        wait_until(lambda: len(heard) >= n)
    assert heard == {str(number).encode() for number in range(n)}
