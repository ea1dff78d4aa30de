"""The flow of the night: the given pipelines, one after the other."""

from prefect import flow

from flows.pipeline import run_pipeline


@flow(name="nightly", log_prints=False)
def run_nightly(pipelines: list[str]) -> None:
    """Run each pipeline; one that fails does not stop the next, and fails the night at its end."""
    states = [run_pipeline(pipeline, return_state=True) for pipeline in pipelines]
    for state in states:
        state.result(raise_on_failure=True)
