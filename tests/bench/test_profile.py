"""The computational profile from what a worker answers: nothing is made up, and nothing that is measured is lost."""

from typing import Any

import pytest

from foresense.bench.measure import Plan
from foresense.bench.profile import BATCHES, measure_profile, slowest_stage
from foresense.bench.wrist_worker import answer
from foresense.config.wrist import WristModelConfig

STAGES = {
    "statistics": {"p50": 1.0, "p95": 1.5, "p99": 2.0},
    "topology": {"p50": 6.0, "p95": 8.0, "p99": 9.0},
    "network": {"p50": 1.0, "p95": 9.9, "p99": 30.0},
}
NETWORK = WristModelConfig(n_times=0)
MANIFEST: dict[str, Any] = {
    "pipeline": "wrist",
    "length": 1000,
    "rate_hz": 100.0,
    "classes": ["a", "b", "c", "d"],
    "network": NETWORK.model_dump(mode="json"),
    "model": {"n_parameters": 75_016 - 5 * 56 - 56},
    "model_sha256": "m",
    "variants": {"onnx-float32": {"file": "one.onnx"}},
}
FACTS = {"peak_rss_mib": 230.0, "runtime_rss_mib": 48.0}
PLAN = Plan(10, 100, (2, 1), None)


def profile(latency_ms: dict[str, float], manifest: dict[str, Any] = MANIFEST) -> tuple[dict[str, Any], dict[str, Any]]:
    """The profile, and the request that the worker got."""
    asked: dict[str, Any] = {}

    def work(request: dict[str, Any]) -> dict[str, Any]:
        asked.update(request)
        speeds = [{"batch": batch, "windows_per_s": 100.0, "peak_rss_mib": 230.0} for batch in request["batches"]]
        return {
            "n_windows": 77,
            "latency_ms": latency_ms,
            "growth_mib": 0.25,
            "stages_ms": STAGES,
            "throughput": speeds,
            "heavy": [],
        }

    return measure_profile(work, manifest, "onnx-float32", FACTS, PLAN), asked


def test_the_slowest_stage_is_the_one_with_the_largest_median() -> None:
    assert slowest_stage(STAGES) == {"name": "topology", "p50_ms": 6.0, "share": 0.75}


def test_a_window_lasts_ten_seconds_and_not_ten_milliseconds() -> None:
    found, asked = profile({"mean": 9.0, "p50": 8.0, "p95": 12.5, "p99": 50.0})
    assert asked["mode"] == "profile"
    assert (asked["file"], asked["n_timed"], asked["batches"]) == ("one.onnx", 100, list(BATCHES))
    assert found["window_ms"] == 10_000
    assert found["real_time_factor"] == 800
    assert found["is_real_time"]
    assert found["plan"] == {"n_windows": 77, "n_warmup": 10, "n_threads": 2}
    assert found["memory_mib"] == {"peak_rss": 230.0, "runtime_rss": 48.0, "growth": 0.25}
    assert (found["network"]["n_parameters"], found["network"]["flops"]) == (74_680, 1_617_616 - 2 * 5 * 56)
    assert found["network"]["modules"]["encoder.layers.0"]["n_parameters"] == 25_704
    assert found["slowest_stage"]["name"] == "topology"


@pytest.mark.parametrize(
    "latency_ms",
    [{"mean": 10_001.0, "p50": 1.0, "p95": 2.0, "p99": 3.0}, {"mean": 1.0, "p50": 1.0, "p95": 10_000.0, "p99": 1e5}],
)
def test_a_label_that_takes_as_long_as_its_window_is_not_in_real_time(latency_ms: dict[str, float]) -> None:
    assert not profile(latency_ms)[0]["is_real_time"]


def test_a_manifest_that_describes_another_network_is_refused() -> None:
    other = {**MANIFEST, "network": {**MANIFEST["network"], "n_layers": 1}}
    with pytest.raises(
        ValueError,
        match=r"model\.n_parameters is 74680, the network that it describes has 48976; run `foresense export",
    ):
        profile({"mean": 1.0, "p50": 1.0, "p95": 1.0, "p99": 1.0}, other)


def test_the_worker_says_which_modes_it_has() -> None:
    with pytest.raises(ValueError, match=r"mode 'profiles': expected runtime, digest, measure or profile"):
        answer({"mode": "profiles", "artefact": ".", "file": "one.onnx"})
