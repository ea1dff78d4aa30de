"""`foresense migrate`."""

import os
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foresense.stores import SeriesStore
    from foresense.stores.migrate import Found

_FORMATS = ("old-format",)
_OPTIONS = ("delete", "new-bucket", "transform")


def migrate(
    from_format: Annotated[str, typer.Option("--from", help="old-format: accX, accY, accZ, tempA, tempB, current.")],
    option: Annotated[
        str, typer.Option(help="delete, new-bucket or transform; without it the old samples are only counted.")
    ] = "",
    to: Annotated[str, typer.Option(help="For new-bucket: influx:<bucket> or embedded:<folder>.")] = "",
    store: Annotated[
        str,
        typer.Option(help="embedded:<folder>, influx or influx:<bucket>.", envvar="FORESENSE_STORE", show_envvar=True),
    ] = "embedded:store",
    folder: Annotated[
        Path, typer.Option(help="Backups, and lists of what could not be transformed; below the project.")
    ] = Path("migration"),
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this nothing is changed.")] = False,
) -> None:
    """Find samples of the earlier format, and delete or transform them; exits 1 where a person has to look."""
    from foresense.stores import open_store, split_name
    from foresense.stores.migrate import find

    _check(from_format, option, to, is_applied=apply)
    project = Path(os.environ.get("FORESENSE_PROJECT", "."))
    stem = project / folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    with ExitStack() as opened:
        source = open_store(store, os.environ, project)
        opened.callback(source.close)
        target = None
        if to:
            target = open_store(to, os.environ, project)
            opened.callback(target.close)
            if target.place == source.place:
                raise ValueError(
                    f"--to: {to} is the store that is read ({source.place}); name another bucket or folder, or use "
                    "--option transform to write beside the old samples"
                )
        kind, rest = split_name(store)
        if kind == "embedded" and not (project / rest).is_dir():
            problem = "is a file" if (project / rest).exists() else "is not there"
            raise ValueError(
                f"--store: {store} {problem}, expected the folder of an embedded store at {project / rest}; name the "
                "one that the bridge writes to with --store or FORESENSE_STORE"
            )
        if apply:
            opened.callback(_forget, project)
        _show(source, find(source))
        if option == "delete":
            _delete(source, stem, apply=apply)
        elif option:
            _transform(source, target, stem, apply=apply)


def _forget(project: Path) -> None:
    from foresense.signals.kept import forget_kept

    if told := forget_kept(project):
        typer.echo(told)


def _check(from_format: str, option: str, to: str, *, is_applied: bool) -> None:
    if from_format not in _FORMATS:
        raise ValueError(f"--from: no format {from_format!r}; known: {', '.join(_FORMATS)}")
    if option and option not in _OPTIONS:
        raise ValueError(f"--option: no option {option!r}; known: {', '.join(_OPTIONS)}")
    if is_applied and not option:
        raise ValueError(f"--apply: needs --option, which says what to do: {', '.join(_OPTIONS)}")
    if option == "new-bucket" and not to:
        raise ValueError("--option new-bucket: needs --to influx:<bucket> or --to embedded:<folder>, where to write")
    if to and option != "new-bucket":
        raise ValueError(f"--to {to}: only --option new-bucket writes elsewhere, found --option {option or '(none)'}")


def _show(store: "SeriesStore", found: "list[Found]") -> None:
    from foresense.stores.migrate import time_text

    if not found:
        typer.echo(f"{store.place}: no samples of the old format")
        return
    typer.echo(f"{store.place}: {sum(one.n_samples for one in found)} samples of the old format")
    for one in found:
        series = {None: "", "": " (no sensor_type)"}.get(one.sensor_type, f" (sensor_type {one.sensor_type})")
        fields = ", ".join(f"{name} {n_samples}" for name, n_samples in one.fields.items() if n_samples)
        typer.echo(f"  {one.asset}{series}: {one.n_samples}, {time_text(one.first_ns)} to {time_text(one.last_ns)}")
        typer.echo(f"    fields: {fields}")
        typer.echo(
            f"    with a field missing {one.n_partial}; axes but no vibration {one.n_without_axis}; with an exact 0 "
            f"{one.n_zero}; with new values at the same time {one.n_mixed}"
        )


def _transform(source: "SeriesStore", target: "SeriesStore | None", stem: Path, *, apply: bool) -> None:
    from foresense.stores.migrate import transform

    done = transform(source, target, path=stem.with_name(f"{stem.name}-left.jsonl"), apply=apply)
    where = f"to {target.place}" if target is not None else "beside the old ones"
    typer.echo(
        f"{'written' if apply else 'would write'} {where}: {done.n_values_written} values; there already "
        f"{done.n_values_there}, in conflict {done.n_conflicts}, refused {done.n_values_refused}, axes of which "
        f"no vibration comes {done.n_axes_left}"
    )
    if done.n_rows_left:
        told = f"see {done.path}" if done.path else "--apply lists them in a file"
        typer.echo(f"{done.n_rows_left} samples of which something was left: {told}")
    if not apply:
        typer.echo("nothing was changed; --apply does it")
    elif target is None:
        typer.echo("the old fields are still there; --option delete removes them, after a backup")
    if done.n_conflicts or done.n_values_refused:
        raise typer.Exit(1)


def _delete(source: "SeriesStore", stem: Path, *, apply: bool) -> None:
    from foresense.stores.migrate import delete

    done = delete(source, backup_path=stem.with_name(f"{stem.name}-old-format.parquet"), apply=apply)
    if done.n_put_back:
        told = "put back" if apply else "would be put back"
        typer.echo(f"{done.n_put_back} samples that a killed deletion had set aside: {told}")
    if done.backup is not None:
        typer.echo(
            f"backup {done.backup.path}: {done.backup.n_rows} samples, read back and equal, "
            f"SHA-256 {done.backup.sha256}"
        )
    typer.echo(f"{'deleted' if apply else 'would delete'} the old fields of {done.n_samples} samples")
    if not apply:
        typer.echo("nothing was changed; --apply does it, after a backup")
