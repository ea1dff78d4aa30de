"""Run one step, or a whole pipeline: through DVC, or small and quick in a scratch folder."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from foresense.config import (
    STEPS,
    AnyPipeline,
    ConfigError,
    PipelineConfig,
    read_any,
    read_stages,
    steps_with_section,
)
from foresense.config.smoke import shrink
from foresense.signals import Layout, Report, read_json
from foresense.steps.frame import Profile, StepRun
from foresense.steps.leftovers import clear_leftovers
from foresense.steps.process import only_one

#: The function of each step, imported when the step runs. It receives the section of its own name, and no other.
STEP_FUNCTIONS: dict[str, str] = {step: f"foresense.steps.{step}:{step}" for step in STEPS}
#: The step `train` of a pipeline that has a section `fleet` in place of `train`.
FLEET_FUNCTION = "foresense.steps.train_fleet:train_fleet"


#: What makes DVC run one stage although nothing that it knows has changed.
AFRESH = ("--force", "--single-item")


def run_step(run: StepRun, config: AnyPipeline) -> Report:
    """Run one step with its own section of `config`, while nobody else runs it.

    Raises:
        ConfigError: unknown step, or one that this kind of pipeline does not have.
        StepBusyError: another process runs the same step of the same pipeline.
        RuntimeError: a file of weights is damaged.
    """
    known = steps_with_section(config)
    if run.step not in known:
        raise ConfigError(
            f"pipeline {run.pipeline!r} is of the kind {config.kind!r}, which has no step {run.step!r} (it has: "
            f"{', '.join(known)})"
        )
    path = function_of(run.step, config)
    module, _, function = path.partition(":")
    if path != STEP_FUNCTIONS[run.step]:
        run = replace(run, entry=function)
    if isinstance(config, PipelineConfig):
        run = replace(run, engine=config.engine)
        section = config.training if run.step == "train" else getattr(config, run.step)
    else:
        section = getattr(config, run.step)
    with only_one(run.layout.cache, run.step, run.pipeline):
        clear_leftovers(run.paths, run.step)
        with damaged_weights_said(run):
            report: Report = getattr(import_module(module), function)(run, section)
        if run.step == "train" and report.mlflow_run_id is not None:
            _tell_run(run, config, report.mlflow_run_id)
    return report


def _tell_run(run: StepRun, config: AnyPipeline, run_id: str) -> None:
    """Tell MLflow's run of a training what params.yaml asked up to there, by its keys, and its headline numbers."""
    from foresense.tracking import add_to_run

    sections = {*STEPS[: STEPS.index("train") + 1], "fleet"}
    headlines = read_json(run.paths.reports / "metrics.json")
    add_to_run(
        run.layout,
        run.pipeline,
        run_id,
        parameters=config.model_dump(mode="json", exclude_defaults=True, include=sections),
        metrics={f"headline/{name}": float(value) for name, value in headlines.items() if value is not None},
    )


@contextmanager
def damaged_weights_said(run: StepRun) -> Iterator[None]:
    """Say which files can be meant where a file of weights cannot be read; its reader names none.

    Raises:
        RuntimeError: in place of the reader's own error.
    """
    try:
        yield
    except Exception as error:
        from safetensors import SafetensorError

        if not isinstance(error, SafetensorError):
            raise
        raise RuntimeError(
            f"{run.step}@{run.pipeline}: a file of weights is damaged ({error}): a checkpoint in "
            f"{run.paths.checkpoints} or a model in {run.paths.models}; remove the checkpoints, and "
            f"`foresense run {run.pipeline}` makes both anew"
        ) from error


def function_of(step: str, config: AnyPipeline) -> str:
    """What runs `step` of this pipeline, as "module:function"."""
    if not isinstance(config, PipelineConfig):
        return f"foresense.steps.{step}_{config.kind}:{step}_{config.kind}"
    return FLEET_FUNCTION if step == "train" and config.fleet is not None else STEP_FUNCTIONS[step]


def profile_of(pipeline: str) -> Profile:
    """`demo` for the pipeline of that name, whose few training steps prove nothing; `full` for every other."""
    return "demo" if pipeline == "demo" else "full"


def steps_of(project: Path, pipeline: str) -> tuple[str, ...]:
    """Steps that `pipeline` uses, in order.

    Raises:
        ConfigError: the pipeline is in no list of `stages` in params.yaml.
    """
    read_any(project / "params.yaml", pipeline)
    stages = read_stages(project / "params.yaml")
    steps = tuple(step for step in STEPS if pipeline in stages.get(step, ()))
    if not steps:
        raise ConfigError(
            f"{project / 'params.yaml'}: pipeline {pipeline!r} is in no list of `stages`, so DVC has no stage for it; "
            "add it there, or try it with `--profile smoke`"
        )
    return steps


def run_smoke(project: Path, pipeline: str, echo: Callable[[str], None]) -> Iterator[Report]:
    """Run all steps of `pipeline`, shrunk, in this process, in `runs/smoke-<pipeline>`, which is emptied first.

    The pipeline need not stand under `stages:` yet, which is how one's own recordings are tried.

    Args:
        project: The checkout.
        pipeline: Its name.
        echo: Is told where other recordings than the pipeline's are learnt from.

    Yields:
        The report of each step when it ends.

    Raises:
        StepBusyError: another process runs the same; its folder is left alone.
    """
    whole = read_any(project / "params.yaml", pipeline)
    config = shrink(whole)
    if config.ingest.source != whole.ingest.source:
        echo(
            f"{pipeline}: this small run learns from simulated machines ({config.ingest.source}), not from the "
            f"recordings of {whole.ingest.source}: it shows that all steps run, and says nothing about those; try them "
            f"with `foresense ingest {pipeline}`, `window` and `features`"
        )
    with only_one(Layout(root=project, project=project).cache, "smoke", pipeline):
        fetch_raw(project, config)
        scratch = project / "runs" / f"smoke-{pipeline}"
        shutil.rmtree(scratch, ignore_errors=True)
        layout = Layout(root=scratch, project=project)
        for step in steps_with_section(config):
            yield run_step(StepRun(step=step, pipeline=pipeline, layout=layout, profile="smoke"), config)


def run_full(project: Path, pipeline: str, echo: Callable[[str], None], *, assets: Sequence[str] = ()) -> None:
    """Bring every stage of `pipeline` up to date with DVC, whose words go to `echo` line by line.

    Args:
        project: The checkout.
        pipeline: Its name.
        echo: Receives each line.
        assets: Machines of a fleet that are trained again although nothing has changed.

    Raises:
        RuntimeError: DVC failed; says which command to repeat.
        ConfigError: `assets` for a pipeline that trains no fleet, or unknown ones.
    """
    config = read_any(project / "params.yaml", pipeline)
    fetch_raw(project, config)
    steps = steps_of(project, pipeline)
    stages: list[tuple[str, tuple[str, ...]]] = [(f"{steps[-1]}@{pipeline}", ())]
    if assets:
        _train_again(project, pipeline, config, assets)
        stages[:0] = [(f"features@{pipeline}", ()), (f"train@{pipeline}", AFRESH)]
    if reads_a_store(config) and steps[0] == "ingest":
        stages.insert(0, (f"ingest@{pipeline}", AFRESH))
    for stage, forced in stages:
        code = stream([sys.executable, "-m", "dvc", "repro", *forced, stage], project, echo)
        if code != 0:
            raise RuntimeError(f"dvc repro {stage} failed (exit code {code}); its last lines above say why")


def _train_again(project: Path, pipeline: str, config: AnyPipeline, assets: Sequence[str]) -> None:
    """Forget what became of `assets`, so that the next training takes them up again."""
    if not isinstance(config, PipelineConfig) or config.fleet is None:
        raise ConfigError(
            f"--asset: {pipeline} has no section `fleet`, and its step `train` takes up all its machines; run it "
            "without --asset"
        )
    from foresense.steps.train_fleet import forget

    layout = Layout(root=project, project=project)
    forget(StepRun("train", pipeline, layout), assets)


def reads_a_store(config: AnyPipeline) -> bool:
    """Whether new samples can come without any file that DVC knows being another one."""
    return config.ingest.source == "store"


def fetch_raw(project: Path, config: AnyPipeline) -> None:
    """Bring the raw files that `config` reads, where they are known and not there yet."""
    name = config.ingest.raw
    raw = Layout(root=project, project=project).raw
    if name is None or (raw / name).is_dir():
        return
    from foresense.steps.fetch import fetch

    fetch(name, raw)


def fetch_raw_of(project: Path, pipeline: str) -> None:
    """Bring the raw files of `pipeline`, where they are known and not there yet."""
    fetch_raw(project, read_any(project / "params.yaml", pipeline))


def stream(command: list[str], folder: Path, echo: Callable[[str], None]) -> int:
    """Run `command` and give its lines to `echo`; however this process ends, the command ends with it.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        echo: Receives each line of its output when it is printed.

    Returns:
        Its exit code.
    """
    tools = str(Path(sys.executable).parent)  # `python` in dvc.yaml is the interpreter that runs this
    with subprocess.Popen(
        [sys.executable, "-m", "foresense.steps.process", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"},
    ) as process:
        try:
            if process.stdout is not None:
                for line in process.stdout:
                    echo(line.rstrip("\n"))
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
