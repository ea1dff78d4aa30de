"""What the reports of `export` and `benchmark` say about one group's weights: facts of what ships, and its gates."""

from typing import Any

from foresense.bench.gates import GATES
from foresense.bench.limits import judge_gates
from foresense.config import AnyPipeline, PipelineConfig
from foresense.signals import BenchmarkReport, ExportReport, Layout, read_report
from foresense.steps.decision import EdgeVerdict


class NotMeasuredError(ValueError):
    """Nothing was measured of these weights; the message says what to run."""


def measured_facts(
    layout: Layout, pipeline: str, group: str, model_sha256: str
) -> tuple[str, dict[str, Any], BenchmarkReport]:
    """Name and facts of the variant that ships of one group, and the report that they are from.

    Args:
        layout: Where the reports are.
        pipeline: Its name.
        group: Folder name of the group.
        model_sha256: Of the challenger: an export of other weights says nothing about it.

    Raises:
        NotMeasuredError: a report is missing, about other weights or about another file, or nothing ships.
    """
    reports = layout.of(pipeline).reports
    try:
        exported, measured = read_report(reports, ExportReport), read_report(reports, BenchmarkReport)
    except (FileNotFoundError, ValueError) as error:
        raise NotMeasuredError(str(error)) from error
    if exported.models.get(group) != model_sha256:
        raise NotMeasuredError(f"other weights were exported; run `foresense export {pipeline}` and benchmark")
    if measured.ships is None:
        raise NotMeasuredError("no variant was accepted; nothing ships")
    facts = measured.groups.get(group, {}).get(measured.ships)
    if facts is None:
        raise NotMeasuredError(f"{measured.ships} of {group} was not measured; run `foresense benchmark {pipeline}`")
    exported_file = exported.groups.get(group, {}).get(measured.ships, {}).get("sha256")
    if exported_file is None or facts.get("sha256") != exported_file:
        raise NotMeasuredError(f"another file was measured; run `foresense benchmark {pipeline}`")
    return measured.ships, facts, measured


def edge_verdict(layout: Layout, pipeline: str, group: str, model_sha256: str, config: AnyPipeline) -> EdgeVerdict:
    """The gates of params.yaml about one group's exported file.

    Of a pipeline that forecasts, each group's own file is judged here. One of another kind has one file that ships, and
    `benchmark` has judged it: what its report says is taken as it stands.

    Args:
        layout: Where the reports are.
        pipeline: Its name.
        group: Folder name of the group.
        model_sha256: Of the challenger.
        config: Section `benchmark` holds the limits.
    """
    try:
        _, facts, report = measured_facts(layout, pipeline, group, model_sha256)
        if not isinstance(config, PipelineConfig):
            return EdgeVerdict(tuple(report.gates))
        return EdgeVerdict(tuple(judge_gates(config.benchmark.gates, facts, GATES)))
    except ValueError as error:
        return EdgeVerdict(problem=str(error))
