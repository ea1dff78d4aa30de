"""What the bridge says of itself: a log line, a state file, a page of metrics, and alarms."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from foresense.bridge.connection import Connection
from foresense.bridge.counters import Counters
from foresense.bridge.settings import BridgeSettings
from foresense.bridge.spool import Spool, SpoolError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOG = logging.getLogger(__name__)
STATE = "state.json"
_TICK_S = 0.5
_ALARM_S = 10.0  # given to the command
_N_ALARMS = 20  # remembered in the state
_SPOOL_WELL = 0.8  # share of the limit below which that alarm ends
_MIB = 2**20


class Alarms:
    """Runs a command when something begins to be wrong, and when it ends; once for each change.

    The command gets a JSON object on its standard input: alarm, is_on, text, time_utc, state.

    Attributes:
        on: Names of the alarms that stand now.
        told: The last changes, with the exit code of the command.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self.on: set[str] = set()
        self.told: list[dict[str, Any]] = []

    def update(self, name: str, is_on: bool, text: str, state: dict[str, Any]) -> None:
        """Say how it stands with one alarm; nothing happens where that is no change."""
        if is_on == (name in self.on):
            return
        self.on = self.on | {name} if is_on else self.on - {name}
        change = {"alarm": name, "is_on": is_on, "text": text, "time_utc": _now_utc()}
        LOG.log(logging.ERROR if is_on else logging.INFO, "alarm %s: %s: %s", "ON" if is_on else "off", name, text)
        self.told = [*self.told, {**change, "command": self._run({**change, "state": state})}][-_N_ALARMS:]

    def _run(self, content: dict[str, Any]) -> str:
        if not self._command:
            return "none"
        try:
            done = subprocess.run(
                self._command, input=json.dumps(content).encode(), capture_output=True, timeout=_ALARM_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            LOG.error("the alarm command %s failed: %s", self._command[0], error)
            return f"failed: {type(error).__name__}"
        if done.returncode:
            LOG.error("the alarm command %s ended with %d: %s", self._command[0], done.returncode, done.stderr[-500:])
        return f"exit {done.returncode}"


class Watch:
    """Looks at the numbers of a running bridge, from a thread of its own."""

    def __init__(
        self, settings: BridgeSettings, counters: Counters, spool: Spool | None, connection: Connection
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._spool = spool
        self._connection = connection
        self._began = time.time()
        self._logged_at = time.monotonic()
        self._logged = (0, 0)
        self._stated_at = 0.0
        self.alarms = Alarms(settings.alarm_command)

    def run(self, stop: Event) -> None:
        """Watch until `stop` is set, then write the last state."""
        while not stop.wait(_TICK_S):
            try:
                self.look()
            except Exception:  # who watches must not fall; the bridge itself goes on
                LOG.exception("the watch stumbled")
        self.log()
        self.write_state(is_running=False)

    def look(self) -> None:
        """Raise alarms, and log and write the state where it is time."""
        self.raise_alarms()
        now = time.monotonic()
        if now - self._stated_at >= self._settings.state_every_s:
            self._stated_at = now
            self.write_state()
        if now - self._logged_at >= self._settings.log_every_s:
            self.log()

    def state(self) -> dict[str, Any]:
        """Everything that is known now, as JSON can hold it."""
        counters, spool = self._counters, self._spool
        return {
            "time_utc": _now_utc(),
            "pid": os.getpid(),
            "started_utc": datetime.fromtimestamp(self._began, UTC).isoformat(timespec="seconds"),
            "broker": self._settings.broker.address,
            "store": self._settings.store,
            "is_connected": self._connection.is_up,
            "n_connection_losses": self._connection.n_losses,
            "received": counters.received,
            "received_bytes": counters.received_bytes,
            "redelivered": counters.redelivered,
            "acknowledged": counters.acknowledged,
            "stale_acknowledgements": counters.stale,
            "stored": counters.stored,
            "empty": counters.empty,
            "refused": counters.refused,
            "unknown_fields": dict(counters.unknown),
            "spooled": spool.depth if spool else 0,
            "spool_bytes": spool.n_bytes if spool else 0,
            "lag_s": round(self._lag_s(), 3),
            "store_problem": counters.store_problem,
            "intake_problem": counters.intake_problem,
            "alarms_on": sorted(self.alarms.on),
            "alarms": self.alarms.told,
        }

    def log(self) -> None:
        """One line: what came, what was stored, and how far behind the store is."""
        state, now = self.state(), time.monotonic()
        seconds = max(now - self._logged_at, 1e-3)
        received, stored = state["received"], state["stored"]
        LOG.info(
            "received %d messages (%.1f/s), stored %d samples (%.1f/s), refused %d, spooled %d (%.1f MiB), lag %.1f s, "
            "broker %s, store %s",
            received,
            (received - self._logged[0]) / seconds,
            stored,
            (stored - self._logged[1]) / seconds,
            state["refused"],
            state["spooled"],
            state["spool_bytes"] / _MIB,
            state["lag_s"],
            "connected" if state["is_connected"] else "AWAY",
            "AWAY" if state["store_problem"] else "ok",
        )
        self._logged_at, self._logged = now, (received, stored)

    def write_state(self, *, is_running: bool = True) -> None:
        """Write state.json, complete or not at all."""
        path = self._settings.folder / STATE
        beside = path.with_name(f".{STATE}.unfinished")
        try:
            beside.write_text(json.dumps({"is_running": is_running, **self.state()}, indent=1) + "\n")
            os.replace(beside, path)
        except OSError as error:
            LOG.warning("%s: cannot be written: %s", path, error)

    def raise_alarms(self) -> None:
        """Compare the numbers with the limits of the settings."""
        settings, counters, now = self._settings, self._counters, time.monotonic()
        state = self.state()
        away_s = now - counters.store_down_since if counters.store_down_since is not None else -1.0
        self.alarms.update(
            "store_unavailable",
            away_s > settings.alarm_after_s,
            f"for {away_s:.0f} s: {counters.store_problem}" if away_s >= 0 else "it takes samples again",
            state,
        )
        down_since = self._connection.down_since
        down_s = now - down_since if down_since is not None else -1.0
        self.alarms.update(
            "broker_unavailable",
            down_s > settings.alarm_after_s,
            f"for {down_s:.0f} s: {settings.broker.address}" if down_s >= 0 else "it is there again",
            state,
        )
        spool_mib = state["spool_bytes"] / _MIB
        share = _SPOOL_WELL if "spool_above" in self.alarms.on else 1.0
        limit_mib = settings.alarm_spool_mib * share
        text = f"{spool_mib:.1f} MiB wait for the store, the limit is {limit_mib:.1f} MiB"
        self.alarms.update("spool_above", spool_mib > limit_mib, text, state)
        is_refusing = counters.refused_at is not None and now - counters.refused_at < settings.alarm_quiet_s
        text = f"{counters.refused} records since the start; reasons in dead-letters.jsonl"
        self.alarms.update("refusals", is_refusing, text, state)

    def _lag_s(self) -> float:
        if self._spool is None:
            return 0.0
        try:
            oldest_ns = self._spool.received_ns()
        except SpoolError:
            return 0.0
        return max(time.time() - oldest_ns / 1e9, 0.0) if oldest_ns is not None else 0.0


class Metrics:
    """A page for Prometheus, on the loopback address where nothing else is asked for."""

    def __init__(self, settings: BridgeSettings, state: Callable[[], dict[str, Any]]) -> None:
        """Open the port.

        Raises:
            ImportError: prometheus-client is missing.
            OSError: the port is taken.
        """
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise ImportError("metrics need the extra 'mqtt': pip install foresense[mqtt]") from error
        self._state = state
        registry = CollectorRegistry()
        registry.register(self)
        assert settings.metrics_port is not None
        self._thread: Thread
        try:
            self._server, self._thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
        except OSError as error:
            raise OSError(
                f"metrics: {settings.metrics_host}:{settings.metrics_port} cannot be opened: {error}; give another "
                "--metrics-port, or 0 for none"
            ) from error

    def collect(self) -> "Iterator[Metric]":
        """What Prometheus reads."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state = self._state()
        for name, key, text in _TOTALS:
            yield CounterMetricFamily(f"foresense_bridge_{name}", text, value=state[key])
        unknown = CounterMetricFamily(
            "foresense_bridge_unknown_fields", "Records with a field that no channel has", labels=["field"]
        )
        for field_name, n in state["unknown_fields"].items():
            unknown.add_metric([field_name], n)
        yield unknown
        for name, key, text in _GAUGES:
            yield GaugeMetricFamily(f"foresense_bridge_{name}", text, value=float(state[key]))
        is_well = not state["store_problem"]
        yield GaugeMetricFamily("foresense_bridge_store_ok", "1 while the store takes samples", value=float(is_well))

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_TOTALS = (
    ("received_messages", "received", "Messages that came, redelivered ones included"),
    ("received_bytes", "received_bytes", "Their payloads"),
    ("redelivered_messages", "redelivered", "Messages that the broker sent again"),
    ("acknowledged_messages", "acknowledged", "Messages that were acknowledged"),
    ("stored_samples", "stored", "Samples that the store has taken"),
    ("refused_records", "refused", "Records that schema or store refused; they are in dead-letters.jsonl"),
    ("connection_losses", "n_connection_losses", "Connections lost or refused"),
)
_GAUGES = (
    ("connected", "is_connected", "1 while connected to the broker"),
    ("spooled_messages", "spooled", "Messages that wait for the store"),
    ("spooled_bytes", "spool_bytes", "Their payloads"),
    ("lag_seconds", "lag_s", "Age of the oldest message that waits for the store"),
)


def read_state(folder: Path) -> dict[str, Any]:
    """Read what the bridge in `folder` last said of itself.

    Raises:
        FileNotFoundError: no bridge has run there.
        ValueError: the file is none of ours.
    """
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no bridge has run there; start one with `foresense bridge run`")
    state = json.loads(path.read_text())
    if not isinstance(state, dict) or "time_utc" not in state:
        raise ValueError(f"{path}: is no state of a bridge")
    return state


def problem_of(state: dict[str, Any], max_age_s: float) -> str | None:
    """Why a bridge with this state is not at work; None where it is, be broker and store there or not."""
    if not state.get("is_running"):
        return f"stopped at {state['time_utc']}"
    age_s = (datetime.now(UTC) - datetime.fromisoformat(state["time_utc"])).total_seconds()
    if age_s > max_age_s:
        why = "has ended, hangs, or has no room for state.json"
        return f"says nothing for {age_s:.0f} s; process {state.get('pid')} {why}"
    return None


def _now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
