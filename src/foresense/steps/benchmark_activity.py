"""Step `benchmark` of an activity pipeline: from a raw window to its label, in fresh processes; gates are judged."""

import os
from pathlib import Path

from foresense.bench.limits import require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import Plan
from foresense.bench.profile import measure_profile
from foresense.bench.wrist import GATES, local_session, measure_variants
from foresense.config.activity import ActivityBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.signals import BenchmarkReport, read_json, write_json
from foresense.steps.benchmarking import finish_benchmark, read_manifest, require_current, ship, this_machine
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
        ValueError: an unknown gate; an artefact that changed after its export, or that is about other recordings.
        ConfigError: no such device, or one that is not this machine.
        FileNotFoundError: windows or artefact are absent; says which command writes them.
        WorkerError: a measuring process failed.
    """
    require_known(config.gates, GATES)
    device = this_machine(run, config.device, "a classifier")
    artefact, manifest = run.paths.exports / GROUP, read_manifest(run, GROUP)
    require_current(run, artefact, manifest, "recordings")
    evaluation = read_json(artefact / "evaluation.json")
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    with measuring():
        load = os.getloadavg()[0]
        work = local_session(artefact, run.paths.windows / GROUP, evaluation["held_out"])
        variants = measure_variants(work, manifest, plan, evaluation)
        ships, gates = ship(variants, config.gates, GATES)
        profile = None if ships is None else measure_profile(work, manifest, ships, variants[ships], plan)
    shown: list[Path] = []
    profile_path, picture = run.paths.reports / "profile.json", run.paths.reports / "costs.png"
    for path in (profile_path, picture):
        path.unlink(missing_ok=True)  # DVC knows neither: it empties no place before the step
    if profile is not None:
        facts = variants[profile["variant"]]
        write_json(profile_path, {**profile, "device": device.name, "load_1min_before": round(load, 2)})
        stages = [StageCost(name, cost["p50"], cost["p95"]) for name, cost in profile["stages_ms"].items()]
        title = f"{run.pipeline}: one window of {facts['window_ms'] / 1000:g} s to its label, {ships}"
        plot_costs(picture, title, stages)
        shown = [profile_path, picture]
    return finish_benchmark(
        run,
        manifest,
        device=device,
        plan=plan.described(load),
        groups={GROUP: variants},
        variants=variants,
        ships=ships,
        gates=gates,
        artifacts=shown,
    )
