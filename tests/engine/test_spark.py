"""Spark on this machine, one context for all tests; and a real master with workers as processes of their own."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.spark_cluster import Cluster, spark_cluster
from foresense.config import EngineConfig
from foresense.engine import Job

pytest.importorskip("pyspark")

from foresense.engine.spark import open_spark

LOCAL = EngineConfig(name="spark", master="local[2]")
DRIVER = Path(__file__).with_name("driver.py")
MIX = {
    "a": "good",
    "b": "breaks_memory",
    "c": "too_short",
    "d": "raises",
    "e": "exits",
    "f": "no_json",
    "Förderband 1/2": "good",
    "h": "good",
}


#: Short lives: no second compiler, no parallel collector, no service that is not asked for.
BRIEF = {
    "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
}


@pytest.fixture(scope="module")
def spark() -> Iterator[object]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF.items():
            patch.setenv(name, value)
        with open_spark(LOCAL) as context:
            yield context


def comparable(found) -> dict[str, tuple]:
    return {asset: (one.digest, one.status, one.reason, one.n_tries, one.result) for asset, one in found.items()}


def test_spark_and_local_give_equal_outcomes_and_each_resumes_the_other(spark, new_fleet, tmp_path) -> None:
    of_spark, of_local = new_fleet(tmp_path / "spark"), new_fleet(tmp_path / "local")
    found = {
        "spark": of_spark.run("spark", MIX, size=3),
        "local": of_local.run("local", MIX, size=3),
    }
    assert comparable(found["spark"]) == comparable(found["local"])
    assert of_spark.calls() == of_local.calls()
    assert "Segmentation fault" in Path(found["spark"]["b"].log).read_text()
    finished = {asset for asset, one in found["spark"].items() if one.status != "failed"}
    for fleet, other in ((of_spark, "local"), (of_local, "spark")):
        again = fleet.run(other, MIX, size=3)
        assert {asset for asset, one in again.items() if one.resumed} == finished


def test_spark_and_local_train_equal_weights(spark, new_fleet, tmp_path) -> None:
    weights, digests = {}, {}
    for engine in ("spark", "local"):
        fleet = new_fleet(tmp_path / engine)
        (fleet.folder / "weights").mkdir()
        arguments = {"weights": str(fleet.folder / "weights")}
        jobs = [Job((asset,), (f"d-{asset}",), arguments) for asset in ("press-1", "press-2", "press-3")]
        found = list(fleet.start(engine, jobs, function="train"))
        assert [one.status for one in found] == ["success"] * 3
        digests[engine] = {one.asset: (one.digest, one.result) for one in found}
        weights[engine] = {path.name: path.read_bytes() for path in (fleet.folder / "weights").iterdir()}
    assert digests["spark"] == digests["local"]
    assert weights["spark"] == weights["local"]
    assert len(set(weights["spark"].values())) == 3


def test_limits_hold_and_outcomes_come_while_others_run(spark, fleet) -> None:
    kinds = {"a": "good", "b": "gate", "c": "hogs", "d": "good"}
    outcomes = fleet.start("spark", fleet.jobs(kinds), memory_mib=256)
    early = {(one := next(outcomes)).asset: one for _ in range(3)}
    assert early.keys() == {"a", "c", "d"}
    assert early["c"].reason == f"used {early['c'].peak_rss_mib:.0f} MiB, allowed 256 MiB"
    assert (fleet.records / "d.json").exists()
    fleet.open_gate()
    assert [one.asset for one in outcomes] == ["b"]


def test_a_job_that_takes_its_spark_worker_down_is_given_up_and_the_others_succeed(spark, fleet) -> None:
    found = fleet.run("spark", {"a": "good", "b": "kills_spark", "c": "good", "d": "good"})
    assert found["b"].status == "failed"
    assert found["b"].reason == "its Spark worker died 3 times"
    assert fleet.calls() == {"a": 1, "b": 3, "c": 1, "d": 1}
    assert {asset: found[asset].status for asset in "acd"} == dict.fromkeys("acd", "success")


def test_a_caller_who_stops_ends_the_spark_job(spark, fleet, alive, until) -> None:
    outcomes = fleet.start("spark", fleet.jobs({"a": "good", "b": "gate", "c": "gate"}))
    next(outcomes)
    until(lambda: len(fleet.running()) == 4, "two workers wait at the gate")
    outcomes.close()
    until(lambda: not any(map(alive, fleet.running())), "the workers of the Spark job have ended")
    assert sorted(path.name for path in fleet.records.glob("*.json")) == ["a.json"]


def test_what_spark_gives_up_is_failed_and_can_be_started_again(spark, fleet, alive, until) -> None:
    outcomes = fleet.start("spark", fleet.jobs({"a": "good", "b": "gate", "c": "gate", "d": "good"}))
    assert next(outcomes).asset == "a"
    until(lambda: len(fleet.running()) == 4, "two workers wait at the gate")
    spark.cancelAllJobs()
    found = list(outcomes)
    assert sorted((one.asset, one.status) for one in found) == [(asset, "failed") for asset in "bcd"]
    for one in found:
        assert re.fullmatch(r"Spark gave up: .*Job \d+ cancelled.*", one.reason)
    until(lambda: not any(map(alive, fleet.running())), "the workers of the cancelled job have ended")
    fleet.open_gate()
    again = fleet.run("spark", {"a": "good", "b": "gate", "c": "gate", "d": "good"})
    assert {one.status for one in again.values()} == {"success"}
    assert [asset for asset, one in again.items() if one.resumed] == ["a"]


def test_another_master_than_the_active_one_is_refused(spark, fleet) -> None:
    with pytest.raises(ValueError, match=r"engine.master is 'spark://x:1', but the active .* 'local\[2,4\]'"):
        list(fleet.start("spark", fleet.jobs({"a": "good"}), master="spark://x:1"))


def test_without_pyspark_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ImportError, match=r"pip install 'foresense\[spark\]'"), open_spark(LOCAL):
        pass


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in BRIEF.items():
        monkeypatch.setenv(name, value)
    with spark_cluster(tmp_path / "cluster") as running:
        yield running


@pytest.mark.long
def test_a_cluster_whose_worker_is_killed_gives_every_outcome_and_runs_nothing_twice(
    fleet, alive, until, cluster
) -> None:
    first = cluster.add_worker("worker-1")
    kinds = {"a": "good", "b": "gate", "c": "raises", "d": "good"}
    jobs = [{"assets": job.assets, "digests": job.digests, "arguments": job.arguments} for job in fleet.jobs(kinds)]
    asked = fleet.folder / "request.json"
    settings = {"name": "spark", "workers": 1}
    asked.write_text(json.dumps({"jobs": jobs, "settings": settings, "records": str(fleet.records)}))
    driver = cluster.start("driver", sys.executable, str(DRIVER), str(asked), FORESENSE_SPARK_MASTER=cluster.address)
    told = cluster.folder / "driver.log"
    until(lambda: len(fleet.running()) == 2, "one worker waits at the gate")
    before = fleet.running()
    cluster.kill(first)
    until(lambda: not any(map(alive, before)), "the worker process of the engine has ended with Spark's")
    cluster.add_worker("worker-2")
    fleet.open_gate()

    assert driver.wait(120) == 0, told.read_text()[-3000:]
    outcomes = [json.loads(line) for line in told.read_text().splitlines() if line.startswith("{")]
    assert sorted((one["asset"], one["status"]) for one in outcomes) == [
        ("a", "success"), ("b", "success"), ("c", "failed"), ("d", "success"),
    ]  # fmt: skip
    assert fleet.calls() == {"a": 1, "b": 2, "c": 1, "d": 1}
