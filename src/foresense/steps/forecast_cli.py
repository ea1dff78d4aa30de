"""`foresense forecast`, `foresense anomalies`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from foresense.signals import Layout

Pipeline = Annotated[str, typer.Argument(help="A name under `pipelines:` in params.yaml.")]


def forecast(
    pipeline: Pipeline,
    asset: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="Forecast with the newest training, which nobody promoted.")
    ] = False,
    now: Annotated[str, typer.Option(help="Forecast as of this time (UTC); without it: the newest sample.")] = "",
    max_age_h: Annotated[
        float | None, typer.Option(help="Skip a machine whose newest complete sample is older; else window.max_gap.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Write beside the measurements in embedded:<folder>, influx or influx:<bucket>, too.")
    ] = "",
) -> None:
    """Forecast every machine from its newest samples, and say which are at risk; exits 1 when none was forecast."""
    from foresense.config import read_pipeline
    from foresense.steps.forecast import forecast_fleet, store_of, write_to_store
    from foresense.steps.forecast_show import outcome_table, score_table, summary_lines
    from foresense.steps.forecast_source import champions, newest_trainings

    layout = _layout()
    config = read_pipeline(layout.project / "params.yaml", pipeline)
    place = store_of(config, store)
    done = forecast_fleet(
        layout,
        pipeline,
        config,
        (newest_trainings if latest else champions)(layout, pipeline, config),
        assets=asset or [],
        now_s=_seconds("--now", now) if now else None,
        max_age_s=None if max_age_h is None else 3600 * max_age_h,
    )
    console = _console()
    console.print(outcome_table(done))
    console.print(score_table(done))
    typer.echo("\n".join(summary_lines(done)))
    if place is not None and done.forecasts:
        write_to_store(done, place, layout)
        typer.echo(f"{pipeline}: forecasts and anomalies are beside {place}, too")
    if not done.forecasts:
        raise typer.Exit(1)


def anomalies(
    pipeline: Pipeline,
    since: Annotated[str, typer.Option(help="Found at this time (UTC) or later, as 2026-11-21 or with a time.")] = "",
    severity: Annotated[str, typer.Option(help="At least low, medium or high.")] = "",
) -> None:
    """List what was found at risk in the last 90 days, the newest first."""
    from foresense.config import read_pipeline
    from foresense.steps.anomalies import FILE, anomaly_table, read_anomalies, select
    from foresense.steps.forecast_table import forecasts_folder

    layout = _layout()
    read_pipeline(layout.project / "params.yaml", pipeline)
    since_s = _seconds("--since", since) if since else None
    folder = forecasts_folder(layout, pipeline)
    if not (folder / FILE).is_file():
        raise FileNotFoundError(f"{folder / FILE}: not there; run `foresense forecast {pipeline}` first")
    rows = select(read_anomalies(folder), since_s=since_s, severity=severity or None)
    _console().print(anomaly_table(pipeline, rows))


def _layout() -> "Layout":
    from foresense.signals import Layout

    project = Path(os.environ.get("FORESENSE_PROJECT", "."))
    return Layout(root=project, project=project)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def _seconds(option: str, text: str) -> int:
    """Seconds since 1970 UTC of a time as people write it."""
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{option}: {text!r} is no time; expected 2026-11-21 or 2026-11-21T03:30:00 (UTC)") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
