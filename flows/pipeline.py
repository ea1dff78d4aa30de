"""The flow of one pipeline: six steps in order, then the judge."""

from prefect import flow

from tasks.stages import benchmark, export, extract_features, ingest, judge, train, window


@flow(name="pipeline", flow_run_name="{pipeline}", log_prints=False)
def run_pipeline(pipeline: str) -> None:
    """Bring every step of one pipeline up to date; the run fails when a step or a gate does."""
    ingest(pipeline)
    window(pipeline)
    extract_features(pipeline)
    train(pipeline)
    export(pipeline)
    benchmark(pipeline)
    judge(pipeline)
