"""Send what journals keep to the store: each record once, the oldest run first."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.journal import REFUSED, Record, locked, pending, read
from pipelines.tracking.keeping import PIPELINE
from pipelines.tracking.store import check_store, prepare_environment, store_error, store_uri
from pipelines.tracking.vocabulary import Role, Subject

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.tracking.mlflow_tracker import MlflowTracker


@dataclass
class Sent:
    """What became of the journals."""

    runs: int = 0
    calls: int = 0
    held: int = 0
    """Journals that a living process still writes, or another one sends."""
    refused: dict[Path, str] = field(default_factory=dict)
    """Folders that the store did not take, with the reason; renamed, nothing of them is lost."""


def send(config: TrackingConfig) -> Sent:
    """Send all journals of this checkout to the store; UserError where it cannot be used, the rest then stays."""
    if not pending():
        return Sent()
    uri, key = store_uri(config)
    check_store(uri, key)
    prepare_environment(patient=True)
    from pipelines.tracking.connection import STORE_FAILURES, open_client, reason

    try:
        return send_all(open_client(uri), uri)
    except (*STORE_FAILURES, ImportError) as error:
        raise store_error(uri, key, reason(error)) from None


def send_all(client: "MlflowClient", uri: str) -> Sent:
    """Send the journals through `client`; raises what the store raises where it is away (`passes`)."""
    from pipelines.tracking.connection import STORE_FAILURES, passes, reason

    sent = Sent()
    for folder in pending():
        with locked(folder) as free:
            if not free:
                sent.held += folder.exists()
                continue
            try:
                record = read(folder)
                _send(client, uri, record)
            except (ValueError, OSError, *STORE_FAILURES) as error:
                if not isinstance(error, ValueError) and passes(error):
                    raise
                refused = folder.with_name(folder.name + REFUSED)
                folder.rename(refused)
                sent.refused[refused] = reason(error)
                continue
            sent.runs += 1
            sent.calls += len(record.calls)
            shutil.rmtree(folder)
    return sent


def _send(client: "MlflowClient", uri: str, record: Record) -> None:
    """Make the calls of a journal on the runs that they are of."""
    from pipelines.tracking.connection import Connection
    from pipelines.tracking.opened import open_run_of

    opening = record.opening
    own = open_run_of(Connection.to(client, uri, opening.experiment), opening)
    trackers: dict[str, MlflowTracker] = {}
    last = opening.started
    ended = False
    for call in record.calls:
        key = json.dumps(call.target, sort_keys=True)
        if key not in trackers:
            trackers[key] = _tracker(own, call.target)
        getattr(trackers[key], call.name)(**call.arguments)
        last = call.moment
        ended = ended or call.name == "end"
    if not ended:  # its process was killed
        own.end("KILLED", last)


def _tracker(own: "MlflowTracker", target: Any) -> "MlflowTracker":
    if target is None:
        return own
    if target == PIPELINE:
        return own.pipeline()
    values = dict(target["subject"])
    values["role"] = Role(values["role"])
    return own.run_of(Subject(**values), target["moment"])


def report(sent: Sent) -> list[str]:
    """Return what became of the journals, a line each."""
    lines = [f"sent {sent.runs} runs ({sent.calls} records)"]
    if sent.held:
        lines.append(f"{sent.held} runs are still being written; send them when they have ended")
    for folder, why in sent.refused.items():
        lines.append(f"error: the store refused {folder} ({why}); it is kept there and not sent again")
    return lines
