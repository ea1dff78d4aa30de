"""`foresense weights list`, `fetch`, `verify`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

weights = typer.Typer(name="weights", help="Official weights of the Pretrained Actigraphy Transformer.")

LOCK = "weights.lock.json"
Folder = Annotated[Path | None, typer.Option(help="Where the files lie; without it models/pat of the project.")]
Name = Annotated[str, typer.Argument(help="PAT-S_29k, PAT-M_21k, …; see `foresense weights list`.")]


@weights.command("list")
def list_weights(folder: Folder = None) -> None:
    """Show every official file: absent, unpinned, verified or refused."""
    from rich.console import Console
    from rich.table import Table

    from foresense.registry.weights import states

    table = Table("name", "size", "people", "NHANES", "state", "reason")
    for state in states(*_places(folder)):
        release = state.release
        table.add_row(
            release.name, release.size, f"{release.n_people:,}", ", ".join(release.cycles), state.status, state.reason
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@weights.command()
def fetch(
    name: Name,
    origin: Annotated[str, typer.Option(help="https address, a file, or a folder that holds it.")],
    folder: Folder = None,
) -> None:
    """Bring a file, check its structure, and pin its SHA-256 in weights.lock.json (or compare it with the pinned)."""
    from foresense.registry.weights import fetch_weights, read_lock, release_of

    place, lock = _places(folder)
    path = fetch_weights(name, origin, place, lock)
    pin, credit = read_lock(lock)[path.name], release_of(name).attribution
    typer.echo(f"{path}: {pin.n_bytes} bytes, structure checked, SHA-256 {pin.sha256} (pinned {pin.pinned_utc})")
    typer.echo(f"{credit.title}, {credit.authors}, {credit.paper}; {credit.licence}; {credit.trained_on}")


@weights.command()
def verify(folder: Folder = None) -> None:
    """Check every file that is there against the lock; exits 1 when one is refused, unpinned or missing."""
    from foresense.registry.weights import states

    place, lock = _places(folder)
    found = [state for state in states(place, lock) if state.status != "absent" or state.is_pinned]
    for state in found:
        typer.echo(f"{state.release.name}: {state.status}" + (f": {state.reason}" if state.reason else ""))
    if not found:
        typer.echo(f"{place}: no official weights; bring them with `foresense weights fetch`", err=True)
    if not found or any(state.status != "verified" for state in found):
        raise typer.Exit(1)


def _places(folder: Path | None) -> tuple[Path, Path]:
    """The files' folder, and the lock in the project's root, which git holds."""
    project = Path(os.environ["FORESENSE_PROJECT"])
    return (folder or project / "models" / "pat"), project / LOCK
