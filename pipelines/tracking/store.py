"""The MLflow store: checked before MLflow is asked, for its own retries take minutes."""

import contextlib
import os
import re
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.errors import UserError
from pipelines.network import unreachable
from pipelines.tracking.config import TrackingConfig

URI_VARIABLE = "MLFLOW_TRACKING_URI"
ARTIFACT_FOLDER = Path("mlartifacts")
_PROBE_SECONDS = 5.0
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_WAYS_OUT = "start that server or mend the path, choose another store, or set tracking.enabled: false"

# Set before MLflow is imported, unless the user has set them.
_ENVIRONMENT = {
    # No usage data leaves the machine.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # MLflow's defaults (7 retries, 120 s each) would hold up training for minutes when a server goes away, and a
    # request that is made twice because its answer was late makes two runs. What fails goes into a journal instead.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Its messages would tear the progress bars.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def prepare_environment(*, patient: bool = False) -> None:
    """Set the variables that keep MLflow quiet, quick and offline, where the user has not set them.

    A `patient` command waits for an answer as long as MLflow does by default.
    """
    if patient:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def store_uri(config: TrackingConfig) -> tuple[str, str]:
    """Return the tracking URI and the key it comes from: the environment variable goes before the parameter."""
    from_environment = os.environ.get(URI_VARIABLE)
    if from_environment:
        return from_environment, URI_VARIABLE
    return config.store, "tracking.store"


def check_store(uri: str, key: str) -> None:
    """Raise UserError within seconds if nothing answers at a server's URI or a local store cannot be written."""
    problem = store_problem(uri, key)
    if problem:
        raise store_error(uri, key, problem)


def store_problem(uri: str, key: str) -> str | None:
    """Return, within seconds, why the store cannot be used now, or None; UserError where it never can be used."""
    try:
        parts = urlsplit(uri)
        port = parts.port or _DATABASE_PORTS.get(parts.scheme.partition("+")[0])
    except ValueError as error:  # brackets without an address, or a port that is no number
        raise store_error(uri, key, f"it is no URI: {error}") from None
    if parts.scheme in ("http", "https"):
        return unreachable(uri.rstrip("/") + "/health", _PROBE_SECONDS)
    if parts.scheme == "sqlite":
        return _sqlite_problem(uri, key)
    if parts.hostname and port:
        return _database_problem(parts.hostname, port)
    return None


def store_error(uri: str, key: str, problem: str) -> UserError:
    """Return the one line about a store that cannot be used."""
    problem = without_password(problem)
    return UserError(
        f"{key}: the MLflow store {without_password(uri)} cannot be used ({problem}); {_WAYS_OUT}"
    )


def without_password(text: str) -> str:
    """Return `text` with the password, or the token, of every URI in it replaced by ***."""
    text = re.sub(r"(://[^:/@\s]+):\S*@", r"\1:***@", text)
    text = re.sub(r"://:?[^:/@\s]+@", "://***@", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:passw|pwd|token|secret|key)[^=&\s]*=)[^&\s]+", r"\1***", text)


def _sqlite_problem(uri: str, key: str) -> str | None:
    """Say why the file of sqlite:///relative or sqlite:////absolute cannot be written now, or None."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.parent.is_dir():
        raise store_error(uri, key, f"the folder {path.parent} does not exist")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_PROBE_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:  # locked, or no room, or no right to write
        return str(error)
    except sqlite3.Error as error:
        raise store_error(uri, key, str(error)) from None
    return None


def _database_problem(host: str, port: int) -> str | None:
    """Say why nothing can be reached at a database server's port, or None."""
    try:
        socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        return str(error)
    return None
