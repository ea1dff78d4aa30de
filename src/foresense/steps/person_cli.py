"""`foresense person`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def person(
    pipeline: Annotated[str, typer.Argument(help="A pipeline of minute actigraphy, such as sleep.")],
    name: Annotated[str, typer.Argument(help="A person of it; with --csv the name on the page.")],
    to: Annotated[Path | None, typer.Option(help="HTML file; without it runs/people/<name>.html.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A recording of your own: columns time, activity.")] = None,
    time_zone: Annotated[str, typer.Option(help="IANA name of the clock of --csv.")] = "UTC",
    device: Annotated[str | None, typer.Option(help="Counter of --csv, where worn; else the pipeline's.")] = None,
    attention: Annotated[bool, typer.Option(help="Show what the network looked at (loads TensorFlow).")] = True,
) -> None:
    """Write a page about one person's rest and activity: metrics, nights, pictures. Not a medical device."""
    from foresense.signals import Layout
    from foresense.steps.person_page import OwnFile, write_page

    project = Path(os.environ["FORESENSE_PROJECT"])
    place = to or project / "runs" / "people" / f"{name}.html"
    own = None if csv is None else OwnFile(csv, time_zone, device)
    written = write_page(Layout(project, project), pipeline, name, place, own=own, with_attention=attention)
    typer.echo(f"{written}: {written.stat().st_size / 1024:.0f} KiB, nothing outside of the file")
