"""Start what runs flows by hand and by schedule: Prefect server, work pool, deployments, worker, and the MLflow page.

Everything listens on this machine only and keeps its files in .prefect/ and mlflow/. Ctrl-C ends all of it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POLL_S = 2  # how often the worker asks for runs; Prefect's default is 10
START_S = 120


def environment(root: Path, port: int) -> dict[str, str]:
    """Environment of server, worker and clients: one server on this machine, files below `root`."""
    path = [str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "FORESENSE_PROJECT": str(root),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job workers outlive the server and take 1.8 GB
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(root / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": str(POLL_S),
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
    }


@contextmanager
def running(command: list[str], root: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a process group of its own while the block runs; its words go to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "foresense.steps.process", *command],
            cwd=root,
            env=env,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, and make it after 15 s."""
    for number, patience_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(timeout=patience_s)
            except subprocess.TimeoutExpired:
                continue


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until `address` answers.

    Raises:
        RuntimeError: the process ended, or nothing answered in time; names the log.
    """
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise RuntimeError(f"{address}: the server ended with exit code {process.returncode}; see {log}")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"{address}: no answer within {START_S} s; see {log}; on a busy machine try again")


def is_taken(port: int) -> bool:
    """Whether a program listens on `port` of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def prefect(*arguments: str) -> list[str]:
    """The command line of Prefect in this environment."""
    return [sys.executable, "-m", "prefect", *arguments]


@contextmanager
def prefect_server(root: Path, port: int) -> Iterator[dict[str, str]]:
    """Run a Prefect server with the work pool `local` (one run at a time) and all deployments of `root`.

    Yields:
        The environment in which clients and workers find it.
    """
    env = environment(root, port)
    log = root / ".prefect" / "server.log"
    command = prefect("server", "start", "--host", "127.0.0.1", "--port", str(port))
    with running(command, root, env, log) as server:
        wait_for(f"http://127.0.0.1:{port}/api/health", server, log)
        pool = prefect("work-pool", "create", "local", "--type", "process", "--overwrite")
        for words in (pool, prefect("work-pool", "set-concurrency-limit", "local", "1"), deploy()):
            done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(words[2:])} failed:\n{done.stdout}{done.stderr}")
        yield env


def deploy() -> list[str]:
    """The command that makes every deployment of prefect.yaml."""
    return prefect("--no-prompt", "deploy", "--all")


def main() -> int:
    """Start everything, print the addresses, wait for Ctrl-C."""
    port, mlflow_port = int(os.environ.get("PREFECT_PORT", "4200")), int(os.environ.get("MLFLOW_PORT", "5000"))
    for name, number in (("PREFECT_PORT", port), ("MLFLOW_PORT", mlflow_port)):
        if is_taken(number):
            sys.stderr.write(
                f"port {number} is taken by another program, perhaps another `make serve`: end that, or choose another "
                f"port with {name}\n"
            )
            return 1
    say("Starting Prefect: about 20 s ...")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with prefect_server(ROOT, port) as env:
            worker = prefect("worker", "start", "--pool", "local", "--limit", "1")
            store = env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{ROOT / 'mlflow' / 'mlflow.db'}"
            page = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--port", str(mlflow_port)]
            with (
                running(worker, ROOT, env, ROOT / ".prefect" / "worker.log") as working,
                running(page, ROOT, env, ROOT / ".prefect" / "mlflow.log"),
            ):
                say(f"Prefect  http://127.0.0.1:{port}\nMLflow   http://127.0.0.1:{mlflow_port}   (some seconds later)")
                say(f"Logs     {ROOT / '.prefect'}\n\nIn another terminal:")
                say(f"  export PREFECT_API_URL={env['PREFECT_API_URL']}")
                say("  prefect deployment run 'pipeline/plant' --watch\n\nCtrl-C ends all of it.")
                return working.wait()
    except KeyboardInterrupt:
        say("Ended.")
        return 0
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def say(text: str) -> None:
    """Lines for the person at the terminal, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
