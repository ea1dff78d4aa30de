"""Catalog of gates of an exported file: what each name measures, in which unit."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from foresense.config import GateConfig
from foresense.signals import Gate

Facts = Mapping[str, Any]

#: gate -> (unit, its value from the facts of the variant that ships; worst group).
GATES: dict[str, tuple[str, Callable[[Facts], float]]] = {
    "size_mib": ("MiB", lambda facts: facts["size_mib"]),
    "latency_ms_p50": ("ms", lambda facts: facts["latency_ms"]["p50"]),
    "latency_ms_p95": ("ms", lambda facts: facts["latency_ms"]["p95"]),
    "latency_ms_p99": ("ms", lambda facts: facts["latency_ms"]["p99"]),
    "load_ms": ("ms", lambda facts: facts["load_ms"]),
    "cold_start_ms": ("ms", lambda facts: facts["cold_start_ms"]),
    "peak_rss_mib": ("MiB", lambda facts: facts["peak_rss_mib"]),
    "rss_delta_mib": ("MiB", lambda facts: facts["rss_delta_mib"]),
    "mse": ("scaled units squared", lambda facts: facts["quality"]["mse"]),
    "mae": ("scaled units", lambda facts: facts["quality"]["mae"]),
    "mse_ratio_to_best_baseline": ("1", lambda facts: facts["mse_ratio_to_best_baseline"]),
    "quality_drop": ("1", lambda facts: facts["quality_drop"]),
    "agreement_max_abs_error": ("scaled units", lambda facts: facts["agreement_max_abs_error"]),
}


def require_known(names: Mapping[str, GateConfig]) -> None:
    """Refuse a gate that nothing measures, before anything is measured.

    Raises:
        ValueError: names the nearest known gate, and all of them.
    """
    for name in names:
        if name not in GATES:
            near = get_close_matches(name, list(GATES), n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"benchmark.gates: no gate {name!r}{advice} (known: {', '.join(GATES)})")


def judge_gates(limits: Mapping[str, GateConfig], facts: Facts) -> list[Gate]:
    """Judge one variant's facts.

    Args:
        limits: gate -> its bound.
        facts: What was measured, as in the benchmark's report.

    Raises:
        ValueError: no such gate, or one whose value could not be measured.
    """
    require_known(limits)
    gates = []
    for name, limit in limits.items():
        unit, value_of = GATES[name]
        value = value_of(facts)
        if value is None:
            raise ValueError(
                f"benchmark.gates.{name}: nothing was measured for it; evaluation.json of the model has no baselines"
            )
        gates.append(Gate.judge(name, float(value), unit, at_most=limit.at_most, at_least=limit.at_least))
    return gates


def nothing_ships() -> Gate:
    """The gate that fails when no variant was measured and accepted: an empty list would pass."""
    return Gate.judge("n_accepted_variants", 0.0, "variants", at_least=1.0)
