"""One table of all pipelines in Markdown: what each reached beside its best rival, what it costs, which gates hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foresense.config import AnyPipeline, PipelineConfig, read_pipelines
from foresense.config.activity import ActivityConfig
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.evaluate.classification import verdict_of
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
    "Latency of one forecast, label or verdict on {machines}."
)


@dataclass(frozen=True)
class Headline:
    """The number that a pipeline is judged by.

    Attributes:
        metric: Its name in the reports.
        value: Of what ships, on held-out data.
        interval: 95 %, of `value`; empty where too few units were held out for one.
        ships: Name of the candidate or rival.
        is_rival: Whether a rival ships.
        rival: The best one.
        rival_value: Of that rival; None where the report does not hold it.
        difference: Of the model to that rival (where a rival ships, of the best network): [value, low, high]; None
            where several groups have one each.
        difference_said: The same for people, with a verdict.
    """

    metric: str
    value: float
    interval: Sequence[float]
    ships: str
    is_rival: bool
    rival: str
    rival_value: float | None
    difference: Sequence[float] | None
    difference_said: str


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
    if isinstance(config, ActivityConfig):
        metric, found = "macro_f1", group["difference_to_best_rival"]
    elif isinstance(config, AnomalyConfig):
        metric, found = "auc", next(iter(group["minus_best_rival"].values()))
    else:
        metric, found = group["chosen_by"], group["best_network_minus_best_rival"]
    return Headline(
        metric,
        train.test[metric],
        train.interval.get(metric, ()),
        str(train.model["candidate"]),
        bool(train.model.get("is_rival", False)),
        found["rival"],
        train.baselines.get(found["rival"], {}).get(metric),
        found[metric],
        _difference(metric, found[metric]),
    )


def table(rows: Rows) -> list[str]:
    """Lines of Markdown: a row for each pipeline, and a note on what the columns say.

    Args:
        rows: Pipeline -> its section of params.yaml, what was trained, what was measured.
    """
    if not rows:
        return []
    note = NOTE.format(machines=_machines({name: benchmark for name, (_, _, benchmark) in rows.items()}))
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


def _machines(benchmarks: Mapping[str, BenchmarkReport]) -> str:
    """Where latencies were measured, on how many threads; with the pipelines' names where that differs."""
    names: dict[str, list[str]] = {}
    for name, benchmark in benchmarks.items():
        n_threads, machine = benchmark.plan["n_threads"][0], benchmark.environment
        used = "one thread" if n_threads == 1 else f"{n_threads} threads"
        place = f"{used} of {machine.cpu}, {machine.threads} threads"
        names.setdefault(place, []).append(f"`{name}`")
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{place} ({', '.join(found)})" for place, found in names.items())


def _row(name: str, config: AnyPipeline, train: TrainReport, benchmark: BenchmarkReport) -> str:
    found = headline(config, train)
    shipped = benchmark.variants[benchmark.ships] if benchmark.ships else None
    file = (
        f"{benchmark.ships}, {_size(shipped['size_mib'])} | {shipped['latency_ms']['p95']:.2g} ms"
        if shipped
        else "none | -"
    )
    ships = f"{found.ships}, **a rival**" if found.is_rival else found.ships
    rival = found.rival if found.rival_value is None else f"{found.rival}: {found.rival_value:#.3g}"
    difference = found.difference_said
    if found.difference is not None and verdict_of(found.metric, found.difference[1:]) == "behind":
        difference = difference.replace("behind", "**behind**")
    gates = [*train.gates, *benchmark.gates]
    failed = [gate.name for gate in gates if not gate.passed]
    verdict = f"**{', '.join(failed)} FAILED**" if failed else f"all {len(gates)} hold"
    return (
        f"| `{name}` | {config.description} | {ships} | {metric_name(found.metric)} {found.value:#.3g} "
        f"{interval_said(found.interval)} | {rival} | {difference} | {file} | {verdict} |"
    )


def _of_forecasts(train: TrainReport) -> Headline:
    rival = min(train.baselines, key=lambda one: train.baselines[one]["mse"])
    groups = list(train.groups.values())
    difference, said = None, certainty(train.groups)
    if len(groups) == 1:
        found = groups[0]["difference_to_best_baseline"]
        difference = [found["mse"], *found["interval"]]
        said = _difference("mse", difference)
    return Headline(
        "mse",
        train.test["mse"],
        train.interval["mse"],
        ", ".join(sorted(set(train.model["candidates"].values()))),
        False,
        rival,
        train.baselines[rival]["mse"],
        difference,
        said,
    )


def _difference(metric: str, found: Sequence[float]) -> str:
    value, low, high = (round(one, 9) + 0.0 for one in found)  # no rounding error, no minus before a zero
    return f"{value:+.2g} [{low:+.2g}, {high:+.2g}]: {verdict_of(metric, (low, high))}"


def interval_said(interval: Sequence[float]) -> str:
    """`[0.712, 0.917]`, or that there is none."""
    return "[" + ", ".join(f"{bound:#.3g}" for bound in interval) + "]" if interval else "(no interval)"


def metric_name(name: str) -> str:
    """Name of a metric for people."""
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
