import pytest

from foresense.bench import clips, mixed, weeks, wrist
from foresense.bench.gates import GATES
from foresense.bench.limits import Gates, judge_gates, nothing_ships
from foresense.config import GateConfig

FACTS = {
    "size_mib": 4.92,
    "latency_ms": {"p50": 25.0, "p95": 31.0, "p99": 44.0},
    "load_ms": 90.0,
    "cold_start_ms": 480.0,
    "peak_rss_mib": 81.0,
    "rss_delta_mib": 46.0,
    "quality": {"mse": 0.03, "mae": 0.12, "macro_f1": 0.9, "auc": 0.95},
    "mse_ratio_to_best_baseline": 0.8,
    "quality_drop": 0.004,
    "agreement_max_abs_error": 8e-4,
    "real_time_factor": 70.0,
    "growth_mib": 0.25,
}
TABLES = {"forecasts": GATES, "windows": wrist.GATES, "mixed": mixed.GATES, "weeks": weeks.GATES, "clips": clips.GATES}


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, gates in TABLES.items() for name in gates])
def test_every_gate_fails_at_1_2_times_its_limit_and_holds_below_it(table: str, name: str) -> None:
    gates: Gates = TABLES[table]
    value = gates[name][1](FACTS)
    failed = judge_gates({name: GateConfig(at_most=value / 1.2)}, FACTS, gates)[0]
    assert not failed.passed
    assert failed.headroom == pytest.approx(-0.2)
    assert failed.value == value
    assert judge_gates({name: GateConfig(at_most=value * 1.2)}, FACTS, gates)[0].passed
    assert not judge_gates({name: GateConfig(at_least=value * 1.2)}, FACTS, gates)[0].passed


def test_an_unknown_gate_names_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"no gate 'latency_p95_ms'; did you mean 'latency_ms_p95'\? \(known: size_mib"
    ):
        judge_gates({"latency_p95_ms": GateConfig(at_most=1)}, FACTS, GATES)


def test_a_gate_without_a_measurement_is_an_error_not_a_pass() -> None:
    unmeasured = {**FACTS, "mse_ratio_to_best_baseline": None}
    with pytest.raises(ValueError, match=r"gates\.mse_ratio_to_best_baseline: nothing was measured for it"):
        judge_gates({"mse_ratio_to_best_baseline": GateConfig(at_most=1)}, unmeasured, GATES)


def test_nothing_that_ships_is_a_failed_gate() -> None:
    assert not nothing_ships().passed
