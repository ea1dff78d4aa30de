"""What benchmarks of every kind share: which artefact is measured, where, what ships, and what is told of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foresense.bench.limits import Gates, choose, judge_gates, nothing_ships
from foresense.bench.verdict import SHIPS
from foresense.config import ConfigError, DeviceConfig, GateConfig, read_device
from foresense.signals import BenchmarkReport, Gate, file_sha256, read_json, recordings_digest, write_json
from foresense.steps.frame import StepRun

Facts = dict[str, Any]


def this_machine(run: StepRun, name: str, what: str) -> DeviceConfig:
    """The device, which has to be this machine.

    Args:
        run: The step that is running.
        name: `benchmark.device`.
        what: Is measured, for the message.

    Raises:
        ConfigError: no such device, or one that is not this machine.
    """
    device = read_device(run.layout.devices, name)
    if device.reach != "local":
        raise ConfigError(
            f"benchmark.device: {device.name} is reached by {device.reach}; {what} is measured on this machine only: "
            "set device: host"
        )
    return device


def read_manifest(run: StepRun, group: str) -> dict[str, Any]:
    """Content of the manifest of `exports/<pipeline>/<group>`.

    Raises:
        FileNotFoundError: not exported; says which command does.
    """
    path = run.paths.exports / group / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; run `foresense export {run.pipeline}` first")
    content: dict[str, Any] = read_json(path)
    return content


def require_unchanged(run: StepRun, artefact: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse an artefact one of whose files changed after its export.

    Raises:
        ValueError: names the file and both digests.
    """
    for name, expected in manifest["files"].items():
        digest = file_sha256(artefact / name)
        if digest != expected:
            raise ValueError(
                f"{artefact / name}: SHA-256 is {digest[:12]}, manifest.json says {expected[:12]}: it changed after "
                f"its export; run `foresense export {run.pipeline}` again"
            )


def require_current(run: StepRun, artefact: Path, manifest: Mapping[str, Any], what: str) -> None:
    """Refuse an artefact that changed after its export, or that was made from other data than lie here now.

    Args:
        run: The step that is running.
        artefact: Its folder.
        manifest: Content of its manifest.
        what: Windows are cut from, for the message.

    Raises:
        ValueError: names the file that changed, or the windows.
    """
    require_unchanged(run, artefact, manifest)
    if manifest["data_sha256"] != recordings_digest(run.paths.windows):
        raise ValueError(
            f"{artefact}: exported for other {what} than {run.paths.windows / artefact.name} holds now; run `foresense "
            f"train {run.pipeline}` and `foresense export {run.pipeline}` again"
        )


def ship(
    variants: Mapping[str, Facts], limits: Mapping[str, GateConfig], gates: Gates
) -> tuple[str | None, list[Gate]]:
    """Choose what ships, write that into its verdict and reason, and judge it.

    Returns:
        Name of the variant, or None where none was accepted; and the verdicts on it.
    """
    ships = choose(variants, limits, gates)
    if ships is None:
        return None, [nothing_ships()]
    facts = variants[ships]
    facts["verdict"], facts["reason"] = SHIPS, f"{SHIPS}: {facts['reason']}"
    return ships, judge_gates(limits, facts, gates)


def headline_of(
    variants: Mapping[str, Facts], ships: str | None, gates: Sequence[Gate], counts: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The few numbers that `dvc metrics` reads: of gates, `counts`, and cost and quality of what ships."""
    headline: dict[str, Any] = {"ships": ships, "n_gates_failed": sum(not gate.passed for gate in gates)}
    headline |= counts or {}
    if ships is not None:
        facts = variants[ships]
        headline |= {f"latency_ms_{name}": round(facts["latency_ms"][name], 3) for name in ("p50", "p95")}
        headline |= {name: facts[name] for name in ("size_mib", "peak_rss_mib", "cold_start_ms", "quality_drop")}
        headline |= {name: value for name, value in facts["quality"].items() if not name.startswith("n_")}
    return headline


def finish_benchmark(
    run: StepRun,
    manifest: Mapping[str, Any],
    *,
    device: DeviceConfig,
    plan: dict[str, Any],
    groups: Mapping[str, Mapping[str, Facts]],
    variants: Mapping[str, Facts],
    ships: str | None,
    gates: Sequence[Gate],
    counts: Mapping[str, int] | None = None,
    untracked: Mapping[str, float] | None = None,
    artifacts: Sequence[Path] = (),
) -> BenchmarkReport:
    """Write `metrics_edge.json`, tell MLflow's run of the model, and write the step's report.

    Args:
        run: The step that is running.
        manifest: Of the artefact that ships.
        device: What was measured on.
        plan: How, as it stands in the report.
        groups: Artefact -> variant -> facts.
        variants: Those of the artefact that ships.
        ships: The variant, or None.
        gates: All verdicts.
        counts: Headline numbers beside those of the variant.
        untracked: Headline numbers that are not the model's.
        artifacts: Files for MLflow's run.
    """
    from foresense.tracking import attach_to_model

    headline = headline_of(variants, ships, gates, counts)
    tracked = {f"benchmark/{name}": float(value) for name, value in headline.items() if name != "ships"}
    write_json(run.paths.reports / "metrics_edge.json", {**headline, **(untracked or {})})
    return run.finish(
        BenchmarkReport,
        data_sha256=manifest["data_sha256"],
        mlflow_run_id=attach_to_model(
            run.layout,
            run.pipeline,
            manifest["model_sha256"],
            metrics={} if ships is None else tracked,
            artifacts=list(artifacts),
        ),
        device=device.name,
        plan=plan,
        variants=variants,
        groups=groups,
        ships=ships,
        gates=gates,
    )
