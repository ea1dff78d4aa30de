"""The computational profile of a pipeline of people: what a label costs, where, and in which units."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from foresense.bench.measure import Plan
from foresense.bench.reach import Work
from foresense.config.wrist import WristModelConfig

SCHEMA_VERSION = 1
#: Windows whose features are computed in one call, as far as so many are timed at all; an exported network takes one
#: window at a time in all of them.
BATCHES = (1, 8, 64)


def measure_profile(
    work: Work, manifest: Mapping[str, Any], variant: str, facts: Mapping[str, Any], plan: Plan
) -> dict[str, Any]:
    """Measure what one exported classifier costs, from a raw window to its label.

    Arithmetic is counted here, by torch; times and memory come from a fresh process that holds no torch, over different
    windows of the people held out, of which there are `n_timed` where the data have so many.

    Args:
        work: Runs one request of `bench.wrist_worker` in a fresh process.
        manifest: The artefact's manifest.
        variant: Which of its variants.
        facts: What `measure_variants` found of that one.
        plan: Warm-ups, windows, threads.

    Returns:
        What `profile.json` holds; its keys stand in docs/glossary.md.

    Raises:
        ValueError: the manifest describes another network than its own number of parameters says.
        WorkerError: the measuring process failed.
    """
    from foresense.bench.flops import WHOLE, classifier_cost

    network = WristModelConfig.model_validate(manifest["network"])
    modules = classifier_cost(network, n_classes=len(manifest["classes"]))
    whole, said = modules.pop(WHOLE), manifest["model"]["n_parameters"]
    if whole.n_parameters != said:
        raise ValueError(
            f"manifest.json: model.n_parameters is {said}, the network that it describes has {whole.n_parameters}; "
            f"run `foresense export {manifest['pipeline']}` again"
        )
    batches = [batch for batch in BATCHES if batch <= plan.n_timed]
    asked = {"mode": "profile", "file": manifest["variants"][variant]["file"], "batches": batches}
    measured = work({**asked, **asdict(plan)})
    window_ms = manifest["length"] / manifest["rate_hz"] * 1000
    latency_ms = measured["latency_ms"]
    return {
        "schema_version": SCHEMA_VERSION,
        "pipeline": manifest["pipeline"],
        "variant": variant,
        "model_sha256": manifest["model_sha256"],
        "plan": {"n_windows": measured["n_windows"], "n_warmup": plan.n_warmup, "n_threads": plan.n_threads[0]},
        "network": {
            "name": network.model,
            **asdict(whole),
            "modules": {path: asdict(cost) for path, cost in modules.items()},
        },
        "stages_ms": measured["stages_ms"],
        "slowest_stage": slowest_stage(measured["stages_ms"]),
        "latency_ms": latency_ms,
        "window_ms": window_ms,
        "real_time_factor": window_ms / latency_ms["p95"],
        "is_real_time": max(latency_ms["mean"], latency_ms["p95"]) < window_ms,
        "throughput": measured["throughput"],
        "memory_mib": {
            "peak_rss": facts["peak_rss_mib"],
            "runtime_rss": facts["runtime_rss_mib"],
            "growth": measured["growth_mib"],
        },
        "heavy": measured["heavy"],
    }


def slowest_stage(stages_ms: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The stage with the largest median: its name, that median and its share of all stages' medians."""
    medians = {name: cost["p50"] for name, cost in stages_ms.items()}
    name = max(medians, key=lambda each: medians[each])
    return {"name": name, "p50_ms": medians[name], "share": medians[name] / sum(medians.values())}
