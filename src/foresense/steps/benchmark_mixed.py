"""Step `benchmark` of a pipeline of mixed recordings: exported files in fresh processes, on the test part."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.limits import require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import Plan
from foresense.bench.mixed import GATES, Asked, local_session, measure_variants
from foresense.config.mixed_pipeline import MixedBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.export.mixed_inputs import inputs_of
from foresense.signals import BenchmarkReport, read_json, recordings_digest
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
from foresense.steps.benchmarking import finish_benchmark, read_manifest, require_unchanged, ship, this_machine
from foresense.steps.frame import StepRun
from foresense.steps.window_mixed import GROUP


def benchmark_mixed(run: StepRun, config: MixedBenchmarkConfig) -> BenchmarkReport:
    """Measure the artefact on this machine, judge what ships; succeeds even when gates fail.

    What ships is the fastest accepted variant that passes every gate; where none does, the fastest accepted one.
    Accepted means: at most 1 % of the model's headline score lost on the test part of the turn that ships (RMSE of a
    value, AUROC of two classes, macro-F1 of more), equal outputs in two processes.

    Args:
        run: The step that is running.
        config: The plan, the device and the gates.

    Raises:
        ValueError: an unknown gate; an artefact that changed after its export, or that is about other windows.
        ConfigError: no such device, or one that is not this machine.
        FileNotFoundError: windows or artefact are absent; says which command writes them.
        WorkerError: a measuring process failed.
    """
    require_known(config.gates, GATES)
    device = this_machine(run, config.device, "a model of mixed recordings")
    artefact, manifest = run.paths.exports / GROUP, read_manifest(run, GROUP)
    evaluation = read_json(artefact / "evaluation.json")
    windows = open_mixed_windows(run.paths.windows / GROUP)
    _require_same(run, artefact, windows, manifest, int(evaluation["fold"]))
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    asked = _asked(windows, evaluation, config.n_quality)
    with tempfile.TemporaryDirectory(prefix="foresense-benchmark-") as folder, measuring():
        scratch, load = Path(folder), os.getloadavg()[0]
        work = local_session(artefact, scratch, asked.inputs)
        variants = measure_variants(work, scratch, manifest, plan, asked, evaluation)
    ships, gates = ship(variants, config.gates, GATES)
    picture = run.paths.reports / "costs.png"
    picture.unlink(missing_ok=True)  # DVC does not know it: it empties no place before the step
    if ships is not None:
        stages = [StageCost(name, cost["p50"], cost["p95"]) for name, cost in variants[ships]["stages_ms"].items()]
        plot_costs(picture, f"{run.pipeline}: one window of {windows.length} steps to its answer, {ships}", stages)
    return finish_benchmark(
        run,
        manifest,
        device=device,
        plan=plan.described(load),
        groups={GROUP: variants},
        variants=variants,
        ships=ships,
        gates=gates,
        artifacts=[picture] if ships is not None else [],
    )


def _asked(windows: MixedWindows, evaluation: dict[str, Any], n: int | None) -> Asked:
    """Test windows of the turn that ships: all, or `n` evenly spread over the classes, with one of each end."""
    fold = int(evaluation["fold"])
    test = windows.of_part("test", fold)
    chosen, is_all = test, n is None or n >= len(test)
    if n is not None and not is_all:
        by_class = test[np.argsort(windows.classes[test], kind="stable")]
        chosen = by_class[np.linspace(0, len(test) - 1, n).round().astype(np.int64)]
    return Asked(
        inputs=inputs_of(windows, chosen, fold, calendar=evaluation["calendar"]),
        targets=windows.targets[chosen],
        classes=windows.classes[chosen],
        is_all=is_all,
    )


def _require_same(run: StepRun, artefact: Path, windows: MixedWindows, manifest: dict[str, Any], fold: int) -> None:
    require_unchanged(run, artefact, manifest)
    found = recordings_digest(run.paths.windows)
    schema = MixedSchema.from_json(read_json(artefact / "schema.json"), str(artefact / "schema.json"))
    if manifest["data_sha256"] != found or schema != windows.schemas[fold]:
        raise ValueError(
            f"{artefact}: exported for other windows than {run.paths.windows / GROUP} holds now; run `foresense train "
            f"{run.pipeline}` and `foresense export {run.pipeline}` again"
        )
