"""One table of all pipelines in Markdown: what each reached beside its best rival, what it costs, which gates hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foresense.config import AnyPipeline, PipelineConfig, read_pipelines
from foresense.config.activity import ActivityConfig
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.signals import BenchmarkReport, Gate, Layout, TrainReport, read_report
from foresense.steps.train_report import certainty

Rows = Mapping[str, tuple[AnyPipeline, TrainReport, BenchmarkReport]]
HEAD = (
    "| pipeline | data | ships | held out [95 %] | best rival | difference [95 %] | file | p95 latency | gates |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)
GATES_HEAD = (
    "| pipeline | gate | target | measured | headroom | verdict |",
    "| --- | --- | --- | --- | --- | --- |",
)
NOTE = (
    "Difference: the model minus its best rival on the same held-out data; where a rival ships, the best network minus "
    "that rival. Errors (MSE, in squared scaled units, and RMSE) are better when lower, all others when higher. "
    "Latency of one forecast, label or verdict on one thread of {cpu}, {threads} threads."
)


@dataclass(frozen=True)
class Headline:
    """The number that a pipeline is judged by.

    Attributes:
        metric: Its name for people.
        value: Of what ships, on held-out data.
        interval: 95 %, of `value`.
        ships: Name of the candidate or rival; with a note where it is a rival.
        rival: The best one, and its value where the difference is not that of two shown numbers.
        difference: To that rival, with its interval and a verdict.
    """

    metric: str
    value: float
    interval: Sequence[float]
    ships: str
    rival: str
    difference: str


def markdown(layout: Layout) -> str:
    """The table of every pipeline with results of its full profile, the gates, and the names of those without."""
    configs = read_pipelines(layout.project / "params.yaml")
    rows = {name: (config, *found) for name, config in configs.items() if (found := _results(layout, name))}
    without = ", ".join(f"`{name}`" for name in configs if name not in rows)
    said = [f"Not measured in the full profile: {without}.", ""] if without else []
    return "\n".join([*(["", *table(rows), "", *gates_table(rows), ""] if rows else []), *said])


def headline(config: AnyPipeline, train: TrainReport) -> Headline:
    """What a training report says first, whatever the kind of its pipeline."""
    if isinstance(config, PipelineConfig):
        return _of_forecasts(train)
    (group,) = train.groups.values()
    ships = str(train.model["candidate"])
    if isinstance(config, ActivityConfig):
        metric, found = "macro_f1", group["difference_to_best_rival"]
    elif isinstance(config, AnomalyConfig):
        metric, found = "auc", next(iter(group["minus_best_rival"].values()))
    else:
        metric, found = group["chosen_by"], group["best_network_minus_best_rival"]
        ships += ", **a rival**" if train.model["is_rival"] else ""
    rival = found["rival"]
    known = f"{rival}: {train.baselines[rival][metric]:#.3g}" if rival in train.baselines else rival
    return Headline(
        _metric(metric), train.test[metric], train.interval[metric], ships, known, _difference(metric, found[metric])
    )


def table(rows: Rows) -> list[str]:
    """Lines of Markdown: a row for each pipeline, and a note on what the columns say.

    Args:
        rows: Pipeline -> its section of params.yaml, what was trained, what was measured.
    """
    if not rows:
        return []
    environment = next(iter(rows.values()))[2].environment
    note = NOTE.format(cpu=environment.cpu, threads=environment.threads)
    return [*HEAD, *(_row(name, *found) for name, found in rows.items()), "", note]


def gates_table(rows: Rows) -> list[str]:
    """Lines of Markdown: every gate of every pipeline."""
    return [
        *GATES_HEAD,
        *(_gate(name, gate) for name, (_, train, bench) in rows.items() for gate in (*train.gates, *bench.gates)),
    ]


def _results(layout: Layout, pipeline: str) -> tuple[TrainReport, BenchmarkReport] | None:
    """Reports of the full profile; None where a step has not run in it."""
    folder = layout.of(pipeline).reports
    try:
        train, benchmark = read_report(folder, TrainReport), read_report(folder, BenchmarkReport)
    except FileNotFoundError:
        return None
    return (train, benchmark) if train.profile == benchmark.profile == "full" else None


def _row(name: str, config: AnyPipeline, train: TrainReport, benchmark: BenchmarkReport) -> str:
    found = headline(config, train)
    low, high = found.interval
    shipped = benchmark.variants[benchmark.ships] if benchmark.ships else None
    file = (
        f"{benchmark.ships}, {_size(shipped['size_mib'])} | {shipped['latency_ms']['p95']:.2g} ms"
        if shipped
        else "none | -"
    )
    gates = [*train.gates, *benchmark.gates]
    failed = [gate.name for gate in gates if not gate.passed]
    verdict = f"**{', '.join(failed)} FAILED**" if failed else f"all {len(gates)} hold"
    return (
        f"| `{name}` | {config.description} | {found.ships} | {found.metric} {found.value:#.3g} "
        f"[{low:#.3g}, {high:#.3g}] | {found.rival} | {found.difference} | {file} | {verdict} |"
    )


def _of_forecasts(train: TrainReport) -> Headline:
    rival = min(train.baselines, key=lambda one: train.baselines[one]["mse"])
    groups = list(train.groups.values())
    difference = certainty(train.groups)
    if len(groups) == 1:
        found = groups[0]["difference_to_best_baseline"]
        difference = _difference("mse", [found["mse"], *found["interval"]])
    return Headline(
        "MSE",
        train.test["mse"],
        train.interval["mse"],
        ", ".join(sorted(set(train.model["candidates"].values()))),
        f"{rival}: {train.baselines[rival]['mse']:#.3g}",
        difference,
    )


def _difference(metric: str, found: Sequence[float]) -> str:
    value, low, high = found
    better, worse = (high < 0, low > 0) if metric in ("mse", "rmse", "mae") else (low > 0, high < 0)
    verdict = "ahead" if better else "**behind**" if worse else "not sure"
    return f"{value:+.2g} [{low:+.2g}, {high:+.2g}]: {verdict}"


def _metric(name: str) -> str:
    return {"macro_f1": "macro-F1"}.get(name, name.upper())


def _size(size_mib: float) -> str:
    return f"{size_mib:.1f} MiB" if size_mib >= 0.1 else f"{size_mib * 1024:.0f} KiB"


def _gate(name: str, gate: Gate) -> str:
    unit = "" if gate.unit == "1" else f" {gate.unit}"
    verdict = "PASS" if gate.passed else "**FAIL**"
    return (
        f"| `{name}` | {gate.name} | {gate.comparison} {gate.target:g}{unit} | {gate.value:.4g} | "
        f"{gate.headroom:+.0%} | {verdict} |"
    )
