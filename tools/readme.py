"""The measured part of README.md: written from the committed reports, refused when they are not full-profile results.

`python -m tools.readme` writes what stands between the markers; `--check` (part of `make check`) fails when it is old.
"""

import sys
from pathlib import Path

from foresense.config import read_pipelines
from foresense.signals import BenchmarkReport, IngestReport, Report, TrainReport, read_report
from foresense.steps.train_report import certainty

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: written by `python -m tools.readme` -->", "<!-- end of results -->"
SHOWN = ("oil", "oil-paper", "plant")  # pipelines of which full results are committed


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
        NotPresentableError: no markers, a report of another profile, or reports of different data.
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
        for gate in [*train.gates, *benchmark.gates]:
            unit = "" if gate.unit == "1" else f" {gate.unit}"
            verdict = "PASS" if gate.passed else "**FAIL**"
            gates.append(
                f"| `{name}` | {gate.name} | {gate.comparison} {gate.target:g}{unit} | {gate.value:.4g} | "
                f"{gate.headroom:+.0%} | {verdict} |"
            )
    cpu = presentable(root, SHOWN[0])[1].environment
    note = (
        f"MSE in squared scaled units on the test part. Difference: MSE of the model minus that of its best "
        f"baseline on the same windows, 95 % interval by blocks; below 0 the model is surely better. Latency of one "
        f"forecast on one thread of {cpu.cpu}, {cpu.threads} threads."
    )
    return "\n".join(["", *quality, "", note, "", *gates, "", ""])


def _beats(train: TrainReport) -> str:
    """Whether the model beats its best rival, and how surely."""
    verdict = "yes" if train.beats_baselines else "**no**"
    return f"{verdict}; {certainty(train.groups)}" if train.groups else verdict


def presentable(root: Path, pipeline: str) -> tuple[TrainReport, BenchmarkReport]:
    """Reports of a pipeline that may be shown to people.

    Raises:
        NotPresentableError: another profile than `full`, or train and ingest speak of different data.
    """
    folder = root / "reports" / pipeline
    train, benchmark = read_report(folder, TrainReport), read_report(folder, BenchmarkReport)
    reports: list[Report] = [read_report(folder, IngestReport), train, benchmark]
    for report in reports:
        if report.profile != "full":
            raise NotPresentableError(
                f"reports/{pipeline}/{report.step}.json has profile {report.profile!r}, only 'full' may be shown; "
                f"run `dvc repro benchmark@{pipeline}`"
            )
    if train.data_sha256 != benchmark.data_sha256:
        raise NotPresentableError(
            f"reports/{pipeline}: train read data {train.data_sha256[:12]}, benchmark {benchmark.data_sha256[:12]}; "
            f"run `dvc repro benchmark@{pipeline}`"
        )
    return train, benchmark


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
