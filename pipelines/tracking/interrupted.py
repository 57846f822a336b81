"""Runs whose process died without a word (SIGKILL, power): closed, or gone on with by the stage that resumes."""

from mlflow import MlflowClient
from mlflow.entities import Run

from pipelines.tracking.owner import Owner
from pipelines.tracking.vocabulary import CURVE_SECONDS

OWNER_TAG = "gqbench.owner"
CHECKOUT_TAG = "gqbench.checkout"


def close_dead_runs(client: MlflowClient, experiment: str) -> None:
    """Set every run of a dead process from RUNNING to KILLED, ended when it was last heard of.

    A run whose process lives, or is another machine's, of which nothing is certain, is left alone.
    """
    for run in _all(client, experiment, "attributes.status = 'RUNNING'"):
        owner = Owner.parse(run.data.tags.get(OWNER_TAG, ""))
        if owner is not None and owner.is_dead():
            client.set_terminated(run.info.run_id, "KILLED", end_time=_last_sign_of_life(client, run))


def interrupted_run(client: MlflowClient, experiment: str, tags: dict[str, str], checkout: str) -> Run | None:
    """Return the last run with these tags from `checkout` if it did not finish and no process works on it."""
    wanted = tags | {CHECKOUT_TAG: checkout}
    filters = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
    found = client.search_runs([experiment], filters, max_results=1)
    return found[0] if found and found[0].info.status in ("KILLED", "FAILED") else None


def _all(client: MlflowClient, experiment: str, filters: str) -> list[Run]:
    runs: list[Run] = []
    page = client.search_runs([experiment], filters)
    while True:
        runs += page
        if not page.token:
            return runs
        page = client.search_runs([experiment], filters, page_token=page.token)


def _last_sign_of_life(client: MlflowClient, run: Run) -> int:
    """Return when the run was last written to (milliseconds), as far as its curves tell."""
    if CURVE_SECONDS not in run.data.metrics:
        return int(run.info.start_time)
    history = client.get_metric_history(run.info.run_id, CURVE_SECONDS)
    return max(int(metric.timestamp) for metric in history)
