"""`foresense night ...`: what a night does beside the six steps; the flow `nightly` calls these words."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foresense.signals import Layout

night = typer.Typer(name="night", help="What a night does beside the six steps.", no_args_is_help=True)
Pipeline = Annotated[str, typer.Argument(help="A name under `pipelines:` in params.yaml.")]


@night.command()
def watch(pipeline: Pipeline) -> None:
    """Check the newest data, and compare them with what each champion was trained on."""
    from foresense.steps.night import watch as look

    found = look(_begin(pipeline, forecasts=True), pipeline)
    moved = [asset for asset, one in found["assets"].items() if one["moved"]]
    alarms = [asset for asset, one in found["assets"].items() if one["alarm"]]
    typer.echo(
        f"{pipeline}, night {found['night']}: {len(found['assets'])} machines, {len(found['problems'])} with a problem "
        f"of their data, {len(moved)} moved, {len(alarms)} alarms{': ' if alarms else ''}{', '.join(alarms)}"
    )


@night.command()
def promote(pipeline: Pipeline) -> None:
    """Register what was trained, compare it with its champion, and promote on evidence."""
    from foresense.steps.night_name import night_of
    from foresense.steps.promotion import promote_fleet

    layout = _begin(pipeline)
    name = night_of(layout, pipeline)
    decisions = promote_fleet(
        layout, pipeline, name, tell=lambda one: typer.echo(f"{one.asset}: {one.status}: {one.reason}")
    )
    counts = Counter(one.status for one in decisions)
    typer.echo(f"{pipeline}, night {name}: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    if counts["failed"] == len(decisions):
        raise typer.Exit(1)


@night.command()
def page(pipeline: Pipeline) -> None:
    """Write the page of the night: machines at risk, promotions, drift, the fleet's picture."""
    from foresense.steps.night_page import write_page

    typer.echo(str(write_page(_begin(pipeline), pipeline)))


@night.command()
def forget(pipeline: Pipeline) -> None:
    """Forget what earlier nights trained, so that the next training takes up every machine anew."""
    from foresense.steps.night import forget_trainings

    typer.echo(forget_trainings(_begin(pipeline), pipeline))


def _begin(pipeline: str, *, forecasts: bool = False) -> "Layout":
    from foresense.config import read_any, read_pipeline
    from foresense.signals import Layout
    from foresense.steps.process import die_with_parent, end_cleanly_on_terminate

    die_with_parent()
    end_cleanly_on_terminate()
    project = Path(os.environ["FORESENSE_PROJECT"])
    (read_pipeline if forecasts else read_any)(project / "params.yaml", pipeline)
    return Layout(root=project, project=project)
