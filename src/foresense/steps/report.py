"""Read a pipeline's reports back and show them: what ran, what was reached, which gates hold."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from foresense.config import STEPS, read_any, read_stages, steps_with_section
from foresense.config.smoke import shrink
from foresense.signals import Gate, Layout, Report, read_report
from foresense.signals.reports import REPORTS, BenchmarkReport, FeaturesReport
from foresense.steps.people_tables import landmarks_table, profile_table, read_profile
from foresense.steps.process import running

#: Title -> metrics that stand beside those of the baselines, where a training has them.
_QUALITY = {
    "error on the test part (lower is better)": ("mse", "mae", "rmse"),
    "what was held out (higher is better, brier: lower)": ("auroc", "auprc", "brier"),
    "what was held out (higher is better, false alarms: lower)": (
        "auc",
        "partial_auc",
        "detection_rate",
        "false_alarm_rate",
    ),
    "what was held out (higher is better)": ("accuracy", "macro_f1", "cohen_kappa"),
}


@dataclass(frozen=True)
class Overview:
    """What is known about one pipeline now.

    Attributes:
        pipeline: Its name.
        steps: The steps that it uses, in order.
        limits: Gate to the limit that its section `benchmark` sets.
        reports: The reports that exist, by step.
        problems: Step to why its report cannot be read.
        running: Step to the process that runs it now.
        profile: What a label costs, where it was measured.
    """

    pipeline: str
    steps: tuple[str, ...] = STEPS
    limits: dict[str, float | None] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)

    @property
    def gates(self) -> list[tuple[str, Gate]]:
        """Every gate with the step that judged it."""
        return [(step, gate) for step, report in self.reports.items() for gate in report.gates]

    @property
    def outdated(self) -> dict[str, str]:
        """Step to an earlier step whose last run came after it: what the step's report says is about older inputs."""
        found: dict[str, str] = {}
        for number, step in enumerate(STEPS):
            for earlier in STEPS[:number]:
                both = step in self.reports and earlier in self.reports
                if both and self.reports[step].created_utc < self.reports[earlier].created_utc:
                    found[step] = earlier
        return found

    @property
    def failed(self) -> list[str]:
        """Names of the gates that do not hold."""
        return [gate.name for _, gate in self.gates if not gate.passed]

    @property
    def unjudged(self) -> dict[str, str]:
        """Step or gate to why nothing is known about it; only where this is empty do gates that hold mean a pass."""
        waiting = {
            step: f"running, process {self.running[step]}" if step in self.running else "not run"
            for step in self.steps
            if step not in self.reports and step not in self.problems
        }
        return waiting | self.broken

    @property
    def broken(self) -> dict[str, str]:
        """The part of `unjudged` that no step still to run will mend: unreadable reports, gates passed over."""
        if "benchmark" in self.steps and "benchmark" not in self.reports:
            return self.problems
        judged = {gate.name: gate.target for _, gate in self.gates}
        passed_over = [name for name in self.limits if name not in judged]
        moved = {
            name: f"judged against {judged[name]:g}, params.yaml asks for {limit:g}; run the step benchmark again"
            for name, limit in self.limits.items()
            if name in judged and limit is not None and judged[name] != limit
        }
        return self.problems | moved | dict.fromkeys(passed_over, "asked in params.yaml, no verdict in benchmark.json")

    @property
    def remarks(self) -> list[str]:
        """What a person may ask on seeing the tables, a line each."""
        found = []
        if self.outdated:
            found.append(
                "`done before the last ...`: that earlier step has run again since; "
                f"`foresense run {self.pipeline}` runs the later steps again, but only if its output has changed"
            )
        benchmark = self.reports.get("benchmark")
        if self.failed and isinstance(benchmark, BenchmarkReport) and benchmark.plan.get("noisy"):
            found.append(
                f"others computed on this machine while it was measured (load {benchmark.plan['load_1min_before']:g} "
                "just before): believe no latency, and measure again when it is quiet"
            )
        return found


def overview(layout: Layout, pipeline: str) -> Overview:
    """Read every report of `pipeline` that exists, without waiting for a step that is running.

    A pipeline in no list of `stages`, or that was tried in a scratch folder, is asked for all steps of its kind.

    Raises:
        ConfigError: params.yaml has no such pipeline, or problems.
        FileNotFoundError: nothing has run and nothing runs; says which command to give.
    """
    params = layout.project / "params.yaml"
    config, stages = read_any(params, pipeline), read_stages(params)
    steps = tuple(step for step in STEPS if pipeline in stages.get(step, ()))
    if layout.root != layout.project:
        steps, config = steps_with_section(config), shrink(config)
    gates = config.benchmark.gates.items()
    limits = {name: gate.at_most if gate.at_least is None else gate.at_least for name, gate in gates}
    found = Overview(pipeline, steps or steps_with_section(config), limits)
    for step in STEPS:
        holder = running(layout.cache, step, pipeline)
        if holder is not None:
            found.running[step] = holder
        try:
            found.reports[step] = read_report(layout.of(pipeline).reports, REPORTS[step])
        except FileNotFoundError:
            continue
        except ValueError as error:
            found.problems[step] = str(error)
    try:
        found.profile.update(read_profile(layout.of(pipeline).reports) or {})
    except ValueError as error:
        found.problems["profile"] = str(error)
    if not (found.reports or found.problems or found.running):
        raise FileNotFoundError(f"{layout.of(pipeline).reports}: no report there; run `foresense run {pipeline}` first")
    return found


def pipeline_overview(project: Path, pipeline: str) -> Overview:
    """The same for a checkout.

    Raises:
        ConfigError: params.yaml has no such pipeline, or problems.
        FileNotFoundError: nothing has run and nothing runs; says which command to give.
    """
    return overview(Layout(root=project, project=project), pipeline)


def as_text(found: Overview) -> str:
    """All reports as one JSON object: step to report, failed gates under `failed_gates`, the rest by its state."""
    content = {step: report.model_dump(mode="json") for step, report in found.reports.items()}
    return json.dumps(
        {
            "pipeline": found.pipeline,
            "reports": content,
            "profile": found.profile or None,
            "running": found.running,
            "outdated": found.outdated,
            "unreadable": found.problems,
            "failed_gates": found.failed,
            "not_judged": found.unjudged,
        },
        indent=1,
        ensure_ascii=False,
    )


def summary(found: Overview) -> list[Table | Group]:
    """Tables for people: the steps, the quality beside its baselines, what it costs, the gates."""
    tables: list[Table | Group] = [_steps_table(found)]
    if "train" in found.reports:
        tables.append(_quality_table(found.reports["train"].model_dump()))
    features = found.reports.get("features")
    if isinstance(features, FeaturesReport) and features.landmarks:
        tables.append(landmarks_table(features.landmarks))
    if found.profile:
        tables.append(profile_table(found.profile))
    tables.append(gates_table(found))
    return tables


def _steps_table(found: Overview) -> Table:
    table = Table(title=f"{found.pipeline}: steps", title_justify="left")
    for column in ("step", "state", "profile", "finished (UTC)", "took s", "peak MiB", "commit"):
        table.add_column(column, justify="right" if column in ("took s", "peak MiB") else "left")
    for step in STEPS:
        if step in found.running:
            table.add_row(step, Text(f"running, process {found.running[step]}", "yellow"))
        elif step in found.problems:
            table.add_row(step, Text(found.problems[step], "red"))
        elif step in found.reports:
            report = found.reports[step]
            table.add_row(
                step,
                Text(f"done before the last {newer}", "yellow") if (newer := found.outdated.get(step)) else "done",
                report.profile,
                report.created_utc.replace("+00:00", ""),
                f"{report.duration_s:.1f}",
                f"{report.peak_rss_mib:.0f}",
                report.git_commit[:8] + ("+changes" if report.git_dirty else ""),
            )
        else:
            table.add_row(step, Text("not run" if step in found.steps else "not used", "dim"))
    return table


def _quality_table(train: dict[str, dict[str, dict[str, float]]]) -> Table:
    measured: dict[str, float] = dict(train["test"])  # type: ignore[arg-type]
    found = [(title, [name for name in names if name in measured]) for title, names in _QUALITY.items()]
    title, metrics = next(((title, metrics) for title, metrics in found if metrics), ("what was held out", []))
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for name in metrics:
        table.add_column(name, justify="right")
    table.add_row("this model", *(f"{measured[name]:.4f}" for name in metrics), style="bold")
    for name, values in train["baselines"].items():
        table.add_row(name, *(f"{values[metric]:.4f}" if metric in values else "-" for metric in metrics))
    return table


def gates_table(found: Overview) -> Table | Group:
    """The gates: target, measured value, headroom and verdict."""
    if not found.gates:
        return Group(Text(f"{found.pipeline}: no gate has been judged yet", "dim"))
    table = Table(title=f"{found.pipeline}: gates", title_justify="left")
    for column in ("gate", "target", "measured", "unit", "headroom", "verdict"):
        table.add_column(column, justify="left" if column in ("gate", "unit", "verdict") else "right")
    for _, gate in found.gates:
        table.add_row(
            gate.name,
            f"{gate.comparison} {gate.target:g}",
            f"{gate.value:.4g}",
            gate.unit,
            f"{gate.headroom:+.0%}",
            Text("PASS", "green") if gate.passed else Text("FAIL", "bold red"),
        )
    return table
