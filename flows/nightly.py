"""The flows of the night: the given pipelines, one after the other, and each one's tasks in order."""

from typing import Any

from prefect import flow

from tasks.night import (
    collect,
    forecast,
    forecasts,
    forget_trainings,
    missed,
    promote,
    save_night,
    watch,
    write_page,
)
from tasks.stages import benchmark, export, extract_features, ingest, judge, train, window


@flow(name="night", flow_run_name="night of {pipeline}", log_prints=False)
def run_night(pipeline: str, afresh: bool = False) -> None:
    """Bring a pipeline up to date, promote on evidence, forecast; the run fails when a step or a gate does.

    Only a pipeline that forecasts has drift to watch and machines at risk. `afresh` trains every model anew, also where
    nothing has changed.
    """
    ingest(pipeline)
    if forecasts(pipeline):
        watch(pipeline)
    window(pipeline)
    extract_features(pipeline)
    train(pipeline, afresh)
    export(pipeline)
    benchmark(pipeline)
    promote(pipeline)
    ahead = forecast(pipeline, return_state=True) if forecasts(pipeline) else None  # the page comes without one, too
    write_page(pipeline)
    save_night(pipeline)
    collect(pipeline)
    judge(pipeline)
    if ahead is not None:  # where nobody has a champion yet
        ahead.result(raise_on_failure=True)


@flow(name="nightly", log_prints=False)
def run_nightly(pipelines: list[str]) -> Any:
    """Run the night of each pipeline; one that fails does not stop the next, and fails the flow at its end."""
    return missed() or [run_night(pipeline, return_state=True) for pipeline in pipelines]


@flow(name="monthly", log_prints=False)
def run_monthly(pipelines: list[str]) -> Any:
    """The same with every model trained anew, also where nothing has changed."""
    if skipped := missed():
        return skipped
    for pipeline in pipelines:
        forget_trainings(pipeline)
    return [run_night(pipeline, afresh=True, return_state=True) for pipeline in pipelines]
