"""Opening a run: the stage's own, below the one parent of its pipeline run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

from pipelines.provenance import commit
from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.lineage import dvc_process, pipeline_run
from pipelines.tracking.owner import Owner, checkout
from pipelines.tracking.source import source_tags
from pipelines.tracking.store import check_store, prepare_environment, store_error, store_uri
from pipelines.tracking.tracker import NullTracker, Tracker
from pipelines.tracking.vocabulary import Role

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from pipelines.tracking.mlflow_tracker import MlflowTracker

PIPELINE_TAG = "gqbench.pipeline_run"


@contextmanager
def open_run(
    config: TrackingConfig,
    stage: str,
    item: str | None,
    tags: Mapping[str, Any],
    *,
    role: Role = Role.STAGE,
    resumes: bool = False,
) -> Iterator[Tracker]:
    """Yield a tracker that logs to the MLflow run called `item`, or `stage` where there is none.

    The run is a child of the parent that all stages of one pipeline run share, and carries `tags` besides
    role, stage, item and commit. It is a new one, unless the stage `resumes` an interrupted work: then it is the
    run of that work, if this checkout's last run with these tags ended unfinished. It ends as FINISHED, KILLED
    (Ctrl-C) or FAILED; runs that dead processes left behind are closed as KILLED. A store that cannot be used when
    the stage starts raises UserError within seconds; one that fails later costs a warning (see MlflowTracker).
    MLflow is imported here, as that takes a second.
    """
    if not config.enabled:
        yield NullTracker()
        return
    uri, key = store_uri(config)
    check_store(uri, key)
    labels = {"role": role, "stage": stage, **({"item": item} if item else {})}
    labels |= {tag: str(value) for tag, value in tags.items()}
    tracker = _start(config, uri, key, labels, resumes)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)


def _start(
    config: TrackingConfig, uri: str, key: str, labels: dict[str, str], resumes: bool
) -> "MlflowTracker":
    """Open the experiment and return a tracker for the stage's run."""
    prepare_environment()
    import mlflow

    from pipelines.tracking.connection import STORE_FAILURES, Connection, reason
    from pipelines.tracking.experiment import open_experiment
    from pipelines.tracking.interrupted import close_dead_runs
    from pipelines.tracking.mlflow_tracker import MlflowTracker

    try:
        client = mlflow.MlflowClient(uri)
        experiment = open_experiment(client, config.experiment, uri)
        close_dead_runs(client, experiment)
        parent = _parent(client, experiment)
        run = _own_run(client, experiment, labels, parent, resumes)
    # ImportError: the driver of the database is not installed.
    except (*STORE_FAILURES, ImportError) as error:
        raise store_error(uri, key, reason(error)) from None
    return MlflowTracker(Connection(client, uri, experiment), run, parent, config.log_models)


def _own_run(
    client: "MlflowClient", experiment: str, labels: dict[str, str], parent: str | None, resumes: bool
) -> "Run":
    """Return the stage's run: that of the work it resumes, set to RUNNING, or a new one."""
    from mlflow.entities import RunTag

    from pipelines.tracking.interrupted import CHECKOUT_TAG, OWNER_TAG, interrupted_run

    found = interrupted_run(client, experiment, labels) if resumes else None
    tags = labels | source_tags() | {"commit": commit(), CHECKOUT_TAG: checkout()}
    tags[OWNER_TAG] = str(Owner.of(psutil.Process()))
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    if found is None:
        return client.create_run(experiment, tags=tags, run_name=labels.get("item", labels["stage"]))
    run_id = found.info.run_id
    # The user who began it stays: MLflow lets that tag not be changed.
    tags.pop("mlflow.user", None)
    client.log_batch(run_id, tags=[RunTag(tag, value) for tag, value in tags.items()])
    client.update_run(run_id, status="RUNNING")
    return client.get_run(run_id)


def _parent(client: "MlflowClient", experiment: str) -> str | None:
    """Return the id of the pipeline run's parent, made where it is missing; None outside a pipeline run."""
    from pipelines.tracking.interrupted import OWNER_TAG

    pipeline = pipeline_run()
    if pipeline is None:
        return None
    owner = str(Owner.of(dvc_process() or psutil.Process()))
    wanted = f"tags.`{PIPELINE_TAG}` = '{pipeline}' and tags.role = '{Role.PIPELINE}'"
    found = client.search_runs([experiment], wanted, max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        client.set_tag(run_id, OWNER_TAG, owner)
        client.update_run(run_id, status="RUNNING")
        return run_id
    tags = source_tags() | {
        "role": Role.PIPELINE,
        PIPELINE_TAG: pipeline,
        OWNER_TAG: owner,
        "commit": commit(),
    }
    # The first stage makes this run, which stands for all of them.
    tags["mlflow.source.name"] = "dvc.yaml"
    del tags["command"]
    return str(client.create_run(experiment, tags=tags, run_name=f"pipeline {pipeline}").info.run_id)
