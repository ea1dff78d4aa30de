"""The command line: the door that dvc.yaml, flows and people use. Each command imports only what it needs."""

import errno
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from foresense.bridge.cli import bridge, simulate
from foresense.services.cli import services
from foresense.steps.forecast_cli import anomalies, forecast
from foresense.steps.night_cli import night
from foresense.steps.person_cli import person
from foresense.steps.registry_cli import PANEL as VERSIONS
from foresense.steps.registry_cli import registry
from foresense.steps.weights_cli import weights
from foresense.stores.cli import migrate

#: Nothing here reports to anyone: each library's own switch, set before it is imported.
QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TOKENIZERS_PARALLELISM": "false",
}
#: What a user can cause and repair: told in one message. Anything else is a defect, and shows where it happened.
EXPECTED = (ValueError, OSError, ImportError, RuntimeError)

_FULL = "\nThe disk is full: nothing half-written took the place of anything; make room and give the command again."
#: What the system's own words leave open.
ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "\nThat folder can only be read: work in a checkout of your own, or mount it for writing.",
    errno.EACCES: "\nYou may not write or read there: look at its owner and mode, or work in a checkout of your own.",
}

#: Loggers that warn at import of what no user can mend: CUDA files and enums of torchao, migrations.
NOISY = ("torchao", "torch.utils._pytree", "alembic", "mlflow.store.db.utils")

app = typer.Typer(
    name="foresense",
    help="Sensor recordings in, models that run at the edge out, with the proof that they do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: Titles under which `foresense --help` shows what is not needed every day.
STEP, MACHINES, WRIST = "One step", "Machines that are alive", "A week on the wrist"

Pipeline = Annotated[str, typer.Argument(help="A name under `pipelines:` in params.yaml.")]


@app.callback()
def settings(
    project: Annotated[Path, typer.Option(help="Folder that holds params.yaml.", envvar="FORESENSE_PROJECT")] = Path(),
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error happened.", envvar="FORESENSE_DEBUG")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more while working.")] = False,
) -> None:
    """Read what holds for every command."""
    if debug:
        os.environ["FORESENSE_DEBUG"] = "1"
    os.environ["FORESENSE_PROJECT"] = str(project.resolve())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("foresense").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


def _project() -> Path:
    return Path(os.environ["FORESENSE_PROJECT"])


def _run_one(step: str, pipeline: str) -> None:
    from foresense.steps.process import die_with_parent, end_cleanly_on_terminate

    die_with_parent()
    end_cleanly_on_terminate()
    from foresense.config import read_any
    from foresense.signals import Layout
    from foresense.steps.frame import StepRun
    from foresense.steps.run import profile_of, run_step

    project = _project()
    config = read_any(project / "params.yaml", pipeline)
    run = StepRun(
        step=step,
        pipeline=pipeline,
        layout=Layout(root=project, project=project),
        profile=profile_of(pipeline),
    )
    report = run_step(run, config)
    typer.echo(f"{step}@{pipeline}: done in {report.duration_s:.1f} s, {run.paths.reports / f'{step}.json'}")


@app.command(rich_help_panel=STEP)
def ingest(pipeline: Pipeline) -> None:
    """Read and check recordings, and lay them on one rate."""
    _run_one("ingest", pipeline)


@app.command(rich_help_panel=STEP)
def window(pipeline: Pipeline) -> None:
    """Split (by time, person or recording), scale and index windows."""
    _run_one("window", pipeline)


@app.command(rich_help_panel=STEP)
def features(pipeline: Pipeline) -> None:
    """Compute named features of every window."""
    _run_one("features", pipeline)


@app.command(rich_help_panel=STEP)
def train(pipeline: Pipeline) -> None:
    """Train the candidates; the best on the validation part ships."""
    _run_one("train", pipeline)


@app.command(rich_help_panel=STEP)
def export(pipeline: Pipeline) -> None:
    """Write the model in every asked format and build the artefact."""
    _run_one("export", pipeline)


@app.command(rich_help_panel=STEP)
def benchmark(
    pipeline: Pipeline,
    device: Annotated[
        str | None, typer.Option(help="A file in devices/: run the smoke test of `pi/` there, and nothing else.")
    ] = None,
) -> None:
    """Measure the artefact in fresh processes and judge the gates; with --device exits 1 when a test or gate failed."""
    if device is None:
        _run_one("benchmark", pipeline)
        return
    from foresense.signals import Layout
    from foresense.steps.device_smoke import smoke_on_device

    found = smoke_on_device(Layout(root=_project(), project=_project()), pipeline, device)
    typer.echo(str(found))
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def pipelines(
    markdown: Annotated[bool, typer.Option("--markdown", help="Results and gates as tables in Markdown.")] = False,
) -> None:
    """List the pipelines with their data, model and last result."""
    from foresense.signals import Layout

    layout = Layout(root=_project(), project=_project())
    if markdown:
        from foresense.steps.results_table import markdown as results

        typer.echo(results(layout))
        return
    from rich.console import Console

    from foresense.steps.pipelines import listing

    Console(width=None if sys.stdout.isatty() else 160).print(listing(layout))


@app.command()
def fetch(pipeline: Pipeline) -> None:
    """Bring the raw files of a pipeline, from $FORESENSE_DATA or from their public address."""
    from foresense.config import read_any
    from foresense.signals import Layout
    from foresense.steps.fetch import fetch as bring

    name = read_any(_project() / "params.yaml", pipeline).ingest.raw
    if name is None:
        typer.echo(f"{pipeline}: reads no files, nothing to fetch")
        return
    typer.echo(str(bring(name, Layout(root=_project(), project=_project()).raw)))


@app.command()
def run(
    pipeline: Pipeline,
    profile: Annotated[str, typer.Option(help="`full`: through DVC; `smoke`: tiny, in a scratch folder.")] = "full",
    asset: Annotated[
        list[str] | None, typer.Option(help="A machine of a fleet to train again although nothing changed; repeatable.")
    ] = None,
) -> None:
    """Run all steps, then show the gates; exits 1 when one of them failed or was not judged."""
    from foresense.steps.run import run_full, run_smoke

    if profile not in ("full", "smoke"):
        raise ValueError(f"--profile: no profile {profile!r}; known: full, smoke")
    if profile == "full":
        run_full(_project(), pipeline, typer.echo, assets=asset or ())
        _show(_project(), pipeline, finished=True)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads cost a tiny model more than they bring
    for report in run_smoke(_project(), pipeline, typer.echo):
        typer.echo(f"{report.step}: {report.duration_s:.1f} s")
    scratch = _project() / "runs" / f"smoke-{pipeline}"
    typer.echo(f"{pipeline}: this shows that all steps work, not how good a model is; what it made lies in {scratch}")
    _show(scratch, pipeline, finished=True)


@app.command()
def report(
    pipeline: Pipeline,
    as_json: Annotated[bool, typer.Option("--json", help="The reports as one JSON object.")] = False,
) -> None:
    """Show the last reports and gates; exits 1 when a gate failed or is passed over, or a report is unreadable."""
    _show(_project(), pipeline, as_json=as_json)


def _show(root: Path, pipeline: str, *, as_json: bool = False, finished: bool = False) -> None:
    """Print what there is; exits 1 when a gate failed or cannot be judged, `finished` also when a step is missing."""
    from rich.console import Console

    from foresense.signals import Layout
    from foresense.steps.report import as_text, overview, summary

    found = overview(Layout(root=root, project=_project()), pipeline)
    if as_json:
        typer.echo(as_text(found))
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        for table in summary(found):
            console.print(table)
        for remark in found.remarks:
            typer.echo(f"{pipeline}: {remark}")
    if found.failed:
        typer.echo(f"{pipeline}: {len(found.failed)} gate(s) failed: {', '.join(found.failed)}", err=True)
    if found.unjudged:
        lines = [f"  {name}: {reason}" for name, reason in found.unjudged.items()]
        typer.echo("\n".join([f"{pipeline}: not judged yet:", *lines]), err=True)
    if found.failed or (found.unjudged if finished else found.broken):
        raise typer.Exit(1)


@app.command()
def verify(
    artefact: Annotated[
        Path, typer.Argument(help="Folder of an artefact, below exports/<pipeline>/, or of a fetched version.")
    ],
) -> None:
    """Check digests, manifest and golden vectors of an artefact; exits 1 and says what differs."""
    from foresense.steps.verify import verify as check

    result = check(artefact)
    typer.echo(str(result))
    if not result.passed:
        raise typer.Exit(1)


app.command(rich_help_panel=MACHINES)(simulate)
app.add_typer(bridge, rich_help_panel=MACHINES)
app.command(rich_help_panel=MACHINES)(migrate)
app.command(rich_help_panel=VERSIONS)(forecast)
app.command(rich_help_panel=VERSIONS)(anomalies)
app.add_typer(registry)
app.add_typer(night, rich_help_panel=VERSIONS)
app.command(rich_help_panel=WRIST)(person)
app.add_typer(weights, rich_help_panel=WRIST)
app.add_typer(services)


def main() -> None:
    """Run the command line; an error that a user can repair is one message on stderr and exit code 1."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except EXPECTED as error:
        if os.environ.get("FORESENSE_DEBUG"):
            traceback.print_exc()
        else:
            advice = ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""
            typer.echo(f"foresense: {error}{advice}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
