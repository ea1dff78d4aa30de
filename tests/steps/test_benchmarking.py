"""What benchmarks of every kind share."""

from typing import Any

from foresense.bench.limits import COMMON
from foresense.config import GateConfig
from foresense.steps.benchmarking import headline_of, ship


def file(p50: float, verdict: str = "accepted") -> dict[str, Any]:
    return {
        "verdict": verdict,
        "reason": f"{verdict}: so it is",
        "latency_ms": {"p50": p50, "p95": p50 + 0.12345, "p99": 9.0},
        "size_mib": 1.5,
        "peak_rss_mib": 50.0,
        "cold_start_ms": 300.0,
        "quality_drop": 0.001,
        "quality": {"auroc": 0.75, "n_windows": 60, "n_people": 6},
    }


def test_what_ships_says_so_and_is_judged_by_its_gates() -> None:
    variants = {"slow": file(2.0), "fast": file(1.0), "wrong": file(0.1, "rejected")}
    limits = {"latency_ms_p50": GateConfig(at_most=0.5), "size_mib": GateConfig(at_most=2)}
    ships, gates = ship(variants, limits, COMMON)
    assert ships == "fast"
    assert (variants["fast"]["verdict"], variants["fast"]["reason"]) == ("ships", "ships: accepted: so it is")
    assert variants["slow"]["verdict"] == "accepted"
    assert {gate.name: gate.passed for gate in gates} == {"latency_ms_p50": False, "size_mib": True}
    assert headline_of(variants, ships, gates, {"pi_n_tests_passed": 9}) == {
        "ships": "fast",
        "n_gates_failed": 1,
        "pi_n_tests_passed": 9,
        "latency_ms_p50": 1.0,
        "latency_ms_p95": 1.123,
        "size_mib": 1.5,
        "peak_rss_mib": 50.0,
        "cold_start_ms": 300.0,
        "quality_drop": 0.001,
        "auroc": 0.75,
    }


def test_where_nothing_is_accepted_nothing_ships_and_a_gate_fails() -> None:
    variants = {"wrong": file(0.1, "rejected")}
    ships, gates = ship(variants, {}, COMMON)
    assert ships is None
    assert [(gate.name, gate.passed) for gate in gates] == [("n_accepted_variants", False)]
    assert headline_of(variants, ships, gates) == {"ships": None, "n_gates_failed": 1}
