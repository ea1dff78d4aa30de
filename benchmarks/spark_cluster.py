"""A standalone Spark cluster on this machine: a master and workers, each a process of its own, from the pip package."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_S = 60


class Cluster:
    """A running master; workers come and go.

    Attributes:
        address: Of the master, `spark://host:port`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("master", "master.Master")
        self.address = self._wait("master", r"Starting Spark master at (spark://\S+)")

    def add_worker(self, name: str, *, cores: int = 1, memory: str = "1g") -> subprocess.Popen[bytes]:
        """Start a worker and wait until the master knows it."""
        size = ("--cores", str(cores), "--memory", memory, "--work-dir", str(self.folder / name))
        process = self._start(name, "worker.Worker", *size, self.address)
        self._wait(name, r"Successfully registered with master")
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """`kill -9` of a process and of all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with the cluster; what it prints is in `<name>.log`."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Kill every process of the cluster."""
        for process in self.processes:
            self.kill(process)

    def _start(self, name: str, kind: str, *words: str) -> subprocess.Popen[bytes]:
        import pyspark

        command = (str(Path(pyspark.__file__).parent / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}")
        return self.start(name, *command, "--host", "127.0.0.1", "--port", "0", "--webui-port", "0", *words)

    def _wait(self, name: str, sign: str) -> str:
        log, deadline_s = self.folder / f"{name}.log", time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            if found := re.search(sign, log.read_text()):
                return found[found.lastindex or 0]
            time.sleep(0.1)
        raise RuntimeError(f"{name} did not start within {START_S} s; see {log}")


@contextmanager
def spark_cluster(folder: Path) -> Iterator[Cluster]:
    """A master without workers while the block runs; every process of the cluster is killed at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
