"""The measured part of README.md: written from the committed reports, refused when they are not full-profile results.

`python -m tools.readme` writes what stands between the markers; `--check` (part of `make check`) fails when it is old.
"""

import sys
from pathlib import Path

from foresense.config import read_pipelines
from foresense.signals import BenchmarkReport, ExportReport, TrainReport, read_report
from foresense.signals.reports import REPORTS
from foresense.steps.train_report import certainty

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: written by `python -m tools.readme` -->", "<!-- end of results -->"
SHOWN = ("oil", "oil-paper", "plant")  # pipelines that forecast, of which full results are committed
SHOWN_PEOPLE = ("activity",)  # the same of pipelines of people
SHOWN_MIXED = {"air": "rmse", "air-class": "macro_f1", "icu": "auroc", "sleep": "auroc"}  # -> the metric that chooses


class NotPresentableError(ValueError):
    """A report must not stand in the README; the message says why."""


def main(arguments: list[str]) -> int:
    """Write README.md, or compare it with the reports; returns the exit code."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    try:
        wanted = with_results(text, ROOT)
    except (NotPresentableError, FileNotFoundError) as error:
        sys.stderr.write(f"README.md: {error}\n")
        return 1
    if "--check" in arguments:
        if text != wanted:
            sys.stderr.write("README.md: its results are not those of reports/; run `python -m tools.readme`\n")
            return 1
        return 0
    readme.write_text(wanted)
    return 0


def with_results(text: str, root: Path) -> str:
    """The text with its measured part replaced by what the reports below `root` say.

    Raises:
        NotPresentableError: no markers, or a report that must not be shown.
        FileNotFoundError: a pipeline has no report.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise NotPresentableError(f"expected the markers {BEGIN!r} and {END!r} once each")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{results(root)}{END}{after}"


def results(root: Path) -> str:
    """Two tables in Markdown: quality beside its best rival, and the gates of what ships."""
    quality = [
        "| pipeline | data | ships | MSE [95 % interval] | best baseline | beats it | file | p95 latency |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    gates = ["| pipeline | gate | target | measured | headroom | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    for name in SHOWN:
        train, benchmark = presentable(root, name)
        description = read_pipelines(root / "params.yaml")[name].description
        rival = min(train.baselines, key=lambda one: train.baselines[one]["mse"])
        low, high = train.interval["mse"]
        shipped = benchmark.variants[benchmark.ships] if benchmark.ships else None
        candidates = sorted(set(train.model["candidates"].values()))
        quality.append(
            f"| `{name}` | {description} | {', '.join(candidates)} | {train.test['mse']:.4f} [{low:.4f}, {high:.4f}] | "
            f"{rival}: {train.baselines[rival]['mse']:.4f} | {_beats(train)} | "
            + (
                f"{benchmark.ships}, {shipped['size_mib']:.1f} MiB | {shipped['latency_ms']['p95']:.0f} ms |"
                if shipped
                else "none | - |"
            )
        )
        gates += _gates(name, train, benchmark)
    people, mixed = _people(root, gates), _mixed(root, gates)
    cpu = presentable(root, SHOWN[0])[1].environment
    note = (
        f"MSE in squared scaled units on the test part. Difference: MSE of the model minus that of its best "
        f"baseline on the same windows, 95 % interval by blocks; below 0 the model is surely better. Latency of one "
        f"forecast on one thread of {cpu.cpu}, {cpu.threads} threads."
    )
    return "\n".join(["", *quality, "", note, "", *people, "", *mixed, "", *gates, "", ""])


def _people(root: Path, gates: list[str]) -> list[str]:
    """The table of pipelines of people; their gates are added to `gates`."""
    lines = [
        "| pipeline | data | ships | macro-F1 [95 % interval] | best rival | ahead | file | p95, raw window to label |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in SHOWN_PEOPLE:
        train, benchmark = presentable(root, name)
        description = read_pipelines(root / "params.yaml")[name].description
        low, high = train.interval["macro_f1"]
        found = train.groups["people"]["difference_to_best_rival"]
        ahead, least, most = found["macro_f1"]
        verdict = "yes" if train.beats_baselines else "**not surely**"
        shipped = benchmark.variants[benchmark.ships] if benchmark.ships else None
        file = (
            f"{benchmark.ships}, {shipped['size_mib']:.1f} MiB | {shipped['latency_ms']['p95']:.1f} ms"
            if shipped
            else "none | -"
        )
        lines.append(
            f"| `{name}` | {description} | {train.model['candidate']} | {train.test['macro_f1']:.3f} [{low:.3f}, "
            f"{high:.3f}] | {found['rival']}: {train.baselines[found['rival']]['macro_f1']:.3f} | {verdict}; "
            f"{ahead:+.3f} [{least:+.3f}, {most:+.3f}] | {file} |"
        )
        gates += _gates(name, train, benchmark)
    return lines


def _mixed(root: Path, gates: list[str]) -> list[str]:
    """The table of pipelines of mixed recordings; their gates are added to `gates`."""
    lines = [
        "| pipeline | data | ships | held out [95 % interval] | best network minus best rival | file | p95 latency |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, metric in SHOWN_MIXED.items():
        train, benchmark = presentable(root, name)
        description = read_pipelines(root / "params.yaml")[name].description
        low, high = train.interval[metric]
        (group,) = train.groups.values()
        found = group["best_network_minus_best_rival"]
        ahead, least, most = found[metric]
        kind = ", **a rival**" if train.model["is_rival"] else ""
        shipped = benchmark.variants[benchmark.ships] if benchmark.ships else None
        file = (
            f"{benchmark.ships}, {shipped['size_mib']:.1f} MiB | {shipped['latency_ms']['p95']:.1f} ms"
            if shipped
            else "none | -"
        )
        lines.append(
            f"| `{name}` | {description} | {train.model['candidate']}{kind} | {metric.replace('_', ' ')} "
            f"{train.test[metric]:.3f} [{low:.3f}, {high:.3f}] | {ahead:+.3f} [{least:+.3f}, {most:+.3f}] against "
            f"{found['rival']}: {found['verdict']} | {file} |"
        )
        gates += _gates(name, train, benchmark)
    return lines


def _gates(name: str, train: TrainReport, benchmark: BenchmarkReport) -> list[str]:
    lines = []
    for gate in [*train.gates, *benchmark.gates]:
        unit = "" if gate.unit == "1" else f" {gate.unit}"
        verdict = "PASS" if gate.passed else "**FAIL**"
        lines.append(
            f"| `{name}` | {gate.name} | {gate.comparison} {gate.target:g}{unit} | {gate.value:.4g} | "
            f"{gate.headroom:+.0%} | {verdict} |"
        )
    return lines


def _beats(train: TrainReport) -> str:
    """Whether the model beats its best rival, and how surely."""
    verdict = "yes" if train.beats_baselines else "**no**"
    return f"{verdict}; {certainty(train.groups)}" if train.groups else verdict


def presentable(root: Path, pipeline: str) -> tuple[TrainReport, BenchmarkReport]:
    """Reports of a pipeline that may be shown to people.

    Raises:
        NotPresentableError: another profile than `full`; made by code that no commit holds; or reports that are not
            about the same recordings, weights and files.
    """
    folder = root / "reports" / pipeline
    reports = {step: read_report(folder, kind) for step, kind in REPORTS.items()}
    for step, report in reports.items():
        if report.profile != "full":
            raise NotPresentableError(
                f"reports/{pipeline}/{step}.json has profile {report.profile!r}, only 'full' may be shown; "
                f"run `dvc repro benchmark@{pipeline}`"
            )
        if report.git_dirty:
            raise NotPresentableError(
                f"reports/{pipeline}/{step}.json was made with changes that are not in commit {report.git_commit[:8]}; "
                f"commit them, then run `dvc repro --force --single-item {step}@{pipeline}`"
            )
    train, benchmark = read_report(folder, TrainReport), read_report(folder, BenchmarkReport)
    for step in ("window", "export", "benchmark"):  # the digest of the recordings; ingest and features have another
        _require_equal(pipeline, "data", train.data_sha256, step, reports[step].data_sha256)
    _require_one_model(pipeline, train, read_report(folder, ExportReport), benchmark)
    return train, benchmark


def _require_one_model(pipeline: str, train: TrainReport, export: ExportReport, benchmark: BenchmarkReport) -> None:
    """Refuse a benchmark of other files than the exported ones, and an export of other weights than the trained."""
    for group, digest in export.models.items():
        trained = train.groups.get(group, {}).get("model_sha256", "no model")
        _require_equal(pipeline, f"{group}: weights", trained, "export", digest)
    for group, variants in benchmark.groups.items():
        for variant, facts in variants.items():
            if "sha256" in facts:  # not in a variant that the device refused
                exported = export.groups.get(group, {}).get(variant, {}).get("sha256", "no file")
                _require_equal(
                    pipeline, f"{group}/{variant}: file", exported, "benchmark", facts["sha256"], before="export"
                )


def _require_equal(pipeline: str, what: str, expected: str, step: str, found: str, *, before: str = "train") -> None:
    if found != expected:
        raise NotPresentableError(
            f"reports/{pipeline}: {what} {expected[:12]} in {before}, {found[:12]} in {step}; "
            f"run `dvc repro benchmark@{pipeline}`"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
