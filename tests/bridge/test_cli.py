"""Settings, and the commands as a person calls them."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foresense.__main__ import app
from foresense.bridge.backoff import Backoff
from foresense.bridge.counters import Counter, Counters
from foresense.bridge.logs import JsonLines
from foresense.bridge.settings import BridgeSettings, BrokerSettings
from foresense.bridge.watch import problem_of, read_state
from foresense.config import ConfigError
from foresense.stores import open_store
from foresense.stores.embedded import EmbeddedStore
from foresense.stores.influx import InfluxStore


def call(*words: str, folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--project", str(folder), *words], env={"FORESENSE_PROJECT": ""})
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


@pytest.mark.parametrize(
    ("url", "host", "port", "is_tls", "user"),
    [
        ("mqtt://broker", "broker", 1883, False, None),
        ("mqtt://me@broker:1999/", "broker", 1999, False, "me"),
        ("mqtts://m%40e@[::1]", "::1", 8883, True, "m@e"),
    ],
)
def test_an_address_is_read(url: str, host: str, port: int, is_tls: bool, user: str | None) -> None:
    found = BrokerSettings.from_url(url, {})
    assert (found.host, found.port, found.is_tls, found.user, found.password) == (host, port, is_tls, user, None)


def test_the_password_comes_from_the_environment_a_file_or_the_address_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from file\n")
    environment = {"FORESENSE_MQTT_PASSWORD_FILE": str(file)}
    for given, expected in (
        ({**environment, "FORESENSE_MQTT_PASSWORD": "from variable"}, "from variable"),
        (environment, "from file"),
        ({}, "from:address"),
    ):
        found = BrokerSettings.from_url("mqtt://me:from%3Aaddress@b", given)
        assert found.password is not None
        assert found.password.get_secret_value() == expected
        assert "from" not in repr(found) + found.address
    with pytest.raises(ConfigError, match=r"FORESENSE_MQTT_PASSWORD_FILE: .*none cannot be read: FileNotFoundError"):
        BrokerSettings.from_url("mqtt://me@b", {"FORESENSE_MQTT_PASSWORD_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize("url", ["http://b", "b:1883", "mqtt://", "mqtt://me:s3cret@b:99999999", "mqtt://b/path?x=1"])
def test_a_wrong_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="expected mqtt://user@host:1883 or mqtts://user@host:8883") as found:
        BrokerSettings.from_url(url, {})
    assert "s3cret" not in str(found.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flush_s": 60.0}, "flush_s: must be shorter than the keep-alive of 60 s"),
        ({"receive_maximum": 999}, "receive_maximum: must be at least twice batch_messages"),
        ({"spool_max_mib": 1.0}, "spool_max_mib: must be at least 8, twice what comes at once"),
        ({"channels": ("a", "a")}, "channels: every name once"),
        ({"metrics_port": 0}, "metrics_port: Input should be greater than or equal to 1"),
        ({"tpoics": ()}, "tpoics: Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_fit_are_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bridge: 1 problem") as found:
        BridgeSettings.checked({"broker": BrokerSettings(), "folder": tmp_path, **change})
    assert message in str(found.value)


def test_back_off_doubles_to_its_end_and_waits_for_what_the_server_asks() -> None:
    backoff = Backoff(5, 300, random.Random(0))
    waits = [backoff.failed() for _ in range(12)]
    for wait, middle in zip(waits, [5, 10, 20, 40, 80, 160, *[300] * 6], strict=True):
        assert 0.8 * middle <= wait <= min(1.2 * middle, 300)
    assert backoff.failed(at_least_s=1000.0) == 1000.0
    backoff.succeeded()
    assert backoff.failed() <= 6
    assert Backoff(5, 300).failed() >= 4


def test_names_of_unknown_fields_are_bounded() -> None:
    counters = Counters()
    for number in range(300):
        counters.see_unknown(Counter([f"{number}" + "x" * 500]))
    assert len(counters.unknown) == 101
    assert counters.unknown["(others)"] == 200
    assert max(map(len, counters.unknown)) <= 128


def test_a_store_is_opened_by_name(tmp_path: Path) -> None:
    found = open_store("embedded:mine", {}, tmp_path)
    assert isinstance(found, EmbeddedStore)
    assert found.folder == tmp_path / "mine"
    for text in ("embedded", "sqlite:x", "influx:", ""):
        with pytest.raises(ValueError, match=r"no store .*; known: embedded:<folder>, influx"):
            open_store(text, {})
    with pytest.raises(ConfigError, match="FORESENSE_INFLUX_URL is not set"):
        open_store("influx", {})
    at = {"FORESENSE_INFLUX_URL": "http://localhost:1", "FORESENSE_INFLUX_BUCKET": "b"}
    for text, bucket in (("influx", "b"), ("influx:other", "other")):
        influx = open_store(text, at)
        assert isinstance(influx, InfluxStore)
        assert influx.settings.bucket == bucket
        influx.close()


def test_logs_are_json_lines() -> None:
    record = logging.LogRecord("foresense.bridge", logging.INFO, "f", 1, 'said "%s"', ("ä",), None)
    found = json.loads(JsonLines().format(record))
    assert {key: found[key] for key in ("level", "logger", "message")} == {
        "level": "INFO",
        "logger": "foresense.bridge",
        "message": 'said "ä"',
    }
    assert datetime.fromisoformat(found["time_utc"]).tzinfo is not None
    try:
        raise ValueError("x")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: x" in json.loads(JsonLines().format(record))["error"]


def test_status_without_a_bridge_says_how_to_start_one(tmp_path: Path) -> None:
    code, shown = call("bridge", "status", folder=tmp_path)
    assert code == 1
    assert "no bridge has run there; start one with `foresense bridge run`" in shown
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(ValueError, match="is no state of a bridge"):
        read_state(tmp_path)


def test_a_state_that_is_old_is_no_work() -> None:
    old = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
    assert problem_of({"is_running": True, "time_utc": old, "pid": 7}, 15) == (
        "says nothing for 60 s; process 7 has ended, hangs, or has no room for state.json"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start", "yesterday"], "--start: expected `now` or a time like 2025-01-01T00:00:00Z, found 'yesterday'"),
        (["--speed", "-1"], "--speed: expected a number, 0 or more, found -1"),
        (["--speed", "nan"], "--speed: expected a number, 0 or more, found nan"),
        (["--interval", "1"], "  --interval: Input should be greater than or equal to 2, found 1.0"),
        (["--interval", "0"], "  --interval: Input should be greater than or equal to 2, found 0.0"),
        (
            ["--rows", "0", "--batch", "40000"],
            "options: 2 problem(s)\n  --rows: Input should be greater than 0, found 0",
        ),
        (["--batch", "40000"], "  --batch: Input should be less than or equal to 10000, found 40000"),
        (["--time-zone", "Mars/X", "--start", "2025-01-01"], "--time-zone: 'Mars/X' is no time zone; give an IANA"),
        (["--time-zone", "Mars/X"], "--time-zone: 'Mars/X' is no time zone; give an IANA"),
        (["--url", "http://x"], "expected mqtt://user@host:1883"),
    ],
)
def test_a_wrong_option_of_simulate_is_told(words: list[str], message: str, tmp_path: Path) -> None:
    code, shown = call("simulate", *words, folder=tmp_path)
    assert code == 1
    assert message in shown
    assert "pydantic" not in shown


@pytest.mark.parametrize("name", ["write", "asset", "Time_NS"])
def test_a_channel_that_the_store_would_never_take_is_refused_at_the_start(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("foresense.bridge.cli.stopped_by_signals", lambda: None)
    monkeypatch.setattr("foresense.bridge.bridge.run_bridge", lambda *_: pytest.fail("it has connected"))
    monkeypatch.setattr("foresense.bridge.memory.keep_memory_small", lambda: None)
    code, shown = call("bridge", "run", "--channel", "current", "--channel", name, folder=tmp_path)
    assert code == 1
    assert f"a channel cannot be called {name!r}: the embedded store has columns asset, time_ns, write" in shown
    assert "give the channel another name" in shown


@pytest.mark.slow
def test_plant_bridge_and_status_as_a_person_calls_them(broker, tmp_path: Path) -> None:
    environment = {
        **os.environ, "FORESENSE_PROJECT": str(tmp_path), "FORESENSE_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
        "FORESENSE_METRICS_PORT": "0", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    foresense = [sys.executable, "-m", "foresense"]
    bridge = subprocess.Popen([*foresense, "bridge", "run", "--json-logs"], env=environment, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while '"is_connected": true' not in _text(tmp_path / "bridge" / "state.json"):
            assert time.monotonic() < end
            time.sleep(0.1)
        backfill = ["--start", "2025-01-01T00:00:00Z", "--interval", "3600", "--rows", "200", "--speed", "0"]
        told = subprocess.run(
            [*foresense, "simulate", *backfill, "--batch", "50"], env=environment, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        assert "published 12 messages; " in told.stdout
        n_samples = int(told.stdout.split("; ")[1].split()[0])
        store = EmbeddedStore(tmp_path / "store")
        while len(store.assets()) < 3:
            assert time.monotonic() < end
            time.sleep(0.1)
        time.sleep(2.5)  # the state is written every 2 s
        shown = subprocess.run([*foresense, "bridge", "status"], env=environment, capture_output=True, text=True)
        assert (shown.returncode, "bridge: at work" in shown.stdout) == (0, True)
        assert f"received 12, stored {n_samples}, refused 0, spooled 0" in shown.stdout
        as_json = subprocess.run([*foresense, "bridge", "status", "--json"], env=environment, capture_output=True)
        state = json.loads(as_json.stdout)
        assert (state["stored"], state["store"]) == (n_samples, "embedded:store")
        second = subprocess.run(
            [*foresense, "bridge", "run"], env=environment, capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 1
        assert second.stderr == (
            f"foresense: {tmp_path}/bridge/spool.sqlite: another process uses it; is a bridge running already?\n"
        )
    finally:
        bridge.send_signal(signal.SIGTERM)
        _, logged = bridge.communicate(timeout=30)
    assert bridge.returncode == 0
    assert any(json.loads(line)["message"].startswith("received 12 messages") for line in logged.splitlines())
    shown = subprocess.run([*foresense, "bridge", "status"], env=environment, capture_output=True, text=True)
    assert (shown.returncode, "bridge: stopped at" in shown.stdout) == (1, True)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
