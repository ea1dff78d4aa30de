"""Verdicts: is a variant worth shipping, and if not, why not."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Share of the trained model's MSE by which an exported file may be worse.
MAX_QUALITY_DROP = 0.01
#: A quantized file must not be slower than float32 of its format; so much is the noise of two medians.
LATENCY_NOISE = 0.05

ACCEPTED, REJECTED, NOT_MEASURED, SHIPS = "accepted", "rejected", "not measured", "ships"


def add_quality_drop(variants: dict[str, dict[str, Any]], model_mse: float, *, all_windows: bool) -> None:
    """Write `quality_drop` and `quality_reference` into each variant's facts.

    The reference is the trained model on the whole test part; when only some windows were forecast, it is the float32
    file on the same windows, because a part of the windows is easier or harder than all of them.

    Args:
        variants: variant -> facts with `quality`; changed in place.
        model_mse: The trained model's MSE on the whole test part, scaled units.
        all_windows: Whether the files forecast the whole test part.
    """
    float_mse = [facts["quality"]["mse"] for name, facts in variants.items() if name.endswith("-float32")]
    reference, label = (model_mse, "the model on all test windows")
    if not all_windows and float_mse:
        reference, label = (min(float_mse), "the float32 file on the same windows")
    for facts in variants.values():
        facts["quality_reference"] = label
        facts["quality_drop"] = facts["quality"]["mse"] / reference - 1 if reference else 0.0


def judge_variants(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Verdict and reason of every variant of one artefact.

    Args:
        variants: variant -> facts with `latency_ms`, `quality_drop`, `deterministic`.
    """
    return {name: _judge(name, facts, variants) for name, facts in variants.items()}


def _judge(name: str, facts: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    reasons = slower_than_float32(name, facts, variants)
    if not facts["quality_drop"] <= MAX_QUALITY_DROP:
        drop, mse = facts["quality_drop"], facts["quality"]["mse"]
        reasons.append(f"quality drop {drop:.2%} (MSE {mse:.4g}), at most {MAX_QUALITY_DROP:.0%}")
    return accepted_unless(reasons, facts, f"quality drop {facts['quality_drop']:.2%}")


def slower_than_float32(name: str, facts: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why a variant is too slow; empty where it is not, or where its artefact has no float32 of its format."""
    p50, peer = facts["latency_ms"]["p50"], variants.get(f"{name.partition('-')[0]}-float32")
    if peer is None or p50 <= peer["latency_ms"]["p50"] * (1 + LATENCY_NOISE):
        return []
    return [f"slower than float32 ({p50:.3g} ms vs {peer['latency_ms']['p50']:.3g} ms)"]


def accepted_unless(reasons: Sequence[str], facts: Mapping[str, Any], lost: str) -> tuple[str, str]:
    """Verdict and reason of a measured variant; `lost`: in words, how much worse than the model it is."""
    if not facts["deterministic"]:
        reasons = [*reasons, "two processes gave different outputs for the same inputs"]
    if reasons:
        return REJECTED, f"rejected: {'; '.join(reasons)}"
    return ACCEPTED, f"accepted: {lost}, {facts['latency_ms']['p50']:.3g} ms"


def worst_of(groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """For each variant that every group has, the worst of every number over the groups, and the worst verdict.

    A group whose file was refused has no measured numbers; then the worst is that of the groups that have them.
    """
    names = [name for name in next(iter(groups.values())) if all(name in variants for variants in groups.values())]
    found = {}
    for name in names:
        by_group = {group: variants[name] for group, variants in groups.items()}
        merged = _worst(list(by_group.values()))
        for verdict in (NOT_MEASURED, REJECTED, ACCEPTED):
            having = [group for group, facts in by_group.items() if facts["verdict"] == verdict]
            if having:
                merged["verdict"] = verdict
                merged["reason"] = f"{having[0]}: {by_group[having[0]]['reason']}"
                break
        found[name] = merged
    return found


def _worst(facts: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in facts for key in row):
        values = [row[key] for row in facts if key in row]
        first = values[0]
        if isinstance(first, bool):
            merged[key] = all(values)
        elif isinstance(first, int | float):
            merged[key] = max(values)
        elif isinstance(first, Mapping):
            merged[key] = _worst(values)
        elif all(value == first for value in values):
            merged[key] = first
    return merged
