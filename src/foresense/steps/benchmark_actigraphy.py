"""Step `benchmark` of a pipeline of minute actigraphy: exported files in fresh processes, on people held out."""

import os
import tempfile
from pathlib import Path

import numpy as np

from foresense.bench.limits import require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import Plan
from foresense.bench.weeks import GATES, Asked, local_session, measure_variants, said_file
from foresense.config.actigraphy_pipeline import ActigraphyBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.export.weeks_label import readout_of
from foresense.signals import BenchmarkReport, read_json, write_json
from foresense.signals.weeks import TEST, WeekWindows, open_week_windows
from foresense.steps.actigraphy_service import serve
from foresense.steps.benchmarking import finish_benchmark, read_manifest, require_current, ship, this_machine
from foresense.steps.frame import StepRun
from foresense.steps.window_actigraphy import GROUP
from foresense.windows.minute_scaler import load_minute_scaler


def benchmark_actigraphy(run: StepRun, config: ActigraphyBenchmarkConfig) -> BenchmarkReport:
    """Measure the artefact on this machine, judge what ships; succeeds even when gates fail.

    What ships is the fastest accepted variant that passes every gate; where none does, the fastest accepted one.
    Accepted means: at most 0.01 of AUROC lost on the people who are held out in the turn that ships, equal outputs in
    two processes. What ships is then asked through the service, from raw minutes on: `service.json` tells how long that
    takes when so many weeks are asked at once.

    Args:
        run: The step that is running.
        config: The plan, the device and the gates.

    Raises:
        ValueError: an unknown gate; an artefact that changed after its export, or that is about other weeks; a service
            that answers something else than the file.
        ConfigError: no such device, or one that is not this machine.
        FileNotFoundError: weeks or artefact are absent; says which command writes them.
        WorkerError: a measuring process failed.
    """
    require_known(config.gates, GATES)
    device = this_machine(run, config.device, "a model of weeks")
    artefact, manifest = run.paths.exports / GROUP, read_manifest(run, GROUP)
    evaluation = read_json(artefact / "evaluation.json")
    windows = open_week_windows(run.paths.windows / GROUP)
    require_current(run, artefact, manifest, "weeks")
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    asked = _asked(windows, artefact, int(evaluation["turn"]))
    with tempfile.TemporaryDirectory(prefix="foresense-benchmark-") as folder, measuring():
        scratch, load = Path(folder), os.getloadavg()[0]
        work = local_session(artefact, scratch, asked.weeks)
        reference = float(evaluation["encoder_test"]["auroc"])
        variants = measure_variants(work, scratch, manifest, plan, asked, reference)
        said = {
            name: np.load(scratch / said_file(facts["file"]), allow_pickle=False)
            for name, facts in manifest["variants"].items()
        }
    ships, gates = ship(variants, config.gates, GATES)
    service: dict[str, float] = {}
    picture = run.paths.reports / "costs.png"
    for beside in (picture, run.paths.reports / "service.json"):
        beside.unlink(missing_ok=True)  # DVC does not know them: it empties no place before the step
    if ships is not None:
        costs = [StageCost(name, one["latency_ms"]["p50"], one["latency_ms"]["p95"]) for name, one in variants.items()]
        plot_costs(picture, f"{run.pipeline}: one week to its features, each variant; {ships} ships", costs)
        rows = windows.weeks_of(int(evaluation["turn"]), TEST)
        served = serve(artefact, ships, windows, rows, said[ships])
        write_json(run.paths.reports / "service.json", served.to_json())
        service["service_p95_latency_ms"] = round(served.p95_latency_ms, 3)
    return finish_benchmark(
        run,
        manifest,
        device=device,
        plan=plan.described(load),
        groups={GROUP: variants},
        variants=variants,
        ships=ships,
        gates=gates,
        untracked=service,
        artifacts=[picture] if ships is not None else [],
    )


def _asked(windows: WeekWindows, artefact: Path, turn: int) -> Asked:
    """Weeks of the people who are held out in the turn that ships, scaled as a device scales them."""
    rows = windows.weeks_of(turn, TEST)
    scaler = load_minute_scaler(artefact / "scaler.safetensors")
    people, owners = np.unique(windows.owners[rows], return_inverse=True)
    return Asked(
        weeks=scaler.scale(windows.values[rows], windows.weekdays[rows], windows.unit).values,
        owners=owners,
        labels=windows.labels[people],
        readout=readout_of(artefact),
    )
