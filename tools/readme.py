"""The measured part of README.md: written from the committed reports, refused when they are not full-profile results.

`python -m tools.readme` writes what stands between the markers; `--check` (part of `make check`) fails when it is old.
"""

import sys
from pathlib import Path

from foresense.config import read_pipelines
from foresense.signals import BenchmarkReport, ExportReport, TrainReport, read_report
from foresense.signals.reports import REPORTS
from foresense.steps.results_table import Rows, gates_table, table

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: written by `python -m tools.readme` -->", "<!-- end of results -->"


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
        FileNotFoundError: a pipeline with a benchmark lacks another report.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise NotPresentableError(f"expected the markers {BEGIN!r} and {END!r} once each")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{results(root)}{END}{after}"


def results(root: Path) -> str:
    """The table of every pipeline with a committed benchmark, and its gates."""
    configs = read_pipelines(root / "params.yaml")
    shown = [name for name in configs if (root / "reports" / name / "benchmark.json").is_file()]
    rows: Rows = {name: (configs[name], *presentable(root, name)) for name in shown}
    n_gates = sum(len(train.gates) + len(benchmark.gates) for _, train, benchmark in rows.values())
    folded = [f"<details><summary>All {n_gates} gates</summary>", "", *gates_table(rows), "", "</details>"]
    return "\n".join(["", *table(rows), "", *folded, "", ""])


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
        if group in train.candidates and group not in train.groups:
            continue  # exported beside what ships, to be compared with it, and not shown
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
