"""Step `benchmark` of a pipeline of anomaly detectors: exported files in fresh processes, the smoke test of `pi/`."""

import os
from pathlib import Path
from typing import Any

from foresense.bench.clips import GATES, measure_artefact
from foresense.bench.limits import require_known
from foresense.bench.lock import measuring
from foresense.bench.measure import NOISY_LOAD
from foresense.bench.pi import gates_of, run_smoke_test
from foresense.config import ConfigError, read_device
from foresense.config.anomaly_pipeline import AnomalyBenchmarkConfig
from foresense.evaluate.class_plots import StageCost, plot_costs
from foresense.export.pi import PiPlan
from foresense.signals import BenchmarkReport, Gate, read_json, tree_sha256, write_json
from foresense.steps.anomaly_data import ClipData, open_clip_data, spectrogram_of
from foresense.steps.benchmarking import finish_benchmark, read_manifest, require_unchanged, ship
from foresense.steps.export_anomaly import PI
from foresense.steps.frame import StepRun
from foresense.steps.window_anomaly import GROUP

#: What the smoke test is told of the quality of its files, and what it found here.
QUALITY, SMOKE_TEST = "quality.json", "smoke_test.json"


def benchmark_anomaly(run: StepRun, config: AnomalyBenchmarkConfig) -> BenchmarkReport:
    """Measure every artefact on this machine, judge what ships, and run the smoke test of `pi/` here.

    What ships is the fastest accepted variant that passes every gate; where none does, the fastest accepted one.
    Accepted means: at most 0.01 of AUC lost on the clips that are held out in the turn that ships, equal outputs in
    three processes. Gates that begin with `pi_` are those of the smoke test.

    Args:
        run: The step that is running.
        config: The plan, the device and the gates.

    Raises:
        ValueError: an unknown gate; an artefact that changed after its export, or that is about other clips.
        ConfigError: no such device, or one that is not this machine.
        FileNotFoundError: clips or artefact are absent; says which command writes them.
        WorkerError, DeviceError: a measuring process failed.
    """
    require_known(config.gates, GATES)
    device = read_device(run.layout.devices, config.device)
    if device.reach != "local":
        raise ConfigError(
            f"benchmark.device: {device.name} is reached by {device.reach}; the step measures this machine: set "
            f"device: host, and run `foresense benchmark {run.pipeline} --device {device.name}` for the device"
        )
    shipping = read_manifest(run, GROUP)
    manifests = {
        path.parent.name: read_json(path)
        for path in sorted(run.paths.exports.glob("*/manifest.json"))
        if path.parent.name != PI
    }
    data = open_clip_data(run, spectrogram_of(shipping["preparation"]["spectrogram"]))
    windows_sha256 = tree_sha256(run.paths.windows)
    plan = PiPlan(config.n_warmup, config.n_timed, *config.n_threads)
    for group, manifest in manifests.items():
        _require_same(run, run.paths.exports / group, manifest, windows_sha256)
    with measuring():
        load = os.getloadavg()[0]
        groups = {group: _measure(run, group, manifest, data, plan) for group, manifest in manifests.items()}
        quality = _quality(run.paths.exports / PI, groups)
        smoke = run_smoke_test(device, run.paths.exports / PI, quality)
    ships, gates = ship(groups[GROUP], config.gates, GATES)
    gates += [_named(gate) for gate in gates_of(smoke)]
    picture = run.paths.reports / "costs.png"
    picture.unlink(missing_ok=True)  # DVC does not know it: it empties no place before the step
    if ships is not None:
        costs = [
            StageCost(name if group == GROUP else f"{group} {name}", one["latency_ms"]["p50"], one["latency_ms"]["p95"])
            for group, measured in groups.items()
            for name, one in measured.items()
            if "latency_ms" in one
        ]
        plot_costs(picture, f"{run.pipeline}: one clip to its score, each variant; {ships} ships", costs)
    write_json(run.paths.reports / QUALITY, {"models": quality})
    write_json(run.paths.reports / SMOKE_TEST, smoke)
    return finish_benchmark(
        run,
        shipping,
        device=device,
        plan={
            "n_warmup": plan.n_warmup,
            "n_timed": plan.n_timed,
            "n_threads": list(config.n_threads),
            "load_1min_before": round(load, 2),
            "noisy": load > NOISY_LOAD,
        },
        groups=groups,
        variants=groups[GROUP],
        ships=ships,
        gates=gates,
        counts={f"pi_{name}": smoke[name] for name in ("n_tests_passed", "n_gates_passed")},
        artifacts=[run.paths.reports / SMOKE_TEST, *([picture] if ships is not None else [])],
    )


def _measure(
    run: StepRun, group: str, manifest: dict[str, Any], data: ClipData, plan: PiPlan
) -> dict[str, dict[str, Any]]:
    """One artefact on the clips that its network never saw, neither to learn from nor to choose its epoch."""
    artefact = run.paths.exports / group
    evaluation = read_json(artefact / "evaluation.json")
    test = data.turns.turn(int(evaluation["turn"])).of("test")
    height, width, n_channels = manifest["input_shape"]
    return measure_artefact(
        artefact,
        manifest,
        data.resized(test, height=height, width=width, n_channels=n_channels),
        data.labels[test],
        reference=float(evaluation["test"]["auc"]),
        plan=plan,
    )


def _quality(pi: Path, groups: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Model of the folder for a device -> {sha256, drop} of the very same file, by its digest."""
    by_digest = {facts["sha256"]: facts["quality_drop"] for measured in groups.values() for facts in measured.values()}
    return {
        name: {"sha256": said["file_sha256"], "drop": by_digest.get(said["file_sha256"])}
        for name, said in read_json(pi / "manifest.json")["models"].items()
    }


def _named(gate: Gate) -> Gate:
    return gate.model_copy(update={"name": f"pi_{gate.name}"})


def _require_same(run: StepRun, artefact: Path, manifest: dict[str, Any], windows_sha256: str) -> None:
    require_unchanged(run, artefact, manifest)
    if read_json(artefact / "evaluation.json")["windows_sha256"] != windows_sha256:
        raise ValueError(
            f"{artefact}: exported for other clips than {run.paths.windows / GROUP} holds now, so that none of them is "
            f"known to be held out; run `foresense train {run.pipeline}` and `foresense export {run.pipeline}` again"
        )
