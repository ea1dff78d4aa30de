"""Real servers on free loopback ports, started and stopped by pid; load this file by its path (see conftest.py)."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

import urllib3

_READY_S = 30
_STOP_S = 30
_DURABLE = {
    "allow_anonymous": "true",
    "persistence": "true",
    "autosave_interval": "1",
    "max_inflight_messages": "0",
    "max_queued_messages": "0",
    "persistent_client_expiration": "7d",
}


class MissingServerError(Exception):
    """A server is not installed; the message says which Debian package has it."""


class Server:
    """One server; stopped or killed, it can be started again on the same port with the same data.

    Attributes:
        port: On 127.0.0.1.
        url: http address; mosquitto has a port only.
        folder: Its data and its log, `log.txt`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        folder: Path,
        is_ready: Callable[[int], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self._is_ready = is_ready
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the running server."""
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; nothing where it runs already.

        Raises:
            RuntimeError: it ends or stays silent; with the end of its log.
        """
        if self._process is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = (self.folder / "log.txt").open("ab")
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment},
        )
        end = time.monotonic() + _READY_S
        while not self._is_ready(self.port):
            has_ended = self._process.poll() is not None
            if has_ended or time.monotonic() > end:
                self.kill()
                tail = (self.folder / "log.txt").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.command} {'ended' if has_ended else 'does not answer'}:\n{tail}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait; nothing where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would; nothing where it does not run."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._log is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._log.close()


def influxd(folder: Path, settings: Mapping[str, str] | None = None) -> Server:
    """InfluxDB 1.x, not yet started; `settings` are its environment variables without INFLUXDB_."""
    binary = _binary("influxd", package="influxdb")
    port, backup_port = free_ports(2)
    own = {
        "REPORTING_DISABLED": "true",
        "BIND_ADDRESS": f"127.0.0.1:{backup_port}",
        "META_DIR": str(folder / "meta"),
        "DATA_DIR": str(folder / "data"),
        "DATA_WAL_DIR": str(folder / "wal"),
        "HTTP_BIND_ADDRESS": f"127.0.0.1:{port}",
        "HTTP_LOG_ENABLED": "false",
        "MONITOR_STORE_ENABLED": "false",
    }
    return Server(
        [binary, "run", "-config", os.devnull],
        port=port,
        folder=folder,
        is_ready=lambda port: _answers(port, "/ping"),
        environment={f"INFLUXDB_{key}": value for key, value in {**own, **(settings or {})}.items()},
    )


def victoria_metrics(folder: Path, options: Sequence[str] = ()) -> Server:
    """VictoriaMetrics, not yet started; keeps samples of any year, and the last one of two at one millisecond."""
    binary = _binary("victoria-metrics", package="victoria-metrics")
    (port,) = free_ports(1)
    command = [
        binary,
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={folder / 'data'}",
        "-retentionPeriod=100y",
        "-search.latencyOffset=0s",
        "-dedup.minScrapeInterval=1ms",
        *options,
    ]
    return Server(command, port=port, folder=folder, is_ready=lambda port: _answers(port, "/health"))


def mosquitto(folder: Path, settings: Mapping[str, str] | None = None, *, is_durable: bool = True) -> Server:
    """Mosquitto, not yet started; durable, it keeps queues and sessions on disk (stores.md, section 7).

    Args:
        folder: For its configuration and data.
        settings: Further lines of its configuration, or others than ours.
        is_durable: False gives what two lines of configuration give: nothing on disk, short queues.
    """
    binary = _binary("mosquitto", package="mosquitto")
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    lines = {"listener": f"{port} 127.0.0.1", "allow_anonymous": "true"}
    if is_durable:
        lines |= {**_DURABLE, "persistence_location": f"{folder}/"}
    if os.geteuid() == 0:
        lines["user"] = "root"  # else it becomes the user mosquitto, who may not write here
    lines |= settings or {}
    configuration = folder / "mosquitto.conf"
    configuration.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    return Server([binary, "-c", str(configuration)], port=port, folder=folder, is_ready=_listens)


def free_ports(n: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    try:
        return [int(found.getsockname()[1]) for found in sockets]
    finally:
        for found in sockets:
            found.close()


def _binary(name: str, *, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingServerError(f"needs {name}: apt-get install --no-install-recommends {package} (Debian 12)")
    return found


def _answers(port: int, path: str) -> bool:
    with urllib3.PoolManager(retries=False, timeout=2) as pool:
        try:
            return pool.request("GET", f"http://127.0.0.1:{port}{path}").status < 300
        except urllib3.exceptions.HTTPError:
            return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False
