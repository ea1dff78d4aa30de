"""The listing of pipelines: their data, their models, and the last result of each."""

from rich.table import Table
from rich.text import Text

from foresense.config import AnyPipeline, MixedConfig, PipelineConfig, read_pipelines
from foresense.config.actigraphy_pipeline import ActigraphyConfig
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.signals import Layout
from foresense.steps.report import overview


def listing(layout: Layout) -> Table:
    """One row for each pipeline of params.yaml."""
    table = Table(title="pipelines", title_justify="left")
    for column in ("pipeline", "data", "windows", "candidates", "last result", "about"):
        table.add_column(column)
    for name, config in read_pipelines(layout.project / "params.yaml").items():
        table.add_row(
            name,
            config.ingest.raw or config.ingest.source,
            _windows(config),
            _candidates(config),
            _last_result(layout, name),
            config.description,
        )
    return table


def _candidates(config: AnyPipeline) -> str:
    return ", ".join((config.training if isinstance(config, PipelineConfig) else config.train).candidates)


def _windows(config: AnyPipeline) -> str:
    if isinstance(config, PipelineConfig):
        return f"{config.window.context} to {config.window.horizon}"
    if isinstance(config, ActigraphyConfig):
        return f"a week to {config.window.positive}"
    if isinstance(config, AnomalyConfig):
        return "images" if config.is_image else f"{config.window.clips.length} samples"
    if isinstance(config, MixedConfig):
        inputs = "all" if config.window.length is None else str(config.window.length)
        return f"{inputs} to {config.window.target}"
    return f"{config.window.length_s:g} s"


def _last_result(layout: Layout, name: str) -> Text:
    try:
        found = overview(layout, name)
    except FileNotFoundError:
        return Text("not run", "dim")
    if found.running:
        return Text(f"{', '.join(found.running)} runs now", "yellow")
    if found.failed:
        return Text(f"FAIL: {', '.join(found.failed)}", "bold red")
    if found.broken:
        return Text(f"NOT JUDGED: {', '.join(found.broken)}", "bold red")
    if found.gates and not found.unjudged:
        return Text("its gate holds" if len(found.gates) == 1 else f"all {len(found.gates)} gates hold", "green")
    return Text(f"{len(found.reports)} of {len(found.steps)} steps done")
