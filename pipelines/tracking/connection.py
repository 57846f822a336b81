"""The connection of one stage to its MLflow store, and what a failing one raises."""

import fcntl
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from pipelines.tracking.experiment import open_experiment
from pipelines.tracking.store import without_password

# What a failing store raises: MLflow's own wrapper, and what it lets through of databases, files and uploads.
STORE_FAILURES = (MlflowException, SQLAlchemyError, OSError)
_SERVERS_OWN = 500  # from here on a status speaks of the server, not of what it was asked
_TOO_MANY_REQUESTS = 429


def open_client(uri: str) -> mlflow.MlflowClient:
    """Return a client of the store at `uri`, one process of this user at a time.

    The first client of an empty database makes its tables, step by step; a second one that starts meanwhile fails in
    the middle of it, as MLflow 3.17 holds no lock here.
    """
    database = os.path.abspath(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:") else uri
    name = f"gqbench-store-{os.getuid()}-{hashlib.sha256(database.encode()).hexdigest()[:16]}.lock"
    with (Path(tempfile.gettempdir()) / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return mlflow.MlflowClient(uri)


@dataclass(frozen=True)
class Connection:
    """A client of the store at `uri` and the id of the experiment that runs go to. Calls raise STORE_FAILURES."""

    client: mlflow.MlflowClient
    uri: str
    experiment: str

    @classmethod
    def to(cls, client: mlflow.MlflowClient, uri: str, experiment: str) -> "Connection":
        """Return the connection to the experiment of that name, made where it is missing."""
        return cls(client, uri, open_experiment(client, experiment, uri))


def reason(error: BaseException) -> str:
    """Return the first line of an error's text, shortened."""
    return without_password(next(iter(str(error).splitlines()), type(error).__name__)[:200])


def passes(error: BaseException) -> bool:
    """Whether the same call may succeed later: the store is away, busy or full, and has not refused it."""
    if isinstance(error, MlflowException):
        status = int(error.get_http_status_code())
        return status >= _SERVERS_OWN or status == _TOO_MANY_REQUESTS
    return isinstance(error, OperationalError | OSError)
