"""The connection of one stage to its MLflow store: what fails there costs one warning and no result."""

import sys
from collections.abc import Callable
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipelines.tracking.store import without_password

# What a failing store raises: MLflow's own wrapper, and what it lets through of databases, files and uploads.
STORE_FAILURES = (MlflowException, SQLAlchemyError, OSError)
_Result = TypeVar("_Result")


class Connection:
    """A client of the store at `uri` and the experiment that runs go to.

    When the store fails, one warning is printed and nothing more is sent: results are files, and a training
    of hours must not end because a server did.
    """

    def __init__(self, client: mlflow.MlflowClient, uri: str, experiment: str) -> None:
        self.client = client
        self.uri = uri
        self.experiment = experiment
        """Id of the experiment."""
        self._lost = False

    def attempt(self, action: Callable[[], _Result]) -> _Result | None:
        """Return what `action` returns, or None where the store fails or has failed; the first failure is told."""
        if self._lost:
            return None
        try:
            return action()
        except STORE_FAILURES as error:
            self._lost = True
            print(
                f"warning: the MLflow store {without_password(self.uri)} no longer answers ({reason(error)}); "
                "this run is logged no further, its results are written as usual",
                file=sys.stderr,
                flush=True,
            )
            return None


def reason(error: BaseException) -> str:
    """Return the first line of an error's text, shortened."""
    return without_password(next(iter(str(error).splitlines()), type(error).__name__)[:200])
