"""Step `benchmark` of a pipeline of minute actigraphy: exported files in fresh processes, on people held out."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.limits import choose, judge_gates, nothing_ships, require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import NOISY_LOAD, Plan
from foresense.bench.verdict import SHIPS
from foresense.bench.weeks import GATES, Asked, local_session, measure_variants, said_file
from foresense.config import ConfigError, read_device
from foresense.config.actigraphy_pipeline import ActigraphyBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.export.weeks_label import readout_of
from foresense.signals import BenchmarkReport, file_sha256, read_json, write_json
from foresense.signals.weeks import TEST, WeekWindows, open_week_windows
from foresense.steps.actigraphy_service import serve
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
    from foresense.tracking import attach_to_model

    require_known(config.gates, GATES)
    device = read_device(run.layout.devices, config.device)
    if device.reach != "local":
        raise ConfigError(
            f"benchmark.device: {device.name} is reached by {device.reach}; a model of weeks is measured on this "
            "machine only: set device: host"
        )
    artefact = run.paths.exports / GROUP
    if not (artefact / "manifest.json").is_file():
        raise FileNotFoundError(f"{artefact / 'manifest.json'}: not there; run `foresense export {run.pipeline}` first")
    manifest, evaluation = read_json(artefact / "manifest.json"), read_json(artefact / "evaluation.json")
    windows = open_week_windows(run.paths.windows / GROUP)
    _require_same(run, artefact, manifest)
    plan = Plan(config.n_warmup, config.n_timed, config.n_threads, config.n_quality)
    asked = _asked(windows, artefact, int(evaluation["turn"]))
    with tempfile.TemporaryDirectory(prefix="foresense-benchmark-") as folder, measuring():
        scratch, load = Path(folder), os.getloadavg()[0]
        work = local_session(artefact, scratch, asked.weeks)
        reference = float(evaluation["encoder_test"]["auroc"])
        variants = measure_variants(work, scratch, manifest, plan, asked, reference)
        said = {name: np.load(scratch / said_file(facts["file"])) for name, facts in manifest["variants"].items()}
    ships = choose(variants, config.gates, GATES)
    if ships is not None:
        variants[ships]["verdict"], variants[ships]["reason"] = SHIPS, f"{SHIPS}: {variants[ships]['reason']}"
    gates = judge_gates(config.gates, variants[ships], GATES) if ships is not None else [nothing_ships()]
    headline: dict[str, Any] = {"ships": ships, "n_gates_failed": sum(not gate.passed for gate in gates)}
    tracked: dict[str, float] = {}
    picture = run.paths.reports / "costs.png"
    for beside in (picture, run.paths.reports / "service.json"):
        beside.unlink(missing_ok=True)  # DVC does not know them: it empties no place before the step
    if ships is not None:
        facts = variants[ships]
        headline |= {f"latency_ms_{name}": round(facts["latency_ms"][name], 3) for name in ("p50", "p95")}
        headline |= {name: facts[name] for name in ("size_mib", "peak_rss_mib", "cold_start_ms", "quality_drop")}
        headline["auroc"] = facts["quality"]["auroc"]
        tracked = {f"benchmark/{name}": float(value) for name, value in headline.items() if name != "ships"}
        costs = [StageCost(name, one["latency_ms"]["p50"], one["latency_ms"]["p95"]) for name, one in variants.items()]
        plot_costs(picture, f"{run.pipeline}: one week to its features, each variant; {ships} ships", costs)
        rows = windows.weeks_of(int(evaluation["turn"]), TEST)
        served = serve(artefact, ships, windows, rows, said[ships])
        write_json(run.paths.reports / "service.json", served.to_json())
        headline["service_p95_latency_ms"] = round(served.p95_latency_ms, 3)
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


def _require_same(run: StepRun, artefact: Path, manifest: dict[str, Any]) -> None:
    for name, expected in manifest["files"].items():
        digest = file_sha256(artefact / name)
        if digest != expected:
            raise ValueError(
                f"{artefact / name}: SHA-256 is {digest[:12]}, manifest.json says {expected[:12]}: it changed after "
                f"its export; run `foresense export {run.pipeline}` again"
            )
    found = str(read_json(run.paths.windows / "manifest.json")["recordings_sha256"])
    if manifest["data_sha256"] != found:
        raise ValueError(
            f"{artefact}: exported for other weeks than {run.paths.windows / GROUP} holds now; run `foresense train "
            f"{run.pipeline}` and `foresense export {run.pipeline}` again"
        )
