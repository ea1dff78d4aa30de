import logging
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from foresense.config import EngineConfig
from foresense.engine import Job
from foresense.engine.memory import descendants, tree_rss_mib
from foresense.engine.plan import Plan, module_path, usable_cores
from foresense.engine.records import Records
from foresense.engine.supervise import Limits, Supervised

FUNCTIONS = Path(__file__).with_name("fleet_functions.py")


def test_a_crash_an_exit_and_an_exception_are_outcomes_and_others_go_on(fleet) -> None:
    found = fleet.run(
        "local",
        {
            "a": "good",
            "b": "breaks_memory",
            "c": "exits",
            "d": "raises",
            "e": "leaves",
            "f": "too_short",
            "g": "raises_skipped",
            "h": "no_json",
            "i": "nothing",
            "j": "forks",
            "k": "closes_output",
            "l": "good",
        },
    )
    assert {asset: (one.status, one.reason.partition(": Out of")[0]) for asset, one in found.items()} == {
        "a": ("success", ""),
        "b": ("failed", "the process died (signal SIGSEGV)"),
        "c": ("failed", "the process died (exit code 3)"),
        "d": ("failed", "ValueError: all values are NaN"),
        "e": ("failed", "SystemExit: no licence"),
        "f": ("skipped", "1102 of 1920 hours"),
        "g": ("skipped", "no rows"),
        "h": ("failed", "the result of this asset is not JSON: ValueError"),
        "i": ("failed", "the function gave no result for this asset"),
        "j": ("failed", "the process died (exit code 4)"),
        "k": ("success", ""),
        "l": ("success", ""),
    }
    assert found["a"].result == {"length": 1}
    log = Path(found["b"].log).read_text()
    assert log.startswith("before the crash\n")
    assert "Segmentation fault" in log
    assert "fleet_functions.py" in log
    log = Path(found["d"].log).read_text()
    assert log.startswith("about to fail\nTraceback")
    assert "second line" in log


def test_a_fork_that_outlives_its_worker_is_ended(fleet, alive, until) -> None:
    fleet.run("local", {"a": "forks"})
    pid = int((fleet.marks / "child.pid").read_text())
    until(lambda: not alive(pid), "the fork of a dead worker has ended")


def test_a_function_that_hangs_is_ended_at_its_limit(fleet) -> None:
    found = fleet.run("local", {"a": "hangs", "b": "good"}, limit_min=1 / 60)
    assert found["a"].status == "failed"
    assert found["a"].reason == "ran longer than the 1 s allowed"
    assert 1 <= found["a"].seconds < 30
    assert found["b"].status == "success"


def test_a_memory_hog_is_ended_and_its_peak_is_told(fleet) -> None:
    found = fleet.run("local", {"a": "hogs", "b": "good"}, memory_mib=256)
    assert found["a"].reason == f"used {found['a'].peak_rss_mib:.0f} MiB, allowed 256 MiB"
    assert found["a"].peak_rss_mib > 256
    assert found["b"].status == "success"


def test_memory_of_child_processes_counts_and_they_are_ended_too(fleet, alive, until) -> None:
    found = fleet.run("local", {"a": "hogs_below"}, memory_mib=256)
    assert found["a"].reason.endswith("allowed 256 MiB")
    pid = int((fleet.marks / "child.pid").read_text())
    until(lambda: not alive(pid), "the child process of a memory hog has ended")


def test_the_peak_of_a_job_is_told_however_short_it_is_and_is_not_the_next_ones(fleet) -> None:
    found = fleet.run("local", {"a": "peaks", "b": "good"}, workers=1)
    assert found["a"].worker == found["b"].worker
    assert 300 < found["a"].peak_rss_mib < 400
    assert found["b"].peak_rss_mib < 100


def test_a_poison_asset_is_isolated_and_the_others_of_its_job_succeed(fleet, caplog) -> None:
    kinds = {"a": "good", "b": "breaks_memory", "c": "good", "d": "too_short", "e": "good", "f": "good"}
    with caplog.at_level(logging.INFO, logger="foresense.engine"):
        found = fleet.run("local", kinds, size=4)
    assert {asset: one.status for asset, one in found.items()} == {
        "a": "success", "b": "failed", "c": "success", "d": "skipped", "e": "success", "f": "success",
    }  # fmt: skip
    assert found["b"].reason == "the process died (signal SIGSEGV)"
    assert {asset: one.n_tries for asset, one in found.items()} == {"a": 2, "b": 2, "c": 2, "d": 2, "e": 1, "f": 1}
    assert fleet.calls() == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1, "f": 1}
    assert "job of a, b, c and 1 more gave nothing, each asset is tried alone" in caplog.text


def test_a_job_of_n_assets_has_n_times_the_limit(fleet) -> None:
    kinds = {"a": "hangs", "b": "good"}
    found = fleet.run("local", kinds, size=2, limit_min=1 / 60)
    assert found["a"].reason == "ran longer than the 1 s allowed"
    assert found["b"].status == "success"


def test_every_asset_of_a_job_has_its_log_and_its_share_of_the_time(fleet) -> None:
    found = fleet.run("local", {"a": "good", "b": "shouts"}, size=2)
    assert Path(found["a"].log).read_bytes() == Path(found["b"].log).read_bytes() != b""
    assert found["a"].seconds == found["b"].seconds


def test_ten_megabytes_of_garbage_are_a_log_and_no_answer(fleet) -> None:
    found = fleet.run("local", {"a": "shouts", "b": "good"}, workers=1)
    assert found["a"].status == "success"
    assert found["a"].result == {"input": ""}
    log = Path(found["a"].log).read_bytes()
    assert len(log) > 9_900_000
    for line in (b"from C\n", b"from a child\n", b"from stderr\n"):
        assert log.count(line) == 1
    assert Path(found["b"].log).read_bytes() == b""


def test_a_worker_is_kept_and_imports_the_module_once(fleet) -> None:
    found = fleet.run("local", {f"a-{number}": "who" for number in range(6)}, workers=2)
    imported = {(one.result["pid"], one.result["imported"]) for one in found.values()}
    assert len({pid for pid, _ in imported}) == len(imported) <= 2
    assert {int(one.worker.partition("/")[2]) for one in found.values()} == {pid for pid, _ in imported}
    assert os.getpid() not in {pid for pid, _ in imported}


def test_a_worker_that_keeps_more_than_half_of_the_allowed_memory_is_replaced(fleet, new_fleet, tmp_path) -> None:
    found = fleet.run("local", {"a": "keeps", "b": "keeps"}, workers=1, memory_mib=250)
    assert [one.status for one in found.values()] == ["success"] * 2
    assert found["a"].worker != found["b"].worker
    found = new_fleet(tmp_path / "more").run("local", {"a": "keeps", "b": "good"}, workers=1, memory_mib=1000)
    assert found["a"].worker == found["b"].worker


def test_a_worker_that_died_between_two_jobs_is_replaced(tmp_path) -> None:
    worker = Supervised(Limits(threads=1, limit_min=5.0, memory_mib=None), module_path((FUNCTIONS,)))
    job = Job(("a",), ("d",), {"kinds": {"a": "who"}, "marks": str(tmp_path)})
    written = tmp_path / "log"
    first = worker.run("fleet_functions:act", job, written)
    os.killpg(first.answers["a"]["result"]["pid"], signal.SIGKILL)
    psutil.wait_procs([psutil.Process(first.answers["a"]["result"]["pid"])], timeout=60)
    second = worker.run("fleet_functions:act", job, written)
    worker.close()
    assert second.answers["a"]["status"] == "success"
    assert second.worker != first.worker


def test_threads_of_numerical_libraries_are_those_of_the_settings(fleet) -> None:
    found = fleet.run("local", {"a": "threads", "b": "threads"}, workers=1, threads=2)
    assert [one.result for one in found.values()] == [{"omp": "2", "torch": 2}] * 2


def test_no_more_jobs_are_taken_than_there_are_workers(fleet) -> None:
    kinds = {f"asset-{number}": "good" for number in range(40)}
    n_ahead = []

    def jobs():
        for number, job in enumerate(fleet.jobs(kinds), 1):
            n_ahead.append(number - len(list(fleet.records.glob("*.json"))))
            yield job

    outcomes = list(fleet.start("local", jobs()))
    assert len(outcomes) == 40
    assert max(n_ahead) <= 2


def test_an_outcome_comes_before_later_jobs_start(fleet) -> None:
    outcomes = fleet.start("local", fleet.jobs({"a": "good", "b": "gate", "c": "good"}), workers=1)
    assert next(outcomes).asset == "a"
    assert (fleet.records / "a.json").exists()
    assert "c" not in fleet.calls()
    fleet.open_gate()
    assert [outcome.asset for outcome in outcomes] == ["b", "c"]


def test_a_caller_who_stops_ends_every_worker_and_nothing_is_recorded(fleet, alive, until) -> None:
    outcomes = fleet.start("local", fleet.jobs({"a": "good", "b": "gate", "c": "gate"}), limit_min=60.0)
    next(outcomes)
    until(lambda: len(fleet.running()) == 4, "two workers wait at the gate")
    outcomes.close()
    assert not [pid for pid in fleet.running() if alive(pid)]
    assert sorted(path.name for path in fleet.records.glob("*.json")) == ["a.json"]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("engine-")]


def test_jobs_that_raise_are_an_error_for_the_caller(fleet) -> None:
    def jobs():
        yield from fleet.jobs({"a": "good"})
        raise RuntimeError("no more data")

    found = []
    with pytest.raises(RuntimeError, match="no more data"):
        found.extend(fleet.start("local", jobs()))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("engine-")]


def test_a_module_that_cannot_be_imported_fails_its_assets_with_a_log(fleet) -> None:
    [found] = fleet.start("local", fleet.jobs({"a": "good"}), function="missing")
    assert found.reason == "ImportError: module 'fleet_functions' has no 'missing', asked as 'fleet_functions:missing'"
    assert "Traceback" in Path(found.log).read_text()


def test_arguments_larger_than_a_pipe_arrive(fleet) -> None:
    [job] = fleet.jobs({"a": "good"})
    job.arguments["much"] = "x" * 3_000_000
    [found] = fleet.start("local", [job])
    assert found.status == "success"


def test_by_default_there_are_as_many_workers_as_cores_allow_and_jobs_need() -> None:
    def n_workers(n_jobs: int | None, **settings: int) -> int:
        return Plan("a:b", EngineConfig(name="local", **settings), Records(Path()), (), n_jobs).n_workers

    assert n_workers(1000) == usable_cores() == len(os.sched_getaffinity(0))
    assert n_workers(None, threads=10_000) == 1
    assert n_workers(3, workers=8) == 3
    assert n_workers(0) == 1


def test_memory_of_a_tree_is_that_of_its_processes() -> None:
    own = psutil.Process()
    below = {child.pid for child in own.children(recursive=True)}
    assert set(descendants(own.pid)) == below
    expected = sum(psutil.Process(pid).memory_info().rss for pid in {own.pid, *below}) / 2**20
    assert tree_rss_mib(own.pid) == pytest.approx(expected, rel=0.05)
    assert tree_rss_mib(2**22 + 1) == 0.0
    assert descendants(2**22 + 1) == []
