"""Runs in a real SQLite store: nested, failed, found by the model's digest, opened by several processes at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from foresense.signals import Layout
from foresense.tracking import add_to_run, attach_to_model, open_run, tracking_uri


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Layout(tmp_path, tmp_path)


def test_the_local_store_is_used_unless_a_server_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(layout) == f"sqlite:///{layout.root / 'mlflow' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(layout) == "http://127.0.0.1:5000"


@pytest.mark.slow
def test_a_run_its_child_and_what_is_added_to_it_later(layout: Layout) -> None:
    with open_run(layout, "oil", "first", {"profile": "full", "data_sha256": "ab" * 32}) as run:
        for epoch in (1, 2):
            run.metric("validation/loss", 1 / epoch, epoch)
        run.parameters({"learning_rate": 1e-5})
        with run.child("machine") as child:
            child.tags({"model_sha256": "abc"})
    found = attach_to_model(layout, "oil", "abc", metrics={"latency_ms_p95": 3.5})
    assert found == child.run_id
    client = MlflowClient(tracking_uri(layout))
    assert [point.value for point in client.get_metric_history(run.run_id, "validation/loss")] == [1.0, 0.5]
    (used,) = client.get_run(run.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("oil", "ab" * 18)
    first = client.get_run(run.run_id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d first", first.info.run_name)  # two runs never look alike
    nested = client.get_run(child.run_id)
    assert nested.data.tags["mlflow.parentRunId"] == run.run_id
    assert nested.data.metrics["latency_ms_p95"] == 3.5
    assert nested.info.status == "FINISHED"

    asked = {
        "window": {"context": 48, "bins": [0.5, 1.5]},
        "train": {"candidates": {"tuned": {}}},
        "ingest": {"channels": [{"name": "a"}], "states": {"idle (door open)": "idle"}},
    }
    add_to_run(layout, "oil", run.run_id, parameters=asked, metrics={"headline/test_mse": 0.25})
    ended = client.get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.params == {
        "learning_rate": "1e-05",
        "window.context": "48",
        "window.bins": "0.5, 1.5",
        "train.candidates.tuned": "{}",
        "ingest.channels": '[{"name": "a"}]',
        "ingest.states": '{"idle (door open)": "idle"}',
    }
    assert ended.data.metrics["headline/test_mse"] == 0.25

    elsewhere = attach_to_model(layout, "oil", "pulled-from-a-remote", metrics={"x": 1.0})
    assert elsewhere not in (run.run_id, child.run_id)
    assert attach_to_model(layout, "oil", "pulled-from-a-remote", metrics={}) == elsewhere

    with pytest.raises(RuntimeError, match="broken"), open_run(layout, "oil", "second", {}) as failed:
        raise RuntimeError("broken")
    assert client.get_run(failed.run_id).info.status == "FAILED"


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_ended_by_the_next_one_of_its_checkout(
    layout: Layout, tmp_path: Path
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from foresense.signals import Layout\n"
        "from foresense.tracking import open_run; root = Path(sys.argv[1])\n"
        "with open_run(Layout(root, root), 'oil', 'run', {}) as run, run.child('a') as child:\n"
        "    print(run.run_id, child.run_id, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(layout.root)], capture_output=True, text=True, check=False)
    left = done.stdout.split()
    client = MlflowClient(tracking_uri(layout))
    assert [client.get_run(run).info.status for run in left] == ["RUNNING", "RUNNING"]
    with open_run(layout, "oil", "next", {}) as run:
        assert [client.get_run(old).info.status for old in left] == ["KILLED", "KILLED"]
        assert client.get_run(run.run_id).info.status == "RUNNING"


@pytest.mark.slow
def test_two_processes_may_open_a_new_store_at_once_also_after_one_was_killed_making_it(layout: Layout) -> None:
    dies = (
        "import os, sys; from pathlib import Path; from sqlalchemy import Engine, event\n"
        "from foresense.signals import Layout; from foresense.tracking import open_client\n"
        "root = Path(sys.argv[1])\n"
        "def die(*said): 'CREATE TABLE datasets' in said[2] and os.kill(os.getpid(), 9)\n"
        "event.listen(Engine, 'after_cursor_execute', die); open_client(Layout(root, root))"
    )
    died = subprocess.run([sys.executable, "-c", dies, str(layout.root)], capture_output=True, check=False)
    assert died.returncode == -9, died.stderr
    code = (
        "import sys; from pathlib import Path; from foresense.signals import Layout; from foresense.tracking import *\n"
        "root = Path(sys.argv[1])\n"
        "with open_run(Layout(root, root), 'oil', 'run', {}) as run: print(run.run_id)"
    )
    command = [sys.executable, "-c", code, str(layout.root)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], results
    assert len({out for out, _ in results}) == 2
