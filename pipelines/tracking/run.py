"""Opening a run: the stage's own, below the one parent of its pipeline run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.provenance import commit
from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.lineage import pipeline_run
from pipelines.tracking.store import (
    ARTIFACT_FOLDER,
    check_store,
    prepare_environment,
    store_error,
    store_uri,
)
from pipelines.tracking.tracker import NullTracker, Tracker

if TYPE_CHECKING:
    import mlflow

    from pipelines.tracking.mlflow_tracker import MlflowTracker

PIPELINE_TAG = "gqbench.pipeline_run"
ROLE_TAG = "gqbench.role"


@contextmanager
def open_run(
    config: TrackingConfig, stage: str, item: str | None, tags: Mapping[str, Any]
) -> Iterator[Tracker]:
    """Yield a tracker that logs to a new MLflow run called `stage` or `stage@item`.

    The run is a child of the parent that all stages of one pipeline run share, and carries `tags` besides
    stage, item and commit. It ends as FINISHED, KILLED (Ctrl-C) or FAILED. A store that cannot be used when the
    stage starts raises UserError within seconds; one that fails later costs a warning (see MlflowTracker).
    MLflow is imported here, as that takes a second.
    """
    if not config.enabled:
        yield NullTracker()
        return
    uri, key = store_uri(config)
    check_store(uri, key)
    tracker, parent = _start(config, uri, key, stage, item, tags)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        for run_id in (tracker.run_id, parent):
            if run_id is not None:
                tracker.end(run_id, status)


def _start(
    config: TrackingConfig, uri: str, key: str, stage: str, item: str | None, tags: Mapping[str, Any]
) -> tuple["MlflowTracker", str | None]:
    """Create the stage's run; return its tracker and the id of its parent, if it has one."""
    prepare_environment()
    import mlflow

    from pipelines.tracking.mlflow_tracker import STORE_FAILURES, MlflowTracker

    try:
        client = mlflow.MlflowClient(uri)
        experiment = _experiment(client, config.experiment, uri)
        parent = _parent(client, experiment)
        labels = {"stage": stage, **({"item": item} if item else {}), "commit": commit(), **tags}
        if parent is not None:
            labels["mlflow.parentRunId"] = parent
        name = f"{stage}@{item}" if item else stage
        run = client.create_run(
            experiment, tags={tag: str(value) for tag, value in labels.items()}, run_name=name
        )
    # ImportError: the driver of the database is not installed.
    except (*STORE_FAILURES, ImportError) as error:
        raise store_error(uri, key, str(error).splitlines()[0][:200]) from None
    return MlflowTracker(client, uri, run.info.run_id, config.log_models), parent


def _experiment(client: "mlflow.MlflowClient", name: str, uri: str) -> str:
    """Return the id of the experiment `name`, made where it is missing."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # A server knows where its artifacts go; beside a database file of ours they go into a folder of ours.
    location = None if uri.startswith("http") else ARTIFACT_FOLDER.absolute().as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _parent(client: "mlflow.MlflowClient", experiment: str) -> str | None:
    """Return the id of the pipeline run's parent, made where it is missing; None outside a pipeline run."""
    pipeline = pipeline_run()
    if pipeline is None:
        return None
    wanted = f"tags.`{PIPELINE_TAG}` = '{pipeline}' and tags.`{ROLE_TAG}` = 'pipeline'"
    found = client.search_runs([experiment], wanted, max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        client.update_run(run_id, status="RUNNING")
        return run_id
    tags = {PIPELINE_TAG: pipeline, ROLE_TAG: "pipeline", "commit": commit()}
    return str(client.create_run(experiment, tags=tags, run_name=f"pipeline {pipeline}").info.run_id)
