"""The run in the store that an opening stands for: found there, or made."""

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag

from pipelines.tracking.connection import Connection
from pipelines.tracking.interrupted import CHECKOUT_TAG, OWNER_TAG, interrupted_run
from pipelines.tracking.mlflow_tracker import MlflowTracker
from pipelines.tracking.opening import Opening
from pipelines.tracking.subjects import IDENTITY_TAG, PARENT_TAG, run_with_token
from pipelines.tracking.vocabulary import Role

PIPELINE_TAG = "gqbench.pipeline_run"


def open_run_of(connection: Connection, opening: Opening) -> MlflowTracker:
    """Return a tracker for the run of `opening`, set to RUNNING.

    It is the run that carries its token; else, where it resumes, that of the interrupted work; else a new one. Raises
    what the store raises (`STORE_FAILURES`).
    """
    client, experiment = connection.client, connection.experiment
    parent = _parent(client, experiment, opening)
    tags = opening.labels | opening.origin
    tags |= {IDENTITY_TAG: opening.token, CHECKOUT_TAG: opening.checkout, OWNER_TAG: opening.owner}
    if parent is not None:
        tags[PARENT_TAG] = parent
    found = run_with_token(connection, opening.token)
    if found is None and opening.resumes:
        found = interrupted_run(client, experiment, opening.labels, opening.checkout)
    if found is None:
        run = client.create_run(experiment, opening.started, tags, opening.name)
    else:
        run = _go_on(client, found, tags)
    return MlflowTracker(connection, run, parent)


def _go_on(client: MlflowClient, found: Run, tags: dict[str, str]) -> Run:
    run_id = found.info.run_id
    # The user who began it stays: MLflow lets that tag not be changed.
    kept = [RunTag(tag, value) for tag, value in tags.items() if tag != "mlflow.user"]
    client.log_batch(run_id, tags=kept)
    client.update_run(run_id, status="RUNNING")
    return client.get_run(run_id)


def _parent(client: MlflowClient, experiment: str, opening: Opening) -> str | None:
    """Return the id of the pipeline run's parent, made where it is missing; None outside a pipeline run."""
    if opening.pipeline is None:
        return None
    wanted = f"tags.`{PIPELINE_TAG}` = '{opening.pipeline}' and tags.role = '{Role.PIPELINE}'"
    found = client.search_runs([experiment], wanted, max_results=1)
    if found:
        run_id = str(found[0].info.run_id)
        client.set_tag(run_id, OWNER_TAG, opening.pipeline_owner)
        client.update_run(run_id, status="RUNNING")
        return run_id
    tags = opening.origin | {
        "role": Role.PIPELINE,
        PIPELINE_TAG: opening.pipeline,
        OWNER_TAG: opening.pipeline_owner,
    }
    # The first stage makes this run, which stands for all of them.
    tags["mlflow.source.name"] = "dvc.yaml"
    del tags["command"]
    run = client.create_run(experiment, opening.started, tags, f"pipeline {opening.pipeline}")
    return str(run.info.run_id)
