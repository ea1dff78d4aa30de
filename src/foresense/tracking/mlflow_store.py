"""Runs of MLflow by `MlflowClient`, never by its fluent state; a run and a model find each other by `model_sha256`."""

import fcntl
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

import psutil
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from foresense.signals import Layout

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
MODEL_TAG = "model_sha256"
DATA_TAG = "data_sha256"
CHECKOUT_TAG = "foresense.checkout"
BATCH = 900  # MLflow takes at most 1000 metrics in one call
#: A word in the name of a parameter; MLflow refuses others.
_WORD = re.compile(r"[\w\- ]+")


def tracking_uri(layout: Layout) -> str:
    """Address of the store: `MLFLOW_TRACKING_URI` where set, else SQLite in `mlflow/`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{layout.tracking / 'mlflow.db'}"


@dataclass
class MlflowRun:
    """One run of MLflow; a `MetricSink`.

    Attributes:
        run_id: Where to find it.
    """

    client: MlflowClient
    experiment_id: str
    run_id: str
    waiting: list[Metric] = field(default_factory=list)

    def metric(self, name: str, value: float, step: int) -> None:
        """Record one number; sent in batches."""
        self.waiting.append(Metric(name, value, round(time() * 1000), step))
        if len(self.waiting) >= BATCH:
            self.flush()

    def metrics(self, values: Mapping[str, float]) -> None:
        """Record numbers that have no step."""
        for name, value in values.items():
            self.metric(name, value, 0)

    def parameters(self, values: Mapping[str, object]) -> None:
        """Record parameters; MLflow keeps them as text and refuses a second value."""
        params = [Param(name, str(value)) for name, value in values.items()]
        for first in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[first : first + 100])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in values.items()])

    def dataset(self, name: str, sha256: str) -> None:
        """Say which recordings the run read; MLflow's page shows name and digest (36 characters at most)."""
        data = Dataset(
            name=name, digest=sha256[:36], source_type="local", source=f'{{"uri": "data/recordings/{name}"}}'
        )
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(data, tags=[])])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep one file, or a folder with all it holds."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)

    def system(self, step: int) -> None:
        """Record memory and load of this process and machine, under MLflow's own names for system metrics."""
        memory = psutil.virtual_memory()
        self.metric("system/cpu_utilization_percentage", psutil.cpu_percent(), step)
        self.metric("system/system_memory_usage_percentage", memory.percent, step)
        self.metric("system/process_rss_megabytes", psutil.Process().memory_info().rss / 1e6, step)

    def flush(self) -> None:
        """Send what is waiting."""
        for first in range(0, len(self.waiting), BATCH):
            self.client.log_batch(self.run_id, metrics=self.waiting[first : first + BATCH])
        self.waiting = []

    @contextmanager
    def child(self, name: str) -> Iterator["MlflowRun"]:
        """A run nested below this one (one asset of a fleet, one candidate)."""
        with _started(self.client, self.experiment_id, name, {PARENT_TAG: self.run_id}) as run:
            yield run


@contextmanager
def open_run(layout: Layout, pipeline: str, name: str, tags: Mapping[str, str]) -> Iterator[MlflowRun]:
    """Start a run in the experiment of `pipeline`; it ends as FINISHED, or FAILED when the block raises.

    Args:
        layout: Where the local store is.
        pipeline: Name of the experiment.
        name: Name of the run; the time (UTC) stands before it, because two runs that are compared need two names.
        tags: What the run is tagged with; `data_sha256` stands as the run's data set, too.
    """
    client, experiment_id = open_store(layout, pipeline)
    here = {CHECKOUT_TAG: f"{platform.node()}:{layout.root}"}
    _end_killed(client, experiment_id, here[CHECKOUT_TAG])
    with _started(client, experiment_id, f"{datetime.now(UTC):%Y-%m-%d %H:%M} {name}", {**tags, **here}) as run:
        if DATA_TAG in tags:
            run.dataset(pipeline, tags[DATA_TAG])
        yield run


def attach_to_model(
    layout: Layout,
    pipeline: str,
    model_sha256: str,
    *,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path] = (),
) -> str:
    """Add numbers and files to the newest run that trained these weights.

    A store that has no such run (a clone that pulled its models, a deleted database) gets a new one with the same tag.

    Args:
        layout: Where the local store is.
        pipeline: Name of the experiment.
        model_sha256: Digest of the weights.
        metrics: Numbers to record.
        artifacts: Files or folders to keep.

    Returns:
        The run's id.
    """
    client, experiment_id = open_store(layout, pipeline)
    run = MlflowRun(client, experiment_id, run_of_model(client, experiment_id, pipeline, model_sha256))
    run.metrics(metrics)
    run.flush()
    for path in artifacts:
        run.artifact(path, path.name if path.is_dir() else None)
    return run.run_id


def add_to_run(
    layout: Layout, pipeline: str, run_id: str, *, parameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Add to a run, also to one that has ended.

    Args:
        layout: Where the local store is.
        pipeline: Name of the experiment.
        run_id: The run.
        parameters: Mappings within it give names with dots (`train.candidates.small.n_epochs`); a list is one value,
            with commas where it is plain: MLflow's page breaks JSON into a line for each. A mapping with a key that
            MLflow would refuse in a name is one value, too.
        metrics: Numbers to record.
    """
    client, experiment_id = open_store(layout, pipeline)
    run = MlflowRun(client, experiment_id, run_id)
    run.parameters(_dotted(parameters))
    run.metrics(metrics)
    run.flush()


def _dotted(values: Mapping[str, Any], before: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value and all(map(_WORD.fullmatch, value)):
            flat |= _dotted(value, f"{before}{name}.")
        else:
            flat[before + name] = _as_text(value) if isinstance(value, list | dict) else value
    return flat


def _as_text(value: list[Any] | dict[str, Any]) -> str:
    is_plain = isinstance(value, list) and not any(isinstance(one, list | dict) for one in value)
    return ", ".join(map(str, value)) if is_plain else json.dumps(value)


def run_of_model(client: MlflowClient, experiment_id: str, pipeline: str, model_sha256: str) -> str:
    """Id of the newest run that trained these weights; a new one with the same tag where the store has none."""
    found = client.search_runs(
        [experiment_id],
        f"tags.{MODEL_TAG} = '{model_sha256}'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    if found:
        return str(found[0].info.run_id)
    tags = {MODEL_TAG: model_sha256, NAME_TAG: f"{pipeline} (model from elsewhere)"}
    created = client.create_run(experiment_id, tags=tags)
    client.set_terminated(created.info.run_id)
    return str(created.info.run_id)


def _end_killed(client: MlflowClient, experiment_id: str, checkout: str) -> None:
    """Runs of this checkout that still run were killed: one training of a pipeline at a time holds the step's lock."""
    asked = f"attributes.status = 'RUNNING' and tags.`{CHECKOUT_TAG}` = '{checkout}'"
    for left in client.search_runs([experiment_id], asked):
        client.set_terminated(left.info.run_id, status="KILLED")
        below = f"attributes.status = 'RUNNING' and tags.`{PARENT_TAG}` = '{left.info.run_id}'"
        for child in client.search_runs([experiment_id], below):
            client.set_terminated(child.info.run_id, status="KILLED")


@contextmanager
def _started(client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str]) -> Iterator[MlflowRun]:
    created = client.create_run(experiment_id, tags={**tags, NAME_TAG: name})
    run = MlflowRun(client, experiment_id, created.info.run_id)
    try:
        yield run
    except BaseException:
        run.flush()
        client.set_terminated(run.run_id, status="FAILED")
        raise
    run.flush()
    client.set_terminated(run.run_id)


def open_store(layout: Layout, experiment: str) -> tuple[MlflowClient, str]:
    """Open the store, and the experiment in it, which is made where it is not there.

    Returns:
        The client, and the experiment's id.
    """
    with _one_at_a_time(layout) as (client, is_local):
        found = client.get_experiment_by_name(experiment)
        if found:
            return client, str(found.experiment_id)
        artifacts = (layout.tracking / "artifacts" / experiment).resolve().as_uri() if is_local else None
        return client, str(client.create_experiment(experiment, artifact_location=artifacts))


def open_client(layout: Layout) -> MlflowClient:
    """Open the store to read what is there; no experiment is made."""
    with _one_at_a_time(layout) as (client, _):
        client.search_experiments(max_results=1)
        return client


@contextmanager
def _one_at_a_time(layout: Layout) -> Iterator[tuple[MlflowClient, bool]]:
    """A client, and whether its store is a local file: MLflow's first migration of one is not safe against itself."""
    uri = tracking_uri(layout)
    if not uri.startswith("sqlite:"):
        yield MlflowClient(uri), False
        return
    layout.tracking.mkdir(parents=True, exist_ok=True)
    with (layout.tracking / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        store = layout.tracking / "mlflow.db"
        if uri == f"sqlite:///{store}" and not store.exists():
            _make_store(store)
        yield MlflowClient(uri), True


def _make_store(store: Path) -> None:
    """A new store under another name, then renamed: one that is killed between two of its tables never opens again."""
    beside = store.with_name("mlflow.new.db")
    for left in (beside, beside.with_name(f"{beside.name}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{beside}").search_experiments(max_results=1)
    os.replace(beside, store)
