"""Opening a run: the stage's own, below the one parent of its pipeline run."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.journal import Journal, pending
from pipelines.tracking.keeping import Delivery, KeepingTracker
from pipelines.tracking.opening import Opening
from pipelines.tracking.sending import report, send, send_all
from pipelines.tracking.store import prepare_environment, store_error, store_problem, store_uri
from pipelines.tracking.tracker import NullTracker, Tracker
from pipelines.tracking.vocabulary import Role

if TYPE_CHECKING:
    from pipelines.tracking.mlflow_tracker import MlflowTracker


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
    (Ctrl-C) or FAILED; runs that dead processes left behind are closed as KILLED.

    A store that is away, slow, locked or full, now or later, costs one warning: what is logged is kept in a journal and
    sent at the end, by the next stage or by `stages.track`. One that never can be used (no such folder, no database, an
    unknown scheme) raises UserError within seconds. MLflow is imported here, as that takes a second.
    """
    if not config.enabled:
        yield NullTracker()
        return
    uri, key = store_uri(config)
    labels = {"role": role, "stage": stage, **({"item": item} if item else {}), **tags}
    opening = Opening.here(config.experiment, stage, item, labels, resumes=resumes)
    delivery = Delivery(uri, Journal(opening), log_models=config.log_models)
    tracker = KeepingTracker(delivery, _reach(uri, key, opening, delivery))
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)
        delivery.journal.close()
        if delivery.lost and status != "KILLED":
            _send_late(config)


def _reach(uri: str, key: str, opening: Opening, delivery: Delivery) -> "MlflowTracker | None":
    """Return the run in the store; None, and a word to `delivery`, where the store is away for now."""
    problem = store_problem(uri, key)
    if problem is not None:
        delivery.lose(problem)
        return None
    prepare_environment()
    from pipelines.tracking.connection import STORE_FAILURES, Connection, open_client, passes, reason
    from pipelines.tracking.interrupted import close_dead_runs
    from pipelines.tracking.opened import open_run_of

    try:
        client = open_client(uri)
        if pending():  # first: what an earlier stage could not send may be what this one goes on with
            print(*report(send_all(client, uri)), sep="\n", file=sys.stderr, flush=True)
        connection = Connection.to(client, uri, opening.experiment)
        close_dead_runs(client, connection.experiment)
        return open_run_of(connection, opening)
    # ImportError: the driver of the database is not installed.
    except (*STORE_FAILURES, ImportError) as error:
        if isinstance(error, ImportError) or not passes(error):
            raise store_error(uri, key, reason(error)) from None
        delivery.lose(reason(error))
        return None


def _send_late(config: TrackingConfig) -> None:
    """Send what was kept, if the store answers again; otherwise it stays where it is."""
    with contextlib.suppress(UserError):
        print(*report(send(config)), sep="\n", file=sys.stderr, flush=True)
