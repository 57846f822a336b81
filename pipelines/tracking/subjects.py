"""The run of a finished training: found by what its result row says of it, or made."""

import hashlib

from mlflow.entities import Run

from pipelines.tracking.connection import Connection
from pipelines.tracking.source import source_tags
from pipelines.tracking.vocabulary import CURVE_SECONDS, Subject

FINISHED = "FINISHED"
PARENT_TAG = "mlflow.parentRunId"
IDENTITY_TAG = "gqbench.identity"
_DIGITS = 32  # digits, as many as those of a run's own


def find_run(connection: Connection, subject: Subject) -> Run | None:
    """Return the run that wrote the subject's row, or None where the store does not have it.

    Its tags must be the row's, and so must its seconds of training: a number that no two trainings share.
    """
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in subject.tags.items())
    for run in connection.client.search_runs([connection.experiment], wanted):
        if run.data.metrics.get(CURVE_SECONDS) == subject.row["train_seconds"]:
            return run
    return None


def make_run(connection: Connection, subject: Subject, parent: str | None) -> Run:
    """Return a finished run with the subject's tags, for a training whose results come from elsewhere.

    One that was made, but not filled in because the store failed, is found by its token.
    """
    identity = f"{sorted(subject.tags.items())} {subject.row['train_seconds']}"
    token = hashlib.sha256(identity.encode()).hexdigest()[:_DIGITS]
    run = run_with_token(connection, token)
    if run is None:
        tags = subject.tags | source_tags() | {IDENTITY_TAG: token}
        if parent is not None:
            tags[PARENT_TAG] = parent
        run = connection.client.create_run(connection.experiment, tags=tags, run_name=subject.item)
    if run.info.status != FINISHED:
        connection.client.set_terminated(run.info.run_id, FINISHED)
        run = connection.client.get_run(run.info.run_id)
    return run


def run_with_token(connection: Connection, token: str) -> Run | None:
    """Return the run that carries this token, or None."""
    wanted = f"tags.`{IDENTITY_TAG}` = '{token}'"
    return next(iter(connection.client.search_runs([connection.experiment], wanted, max_results=1)), None)


def logged_model(run: Run) -> str | None:
    """Return the id of the model that was stored with the run last, or None."""
    models = run.outputs.model_outputs if run.outputs else []
    return str(models[-1].model_id) if models else None
