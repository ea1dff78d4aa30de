"""Step `benchmark` of a pipeline of mixed recordings: exported files in fresh processes, on the test part."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.limits import choose, judge_gates, nothing_ships, require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import NOISY_LOAD, Plan
from foresense.bench.mixed import GATES, Asked, local_session, measure_variants
from foresense.bench.verdict import SHIPS
from foresense.config import ConfigError, read_device
from foresense.config.mixed_pipeline import MixedBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.export.mixed_inputs import inputs_of
from foresense.signals import BenchmarkReport, file_sha256, read_json, write_json
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import MixedWindows, open_mixed_windows
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
    from foresense.tracking import attach_to_model

    require_known(config.gates, GATES)
    device = read_device(run.layout.devices, config.device)
    if device.reach != "local":
        raise ConfigError(
            f"benchmark.device: {device.name} is reached by {device.reach}; a model of mixed recordings is measured on "
            "this machine only: set device: host"
        )
    artefact = run.paths.exports / GROUP
    if not (artefact / "manifest.json").is_file():
        raise FileNotFoundError(f"{artefact / 'manifest.json'}: not there; run `foresense export {run.pipeline}` first")
    manifest, evaluation = read_json(artefact / "manifest.json"), read_json(artefact / "evaluation.json")
    windows = open_mixed_windows(run.paths.windows / GROUP)
    _require_same(run, artefact, windows, manifest, int(evaluation["fold"]))
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    asked = _asked(windows, evaluation, config.n_quality)
    with tempfile.TemporaryDirectory(prefix="foresense-benchmark-") as folder, measuring():
        scratch, load = Path(folder), os.getloadavg()[0]
        work = local_session(artefact, scratch, asked.inputs)
        variants = measure_variants(work, scratch, manifest, plan, asked, evaluation)
    ships = choose(variants, config.gates, GATES)
    if ships is not None:
        variants[ships]["verdict"], variants[ships]["reason"] = SHIPS, f"{SHIPS}: {variants[ships]['reason']}"
    gates = judge_gates(config.gates, variants[ships], GATES) if ships is not None else [nothing_ships()]
    headline: dict[str, Any] = {"ships": ships, "n_gates_failed": sum(not gate.passed for gate in gates)}
    tracked: dict[str, float] = {}
    picture = run.paths.reports / "costs.png"
    picture.unlink(missing_ok=True)  # DVC does not know it: it empties no place before the step
    if ships is not None:
        facts = variants[ships]
        headline |= {f"latency_ms_{name}": round(facts["latency_ms"][name], 3) for name in ("p50", "p95")}
        headline |= {name: facts[name] for name in ("size_mib", "peak_rss_mib", "cold_start_ms", "quality_drop")}
        headline |= {name: value for name, value in facts["quality"].items() if name != "n_windows"}
        tracked = {f"benchmark/{name}": float(value) for name, value in headline.items() if name != "ships"}
        stages = [StageCost(name, cost["p50"], cost["p95"]) for name, cost in facts["stages_ms"].items()]
        plot_costs(picture, f"{run.pipeline}: one window of {windows.length} steps to its answer, {ships}", stages)
    write_json(run.paths.reports / "metrics_edge.json", headline)
    return run.finish(
        BenchmarkReport,
        data_sha256=manifest["data_sha256"],
        mlflow_run_id=attach_to_model(
            run.layout,
            run.pipeline,
            manifest["model_sha256"],
            metrics=tracked,
            artifacts=[picture] if ships is not None else [],
        ),
        device=device.name,
        plan={**plan.described(), "load_1min_before": round(load, 2), "noisy": load > NOISY_LOAD},
        variants=variants,
        groups={GROUP: variants},
        ships=ships,
        gates=gates,
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
    found = str(read_json(run.paths.windows / "manifest.json")["recordings_sha256"])
    for name, expected in manifest["files"].items():
        digest = file_sha256(artefact / name)
        if digest != expected:
            raise ValueError(
                f"{artefact / name}: SHA-256 is {digest[:12]}, manifest.json says {expected[:12]}: it changed after "
                f"its export; run `foresense export {run.pipeline}` again"
            )
    schema = MixedSchema.from_json(read_json(artefact / "schema.json"), str(artefact / "schema.json"))
    if manifest["data_sha256"] != found or schema != windows.schemas[fold]:
        raise ValueError(
            f"{artefact}: exported for other windows than {run.paths.windows / GROUP} holds now; run `foresense train "
            f"{run.pipeline}` and `foresense export {run.pipeline}` again"
        )
