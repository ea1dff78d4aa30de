"""`foresense promote`, `rollback`, `versions`, `gc`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foresense.registry import Registry
    from foresense.signals import Layout

registry = typer.Typer()
PANEL = "Forecasts and versions"

Asset = Annotated[str, typer.Argument(help="A machine's name, `all`, or the group of an artefact.")]
Reason = Annotated[str, typer.Option(help="Why, in words; it stays in the history.")]
OfPipeline = Annotated[str, typer.Option("--pipeline", help="Needed where several pipelines have the asset.")]


@registry.command(rich_help_panel=PANEL)
def promote(
    asset: Asset,
    reason: Reason,
    pipeline: OfPipeline = "",
    version: Annotated[int | None, typer.Option(help="A number; without it the challenger.")] = None,
) -> None:
    """Make a version the champion by hand; says so where that overrules a refusal."""
    with _found(asset, pipeline) as place:
        from foresense.registry import CHALLENGER, RegistryError, last_refusal

        asked = place.version(asset, version if version is not None else CHALLENGER)
        champion = place.champion(asset)
        name = f"{place.pipeline}/{asset}"
        if champion is not None and champion.number == asked.number:
            raise RegistryError(f"{name}: version {asked.number} is the champion already")
        refused = last_refusal(place.history(asset), asked.number)
        if refused is not None:
            typer.echo(f"OVERRULES THE REFUSAL of {refused.when_utc} by {refused.who}: {refused.reason}", err=True)
        place.promote(
            asset, asked.number, who=_user(), reason=reason, overrules=refused.reason if refused is not None else None
        )
        typer.echo(
            f"{name}: version {asked.number} is the champion (before: {champion.number if champion else 'none'})"
        )


@registry.command(rich_help_panel=PANEL)
def rollback(asset: Asset, reason: Reason, pipeline: OfPipeline = "") -> None:
    """Make the champion before the champion again."""
    with _found(asset, pipeline) as place:
        event = place.rollback(asset, who=_user(), reason=reason)
        typer.echo(
            f"{place.pipeline}/{asset}: version {event.to_version} is the champion again (before: {event.from_version})"
        )


@registry.command(rich_help_panel=PANEL)
def versions(
    asset: Asset,
    pipeline: OfPipeline = "",
    fetch: Annotated[
        str, typer.Option(help="Bring `champion`, `challenger` or a number here, verified, and print only its folder.")
    ] = "",
) -> None:
    """Show the versions of an asset, and every promotion, refusal and rollback; or bring one of them here."""
    with _found(asset, pipeline) as place:
        from rich.console import Console

        from foresense.steps.registry_tables import history_table, versions_table

        if fetch:
            typer.echo(str(place.fetch(asset, int(fetch) if fetch.isdecimal() else fetch)))
            return
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(versions_table(place, asset))
        console.print(history_table(place, asset))


@registry.command(rich_help_panel=PANEL)
def gc(
    keep_gib: Annotated[float, typer.Option(min=0, help="MLflow's files and DVC's cache together.")] = 20.0,
    keep_nights: Annotated[int, typer.Option(min=1, help="Newest nights that are never touched.")] = 14,
    depth: Annotated[int, typer.Option(min=1, help="Champions before the one now that are never touched.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Free disk of what nothing needs, oldest first; exits 1 when the budget does not hold afterwards."""
    with _mlflow_said():
        from foresense.steps.collect import Budget, collect

        holds = collect(_layout(), Budget(keep_gib, keep_nights, depth), dry_run=dry_run, tell=typer.echo)
    raise typer.Exit(0 if holds or dry_run else 1)


@contextmanager
def _found(asset: str, pipeline: str) -> Iterator["Registry"]:
    """The registry that holds an asset.

    Raises:
        RegistryError: no such asset (with the nearest names), or several pipelines have it.
    """
    with _mlflow_said():
        from foresense.registry import open_registry

        yield open_registry(_layout(), _pipeline_of(asset, pipeline))


def _pipeline_of(asset: str, pipeline: str) -> str:
    from difflib import get_close_matches

    from foresense.registry import RegistryError, known_assets

    known = [pair for pair in known_assets(_layout()) if not pipeline or pair[0] == pipeline]
    found = [name for name, its in known if its == asset]
    if len(found) == 1:
        return found[0]
    if found:
        raise RegistryError(f"asset {asset!r} is in several pipelines: {', '.join(found)}; name one with --pipeline")
    where = f"pipeline {pipeline!r}" if pipeline else "any pipeline"
    near = get_close_matches(asset, sorted({its for _, its in known}), n=3)
    advice = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    if not known:
        advice = f"; `foresense night promote {pipeline or '<pipeline>'}` registers what was trained and exported"
    raise RegistryError(f"asset {asset!r} has no version in {where}{advice} ({len(known)} assets have one)")


@contextmanager
def _mlflow_said() -> Iterator[None]:
    """Errors of MLflow (a server that is down, a damaged store) as one message.

    Raises:
        RuntimeError: what MLflow said, and where the store is.
    """
    layout = _layout()  # before MLflow, which would make a store in any folder

    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        from foresense.tracking import tracking_uri

        raise RuntimeError(f"MLflow at {tracking_uri(layout)}: {error}") from error


def _layout() -> "Layout":
    """The checkout.

    Raises:
        FileNotFoundError: the folder is none.
    """
    from foresense.signals import Layout

    project = Path(os.environ.get("FORESENSE_PROJECT", ".")).resolve()
    if not (project / "params.yaml").is_file():
        raise FileNotFoundError(
            f"{project / 'params.yaml'}: no such file; run from the project root, or pass --project"
        )
    return Layout(root=project, project=project)


def _user() -> str:
    from getpass import getuser

    return getuser()
