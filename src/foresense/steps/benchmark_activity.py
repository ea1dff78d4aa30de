"""Step `benchmark` of an activity pipeline: from a raw window to its label, in fresh processes; gates are judged."""

import os
from pathlib import Path
from typing import Any

from foresense.bench.limits import choose, judge_gates, nothing_ships, require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import NOISY_LOAD, Plan
from foresense.bench.profile import measure_profile
from foresense.bench.verdict import SHIPS
from foresense.bench.wrist import GATES, local_session, measure_variants
from foresense.config import ConfigError, read_device
from foresense.config.activity import ActivityBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.signals import BenchmarkReport, read_json, write_json
from foresense.steps.frame import StepRun
from foresense.steps.window_activity import GROUP


def benchmark_activity(run: StepRun, config: ActivityBenchmarkConfig) -> BenchmarkReport:
    """Measure the artefact on this machine, judge and profile what ships; succeeds even when gates fail.

    What ships is the fastest accepted variant that passes every gate; where none does, the fastest accepted one.
    Accepted means: not slower than float32 of its format, at most 1 % of the model's macro-F1 lost on the people held
    out, equal outputs in two processes.

    Args:
        run: The step that is running.
        config: The plan, the device and the gates.

    Raises:
        ValueError: an unknown gate; an artefact that changed after its export.
        ConfigError: no such device, or one that is not this machine.
        FileNotFoundError: windows or artefact are absent; says which command writes them.
        WorkerError: a measuring process failed.
    """
    from foresense.tracking import attach_to_model

    require_known(config.gates, GATES)
    device = read_device(run.layout.devices, config.device)
    if device.reach != "local":
        raise ConfigError(
            f"benchmark.device: {device.name} is reached by {device.reach}; a classifier is measured on this machine "
            "only: set device: host"
        )
    artefact = run.paths.exports / GROUP
    if not (artefact / "manifest.json").is_file():
        raise FileNotFoundError(f"{artefact / 'manifest.json'}: not there; run `foresense export {run.pipeline}` first")
    manifest, evaluation = read_json(artefact / "manifest.json"), read_json(artefact / "evaluation.json")
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    with measuring():
        load = os.getloadavg()[0]
        work = local_session(artefact, run.paths.windows / GROUP, evaluation["held_out"])
        variants = measure_variants(work, manifest, plan, evaluation)
        ships = choose(variants, config.gates, GATES)
        profile = None if ships is None else measure_profile(work, manifest, ships, variants[ships], plan)
    if ships is not None:
        variants[ships]["verdict"], variants[ships]["reason"] = SHIPS, f"{SHIPS}: {variants[ships]['reason']}"
    gates = judge_gates(config.gates, variants[ships], GATES) if ships is not None else [nothing_ships()]
    headline: dict[str, Any] = {"ships": ships, "n_gates_failed": sum(not gate.passed for gate in gates)}
    tracked: dict[str, float] = {}
    shown: list[Path] = []
    profile_path, picture = run.paths.reports / "profile.json", run.paths.reports / "costs.png"
    for path in (profile_path, picture):
        path.unlink(missing_ok=True)  # DVC knows neither: it empties no place before the step
    if profile is not None:
        facts = variants[profile["variant"]]
        headline |= {f"latency_ms_{name}": round(facts["latency_ms"][name], 3) for name in ("p50", "p95")}
        headline |= {name: facts[name] for name in ("size_mib", "peak_rss_mib", "cold_start_ms", "quality_drop")}
        headline |= {name: facts["quality"][name] for name in ("macro_f1", "accuracy")}
        tracked = {f"benchmark/{name}": float(value) for name, value in headline.items() if name != "ships"}
        write_json(profile_path, {**profile, "device": device.name, "load_1min_before": round(load, 2)})
        stages = [StageCost(name, cost["p50"], cost["p95"]) for name, cost in profile["stages_ms"].items()]
        title = f"{run.pipeline}: one window of {facts['window_ms'] / 1000:g} s to its label, {ships}"
        plot_costs(picture, title, stages)
        shown = [profile_path, picture]
    write_json(run.paths.reports / "metrics_edge.json", headline)
    return run.finish(
        BenchmarkReport,
        data_sha256=manifest["data_sha256"],
        mlflow_run_id=attach_to_model(
            run.layout, run.pipeline, manifest["model_sha256"], metrics=tracked, artifacts=shown
        ),
        device=device.name,
        plan={**plan.described(), "load_1min_before": round(load, 2), "noisy": load > NOISY_LOAD},
        variants=variants,
        groups={GROUP: variants},
        ships=ships,
        gates=gates,
    )
