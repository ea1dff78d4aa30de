"""What runs again after which change: the real dvc.yaml with stand-in steps."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from foresense.steps.run import AFRESH
from tasks.reproduce import is_current

pytestmark = pytest.mark.slow  # twelve processes and more

STEPS = ["ingest", "window", "features", "train", "export", "benchmark"]


def all_of(pipeline: str, steps: list[str] = STEPS) -> list[str]:
    return [f"{step}@{pipeline}" for step in steps]


def test_a_changed_training_parameter_runs_training_and_later_steps_of_that_pipeline_only(project) -> None:
    project.dvc("repro")
    assert sorted(project.started()) == sorted(all_of("oil") + all_of("plant"))
    project.forget()
    project.dvc("repro")
    assert project.started() == []
    project.replace("learning_rate: 4e-4", "learning_rate: 6e-4")
    project.dvc("repro")
    assert project.started() == ["train@plant", "export@plant", "benchmark@plant"]
    assert "up to date" in project.dvc("status")


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")  # DVC 3.67.1 reads pygtrie so
def test_what_dvc_remembers_lies_in_the_project_and_nobody_else_can_write_there(project, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    project.env.pop("DVC_SITE_CACHE_DIR", None)
    project.dvc("status")
    monkeypatch.chdir(tmp_path)
    assert not is_current("train@plant", project.root)
    assert not (tmp_path / ".dvc-site").exists()
    folders = [path for path in (project.root / ".dvc-site").rglob("*") if path.is_dir()]
    assert any((folder / "cache.db").is_file() for folder in folders)
    assert [oct(folder.stat().st_mode) for folder in folders if folder.stat().st_mode & stat.S_IWOTH] == []
    assert project.call("git", "status", "--porcelain", "--", ".dvc-site").stdout == ""


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")  # DVC 3.67.1 reads pygtrie so
def test_a_stage_is_current_until_something_that_it_needs_changes(project) -> None:
    assert not is_current("train@plant", project.root)
    project.dvc("repro", "train@plant")
    assert is_current("train@plant", project.root)
    assert not is_current("export@plant", project.root)
    (project.root / "models/plant/content").unlink()
    assert not is_current("train@plant", project.root)
    project.dvc("repro", "train@plant")
    lock = (project.root / "dvc.lock").read_bytes()
    project.replace("learning_rate: 4e-4", "learning_rate: 6e-4")
    assert not is_current("train@plant", project.root)
    assert is_current("features@plant", project.root)
    assert (project.root / "dvc.lock").read_bytes() == lock


def test_a_store_that_is_read_by_force_and_has_nothing_new_stops_the_rest(project) -> None:
    project.dvc("repro", "benchmark@plant")
    project.forget()
    project.dvc("repro", *AFRESH, "ingest@plant")
    assert project.started() == ["ingest@plant"]
    project.dvc("repro", "benchmark@plant")
    assert project.started() == ["ingest@plant"]


def test_changed_code_of_a_step_runs_that_step_and_equal_outputs_stop_the_rest(project) -> None:
    project.dvc("repro", "benchmark@plant")
    project.forget()
    digests = json.loads((project.root / "code.json").read_text())
    digests["window"]["steps"] = "window-2"
    (project.root / "code.json").write_text(json.dumps(digests))
    project.dvc("repro", "benchmark@plant")
    assert project.started() == ["window@plant"]


def test_what_was_damaged_between_two_runs_is_made_anew(project) -> None:
    project.dvc("repro", "window@plant")
    names = ("data/recordings/plant/content", "data/windows/plant/content", "reports/plant/window.json")
    whole = {name: (project.root / name).read_bytes() for name in names}
    for name, content in whole.items():
        (project.root / name).chmod(0o644)
        (project.root / name).write_bytes(content[:-1])
    project.forget()
    project.dvc("repro", "window@plant")
    assert project.started() == ["ingest@plant", "window@plant"]
    for name in names[:2]:
        assert (project.root / name).read_bytes() == whole[name]
    assert json.loads((project.root / names[2]).read_text())["step"] == "window"


@pytest.mark.long
def test_an_experiment_with_another_rate_reads_it_as_a_number(project) -> None:
    project.dvc("repro", "benchmark@oil")
    project.call("git", "add", "-A")
    project.call("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "results")
    project.forget()
    project.dvc(
        "exp", "run", "-S", "pipelines.oil.train.candidates.tuned.learning_rate=3e-5", "-n", "rate", "benchmark@oil"
    )
    assert project.started() == ["train@oil", "export@oil", "benchmark@oil"]
    assert '"learning_rate":0.00003' in (project.root / "models/oil/content").read_text().replace("3e-05", "0.00003")
    assert "rate" in project.dvc("exp", "show", "--csv")
    assert "metrics.json" in project.dvc("metrics", "show")


@pytest.mark.long
def test_a_fresh_clone_pulls_data_and_weights_from_a_local_remote(project, tmp_path) -> None:
    project.dvc("remote", "add", "--default", "local", str(tmp_path / "remote"))
    project.dvc("add", "data/raw/ett")
    project.dvc("repro")
    project.call("git", "add", "-A")
    project.call("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "results")
    project.dvc("push")
    clone = type(project)(tmp_path / "clone")
    project.call("git", "clone", "-q", str(project.root), str(clone.root))
    clone.dvc("pull")
    assert (clone.root / "models/oil/content").is_file()
    assert (clone.root / "data/raw/ett/ETTh1.csv").is_file()
    assert "up to date" in clone.dvc("status")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_step_dies_with_dvc(project, number: int) -> None:
    (project.root / "hold-window").touch()
    dvc = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "window@plant"],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: "window@plant" in project.started(), "the step to start")
    os.kill(dvc.pid, number)
    dvc.wait(timeout=20)
    wait_until(lambda: not alive(project.pids()[-1]), "the step to end with dvc")
    (project.root / "hold-window").unlink()
    project.forget()
    project.dvc("repro", "window@plant")
    assert project.started() == ["window@plant"]


def test_two_at_once_are_refused_with_the_process_that_holds_the_lock(project) -> None:
    project.dvc("repro", "ingest@plant")
    (project.root / "hold-window").touch()
    first = subprocess.Popen([sys.executable, "stub.py", "window", "plant"], cwd=project.root, env=project.env)
    try:
        wait_until(lambda: "window@plant" in project.started(), "the step to start")
        second = project.call(sys.executable, "stub.py", "window", "plant", check=False)
        assert second.returncode == 1
        assert f"window@plant is running already, in process {first.pid}" in second.stderr
        report = project.call(sys.executable, "stub.py", "report", "plant")
        assert f"running, process {first.pid}" in report.stdout
    finally:
        (project.root / "hold-window").unlink()
        assert first.wait(timeout=60) == 0


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true, what: str, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience_s} s in vain for {what}")
        time.sleep(0.05)
