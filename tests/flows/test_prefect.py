"""A real server, a real worker, the real flows and tasks; only the six steps are stand-ins."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tools.serve import end, prefect, prefect_server

pytestmark = pytest.mark.slow  # a server takes some 15 s to start

TASKS = ["ingest", "window", "features", "train", "export", "benchmark", "judge"]


class Served:
    """A project with a server and a worker."""

    def __init__(self, project: Any, env: dict[str, str]) -> None:
        self.project, self.env = project, env
        self.worker = self.start_worker()

    def start_worker(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            prefect("worker", "start", "--pool", "local", "--limit", "1"),
            cwd=self.project.root,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.env['PREFECT_API_URL']}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for wait_s in (1, 2, 4, 8, 16):  # a busy server says 503, and Prefect's own client asks again, too
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(wait_s)
        raise TimeoutError(f"{path}: the server was too busy for half a minute")

    def run(self, deployment: str) -> str:
        done = subprocess.run(
            prefect("deployment", "run", deployment),
            cwd=self.project.root, env=self.env, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout.partition("UUID:")[2].split()[0]

    def state(self, run: str) -> str:
        (found,) = self.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        return str(found["state_name"])

    def wait(self, run: str, *states: str) -> None:
        until(lambda: self.state(run) in states, f"run to be {states}, it is {self.state(run)}")

    def engine(self) -> psutil.Process:
        return next(p for p in processes(self.project.root) if "prefect.engine" in " ".join(p.cmdline()))


@pytest.fixture(scope="module")
def served(shared_project: Any) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_project.env.items():
            patch.setenv(name, value)
        for name in ("PREFECT_TEST_MODE", "PREFECT_PROFILE"):
            patch.delenv(name, raising=False)
        with prefect_server(shared_project.root, port) as env:
            made = Served(shared_project, env)
            try:
                yield made
            finally:
                end(made.worker)


def test_the_nightly_schedule_creates_runs(served: Served) -> None:
    def planned() -> list[dict[str, Any]]:
        runs = served.ask("flow_runs/filter", flow_runs={"state": {"name": {"any_": ["Scheduled"]}}})
        return [run for run in runs if run["auto_scheduled"]]

    until(planned, "the scheduler to create runs", 90)
    names = {found["id"]: found["name"] for found in served.ask("deployments/filter")}
    times = {(names[run["deployment_id"]], run["expected_start_time"][11:16]) for run in planned()}
    assert times & {("nightly", "01:30"), ("nightly", "02:30")}  # 03:30 in Berlin, in UTC
    assert times <= {("nightly", "01:30"), ("nightly", "02:30"), ("monthly", "22:00"), ("monthly", "23:00")}


def test_a_deployment_runs_six_tasks_and_the_judge_and_dvc_then_has_nothing_to_do(served: Served) -> None:
    run = served.run("pipeline/plant")
    served.wait(run, "Completed", "Failed", "Crashed")
    assert served.state(run) == "Completed"
    tasks = served.ask("task_runs/filter", task_runs={"flow_run_id": {"any_": [run]}})
    assert sorted(task["name"] for task in tasks) == sorted(f"{name}@plant" for name in TASKS)
    logs = served.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}})
    assert any("train of plant works" in line["message"] for line in logs)
    artifacts = {found["key"]: found for found in served.ask("artifacts/filter")}
    assert "PASS" in artifacts["plant-benchmark-gates"]["data"]
    assert "data:image/png;base64," in artifacts["plant-forecast"]["data"]
    assert "up to date" in served.project.dvc("status", "benchmark@plant", "--with-deps")
    served.project.forget()
    began = time.monotonic()
    again = served.run("pipeline/plant")
    served.wait(again, "Completed", "Failed", "Crashed")
    assert served.state(again) == "Completed"
    assert served.project.started() == []
    assert time.monotonic() - began < 60, "an up-to-date flow takes 15 s on two free cores"


def test_a_failed_gate_fails_the_run_and_keeps_the_results(served: Served) -> None:
    served.project.dvc("repro", "benchmark@oil")
    served.project.replace("at_most: 1.0", "at_most: 0.4")
    try:
        run = served.run("pipeline/oil")
        served.wait(run, "Completed", "Failed", "Crashed")
        assert served.state(run) == "Failed"
        (judge,) = [
            task
            for task in served.ask("task_runs/filter", task_runs={"flow_run_id": {"any_": [run]}})
            if task["state_name"] == "Failed"
        ]
        assert judge["name"] == "judge@oil"
        assert "size_mib: 0.5 MiB, asked <= 0.4" in judge["state"]["message"]
        assert (served.project.root / "reports" / "oil" / "benchmark.json").is_file()
    finally:
        served.project.replace("at_most: 0.4", "at_most: 1.0")


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "how",
    ["cancel", *(pytest.param(f"kill {what}", marks=LONG) for what in ("the engine", "dvc", "the worker"))],
)
def test_no_step_outlives_its_run_and_the_next_run_does_what_is_left(served: Served, how: str) -> None:
    project = served.project
    project.dvc("repro", "window@plant")
    project.replace("only: {learning_rate: ", "only: {learning_rate: 1")
    project.forget()
    (project.root / "hold-train").touch()
    run = served.run("pipeline/plant")
    until(lambda: "train@plant" in project.started(), "training to start")
    step = project.pids()[-1]
    if how == "cancel":
        subprocess.run(prefect("flow-run", "cancel", run), env=served.env, check=True, capture_output=True, timeout=60)
    elif how == "kill the engine":
        served.engine().kill()
    elif how == "kill dvc":
        next(p for p in processes(project.root) if "dvc" in p.cmdline() and "repro" in p.cmdline()).kill()
    else:
        os.kill(served.worker.pid, signal.SIGKILL)
        served.worker.wait()
        served.worker = served.start_worker()
    until(lambda: not psutil.pid_exists(step) or psutil.Process(step).status() == "zombie", "the step to end")
    (project.root / "hold-train").unlink()
    project.forget()
    if how != "kill the worker":
        served.wait(run, "Cancelled", "Crashed", "Failed")
    again = served.run("pipeline/plant")
    served.wait(again, "Completed", "Failed", "Crashed")
    assert served.state(again) == "Completed"
    assert project.started() == ["train@plant", "export@plant", "benchmark@plant"]


def processes(root: Any) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(root) and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def until(true: Callable[[], Any], what: str, patience_s: float = 120) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience_s} s in vain for {what}")
        time.sleep(0.2)


NIGHT = ["ingest", "watch", "window", "features", "train", "export", "benchmark"]
NIGHT += ["promote", "forecast", "page", "save", "collect", "judge"]


def nights(served: Served, run: str) -> list[str]:
    """Tasks of the nights below a run, in the order in which they began."""
    found = served.ask(
        "task_runs/filter", sort="EXPECTED_START_TIME_ASC", task_runs={"flow_run_id": {"any_": below(served, run)}}
    )
    return [task["name"].partition("@")[0] for task in found]


def below(served: Served, run: str) -> list[str]:
    parents = served.ask("task_runs/filter", task_runs={"flow_run_id": {"any_": [run]}})
    runs = served.ask("flow_runs/filter", flow_runs={"parent_task_run_id": {"any_": [one["id"] for one in parents]}})
    return [one["id"] for one in runs]


def test_a_night_runs_every_task_in_order_and_saves_itself_as_an_experiment(served: Served) -> None:
    run = served.run("nightly/nightly")
    served.wait(run, "Completed", "Failed", "Crashed")
    assert served.state(run) == "Completed"
    assert nights(served, run) == NIGHT
    assert "night-2026-11-21-plant" in served.project.dvc("exp", "list", "--all-commits")
    artifacts = {found["key"]: found for found in served.ask("artifacts/filter")}
    assert "promoted" in artifacts["plant-promotion"]["data"]


@LONG
def test_a_second_start_of_the_same_night_waits_for_the_first(served: Served) -> None:
    second = served.start_worker()
    project = served.project
    project.forget()
    (project.root / "hold-watch").touch()
    try:
        first = served.run("nightly/nightly")
        until(lambda: "watch@plant" in project.started(), "the first night to begin")
        again = served.run("nightly/nightly")
        until(
            lambda: served.state(again) in ("AwaitingConcurrencySlot", "Pending", "Late", "Scheduled"),
            "the second to wait",
        )
        assert project.started().count("watch@plant") == 1
        (project.root / "hold-watch").unlink()
        served.wait(first, "Completed", "Failed", "Crashed")
        served.wait(again, "Completed", "Failed", "Crashed")
    finally:
        (project.root / "hold-watch").unlink(missing_ok=True)
        end(second)
    assert (served.state(first), served.state(again)) == ("Completed", "Completed")
    assert project.started().count("watch@plant") == 2


@pytest.mark.long
@pytest.mark.parametrize("word", ["watch", "promote", "forecast", "page", "gc"])
def test_no_word_of_a_night_outlives_a_killed_worker_and_the_next_night_goes_through(served: Served, word: str) -> None:
    project = served.project
    project.forget()
    (project.root / f"hold-{word}").touch()
    served.run("nightly/nightly")
    until(lambda: any(line.startswith(f"{word}@") for line in project.started()), f"{word} to start")
    process = project.pids()[-1]
    os.kill(served.worker.pid, signal.SIGKILL)
    served.worker.wait()
    served.worker = served.start_worker()
    until(lambda: not psutil.pid_exists(process) or psutil.Process(process).status() == "zombie", "the word to end")
    (project.root / f"hold-{word}").unlink()
    again = served.run("nightly/nightly")
    served.wait(again, "Completed", "Failed", "Crashed")
    assert served.state(again) == "Completed"


def test_a_night_that_was_missed_is_not_made_up_for(served: Served) -> None:
    (found,) = served.ask("deployments/filter", deployments={"name": {"any_": ["nightly"]}})
    served.project.forget()
    planned = "2026-11-20T02:30:00+00:00"
    state = {"type": "SCHEDULED", "name": "Late", "state_details": {"scheduled_time": planned}}
    run = served.ask(f"deployments/{found['id']}/create_flow_run", state=state)["id"]
    served.wait(run, "Completed", "Failed", "Crashed", "Cancelled")
    assert served.state(run) == "Cancelled"
    assert served.project.started() == []
