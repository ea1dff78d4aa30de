"""Benchmark: what the exported files cost, how good they still are, which one ships, and whether the gates hold."""

import os
from collections.abc import Mapping
from typing import Any

from foresense.bench.gates import GATES
from foresense.bench.limits import choose, judge_gates, nothing_ships, require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import Plan, measure_artefact
from foresense.bench.reach import open_session, why_not_measured
from foresense.bench.verdict import NOT_MEASURED, REJECTED, SHIPS, add_quality_drop, judge_variants, worst_of
from foresense.config import BenchmarkConfig, DeviceConfig, read_device
from foresense.signals import BenchmarkReport, group_folders, read_json, recordings_digest, write_json
from foresense.steps.benchmarking import headline_of, read_manifest, require_current
from foresense.steps.frame import StepRun

Facts = dict[str, Any]


def benchmark(run: StepRun, config: BenchmarkConfig) -> BenchmarkReport:
    """Measure every artefact of the pipeline on a device, and judge what ships; succeeds even when gates fail.

    What ships is one variant for all groups: the fastest accepted one that passes every gate; where none passes them
    all, the fastest accepted one, whose gates then fail. Accepted means: not slower than float32 of its format, MSE at
    most 1 % above the model's, equal outputs in two processes.

    Args:
        run: The step that is running.
        config: The plan, the device and the gates.

    Raises:
        ValueError: an unknown gate; an artefact that changed after its export, or of other recordings.
        ConfigError: no such device.
        FileNotFoundError: windows or artefacts are absent; says which command writes them.
        WorkerError: a measuring process failed.
    """
    require_known(config.gates, GATES)
    device = read_device(run.layout.devices, config.device)
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    manifests = {folder.name: read_manifest(run, folder.name) for folder in group_folders(run.paths.windows)}
    for group, manifest in manifests.items():
        require_current(run, run.paths.exports / group, manifest, "recordings")
    with measuring():
        load = os.getloadavg()[0]
        groups = {group: _measure(run, device, plan, group, manifest) for group, manifest in manifests.items()}
    variants = worst_of(groups)
    ships = choose(variants, config.gates, GATES)
    if ships is not None:
        for facts in (variants[ships], *(found[ships] for found in groups.values())):
            facts["verdict"], facts["reason"] = SHIPS, f"{SHIPS}: {facts['reason']}"
    gates = judge_gates(config.gates, variants[ships], GATES) if ships is not None else [nothing_ships()]
    write_json(run.paths.reports / "metrics_edge.json", headline_of(variants, ships, gates))
    return run.finish(
        BenchmarkReport,
        data_sha256=recordings_digest(run.paths.windows),
        mlflow_run_id=_attach(run, manifests, groups, ships),
        device=device.name,
        plan=plan.described(load),
        variants=variants,
        groups=groups,
        ships=ships,
        gates=gates,
    )


def _measure(run: StepRun, device: DeviceConfig, plan: Plan, group: str, manifest: dict[str, Any]) -> dict[str, Facts]:
    """Facts, verdict and reason of every variant of one group."""
    artefact = run.paths.exports / group
    refused = {name: _why_unfit(device, name, facts) for name, facts in manifest["variants"].items()}
    found: dict[str, Facts] = {
        name: {"size_mib": manifest["variants"][name]["size_mib"], "verdict": verdict, "reason": reason}
        for name, (verdict, reason) in refused.items()
        if verdict
    }
    fit = [name for name in manifest["variants"] if name not in found]
    if fit:
        evaluation = read_json(artefact / "evaluation.json")
        baselines = [row["mse"] for row in evaluation.get("baselines", {}).values()]
        with open_session(device, artefact, run.paths.windows / group) as work:
            measured = measure_artefact(work, manifest, plan, fit, min(baselines, default=None))
        add_quality_drop(measured, evaluation["test"]["mse"], all_windows=plan.n_quality is None)
        for name, (verdict, reason) in judge_variants(measured).items():
            found[name] = {**measured[name], "verdict": verdict, "reason": reason}
    return {name: found[name] for name in manifest["variants"]}


def _why_unfit(device: DeviceConfig, variant: str, facts: Facts) -> tuple[str, str]:
    """Verdict and reason of what is not even tried on the device; empty where it is."""
    reason = why_not_measured(device)
    if reason:
        return NOT_MEASURED, reason
    if variant.partition("-")[0] not in device.formats:
        return REJECTED, f"rejected: {device.name} runs {', '.join(device.formats)} only"
    if device.max_model_mib is not None and facts["size_mib"] > device.max_model_mib:
        return REJECTED, f"rejected: {facts['size_mib']:.1f} MiB, {device.name} holds {device.max_model_mib:g} MiB"
    return "", ""


def _attach(
    run: StepRun, manifests: Mapping[str, dict[str, Any]], groups: Mapping[str, dict[str, Facts]], ships: str | None
) -> str:
    from foresense.tracking import attach_to_model

    run_ids = [
        attach_to_model(
            run.layout,
            run.pipeline,
            manifest["model_sha256"],
            metrics={} if ships is None else _tracked(groups[group][ships]),
        )
        for group, manifest in manifests.items()
    ]
    return run_ids[0]


def _tracked(facts: Facts) -> dict[str, float]:
    return {
        "benchmark/latency_ms_p50": facts["latency_ms"]["p50"],
        "benchmark/latency_ms_p95": facts["latency_ms"]["p95"],
        "benchmark/mse": facts["quality"]["mse"],
        "benchmark/mae": facts["quality"]["mae"],
        **{f"benchmark/{name}": float(facts[name]) for name in ("size_mib", "peak_rss_mib", "cold_start_ms")},
    }
