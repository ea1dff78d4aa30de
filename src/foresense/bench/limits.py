"""Gates by name: a limit in params.yaml, a unit, and where the value is found."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from foresense.bench.verdict import ACCEPTED
from foresense.config import GateConfig
from foresense.signals import Gate

Facts = Mapping[str, Any]
#: gate -> (unit, its value from the facts of the variant that ships).
Gates = Mapping[str, tuple[str, Callable[[Facts], float]]]

#: Gates that hold for every exported file.
COMMON: Gates = {
    "size_mib": ("MiB", lambda facts: facts["size_mib"]),
    "latency_ms_p50": ("ms", lambda facts: facts["latency_ms"]["p50"]),
    "latency_ms_p95": ("ms", lambda facts: facts["latency_ms"]["p95"]),
    "latency_ms_p99": ("ms", lambda facts: facts["latency_ms"]["p99"]),
    "cold_start_ms": ("ms", lambda facts: facts["cold_start_ms"]),
    "peak_rss_mib": ("MiB", lambda facts: facts["peak_rss_mib"]),
    "quality_drop": ("1", lambda facts: facts["quality_drop"]),
}


def require_known(names: Mapping[str, GateConfig], gates: Gates) -> None:
    """Refuse a gate that nothing measures, before anything is measured.

    Raises:
        ValueError: names the nearest known gate, and all of them.
    """
    for name in names:
        if name not in gates:
            near = get_close_matches(name, list(gates), n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"benchmark.gates: no gate {name!r}{advice} (known: {', '.join(gates)})")


def judge_gates(limits: Mapping[str, GateConfig], facts: Facts, gates: Gates) -> list[Gate]:
    """Judge one variant's facts.

    Args:
        limits: gate -> its bound.
        facts: What was measured, as in the benchmark's report.
        gates: What can be judged.

    Raises:
        ValueError: no such gate, or one whose value could not be measured.
    """
    require_known(limits, gates)
    return [
        Gate.judge(name, float(gates[name][1](facts)), gates[name][0], at_most=limit.at_most, at_least=limit.at_least)
        for name, limit in limits.items()
    ]


def choose(variants: Mapping[str, Facts], limits: Mapping[str, GateConfig], gates: Gates) -> str | None:
    """What ships: the fastest accepted variant that passes every gate, else the fastest accepted one, else none."""
    accepted = sorted(
        (name for name, facts in variants.items() if facts["verdict"] == ACCEPTED),
        key=lambda name: float(variants[name]["latency_ms"]["p50"]),
    )
    passing = [name for name in accepted if all(gate.passed for gate in judge_gates(limits, variants[name], gates))]
    return next(iter([*passing, *accepted]), None)


def nothing_ships() -> Gate:
    """The gate that fails when no variant was measured and accepted: an empty list would pass."""
    return Gate.judge("n_accepted_variants", 0.0, "variants", at_least=1.0)
