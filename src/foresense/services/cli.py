"""`foresense up`, `status`, `logs`, `down`, `backup`, `restore`."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

services = typer.Typer()
PANEL = "Services and backups"

Names = Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Only these; none: all.")]
Embedded = Annotated[bool, typer.Option("--embedded", help="Only folders of this machine; needs no docker.")]


@services.command(rich_help_panel=PANEL)
def up(
    names: Names = None,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Take the images that are there (going back to a commit).")
    ] = False,
) -> None:
    """Build and start the services of compose.yaml, and wait until all are healthy."""
    from foresense.services import actions

    actions.up(_project(), names or (), build=not no_build, tell=typer.echo)


@services.command(rich_help_panel=PANEL)
def status() -> None:
    """Show state and health of each service; exits 1 when one is not well."""
    from foresense.services import actions

    raise typer.Exit(0 if actions.status(_project(), typer.echo) else 1)


@services.command(rich_help_panel=PANEL)
def logs(
    names: Names = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show the last 200 lines of each service."""
    from foresense.services import actions

    raise typer.Exit(actions.logs(_project(), names or (), follow=follow))


@services.command(rich_help_panel=PANEL)
def down() -> None:
    """Stop the services and remove their containers; data stays."""
    from foresense.services import actions

    raise typer.Exit(actions.down(_project()))


@services.command(rich_help_panel=PANEL)
def backup(
    embedded: Embedded = False,
    to: Annotated[Path | None, typer.Option(help="Folder for backups; default: backups/ in the project.")] = None,
    without_store: Annotated[
        bool, typer.Option("--without-store", help="Samples are backed up elsewhere; leave store/ out.")
    ] = False,
) -> None:
    """Copy volumes and folders into backups/<UTC time>/, with SHA-256; exits 1 when the samples are not among them."""
    from foresense.services import actions

    _leave_cleanly_on_terminate()
    folder = to.absolute() if to else _project() / "backups"
    has_samples = actions.backup(
        _project(), folder, os.environ, embedded=embedded, without_store=without_store, tell=typer.echo
    )
    raise typer.Exit(0 if has_samples else 1)


@services.command(rich_help_panel=PANEL)
def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    embedded: Embedded = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put data that is there aside.")] = False,
) -> None:
    """Bring a backup back; refuses a damaged one, and to go over data without --replace."""
    from foresense.services import actions

    _leave_cleanly_on_terminate()
    actions.restore(_project(), folder, os.environ, embedded=embedded, replace=replace, tell=typer.echo)


def _leave_cleanly_on_terminate() -> None:
    """Turn SIGTERM into SystemExit, so that stopped services start again and half a backup goes away."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _project() -> Path:
    return Path(os.environ.get("FORESENSE_PROJECT", ".")).resolve()
