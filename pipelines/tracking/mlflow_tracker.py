"""The tracker that writes to an MLflow run and never stops the work when the store fails."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from pipelines.tracking.models import log_pytorch_model
from pipelines.tracking.store import without_password

# Limits of MLflow's batch requests and of a stored parameter value (characters).
_MAX_PARAMS = 100
_MAX_METRICS = 1000
_MAX_VALUE = 6000
# What a failing store raises: MLflow's own wrapper, and what it lets through of databases, files and uploads.
STORE_FAILURES = (MlflowException, SQLAlchemyError, OSError)


class MlflowTracker:
    """Logs to the MLflow run `run_id`.

    When the store fails, one warning is printed and nothing more is sent: results are files, and a training
    of hours must not end because a server did.
    """

    def __init__(self, client: mlflow.MlflowClient, uri: str, run_id: str, log_models: bool) -> None:
        self._client = client
        self._uri = uri
        self.run_id = run_id
        self._log_models = log_models
        self._lost = False

    def attempt(self, action: Callable[[], None]) -> None:
        """Run `action` unless the store has failed before; a failure prints one warning and is the last try."""
        if self._lost:
            return
        try:
            action()
        except STORE_FAILURES as error:
            self._lost = True
            reason = str(error).splitlines()[0][:200]
            print(
                f"warning: the MLflow store {without_password(self._uri)} no longer answers ({reason}); "
                "this run is logged no further, its results are written as usual",
                file=sys.stderr,
                flush=True,
            )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones under dotted names."""
        flat = [Param(key, str(value)[:_MAX_VALUE]) for key, value in _flatten(params)]
        for start in range(0, len(flat), _MAX_PARAMS):
            batch = flat[start : start + _MAX_PARAMS]
            self.attempt(partial(self._client.log_batch, self.run_id, params=batch))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at `step`; None is step 0."""
        now = int(time.time() * 1000)
        rows = [Metric(key, float(value), now, step or 0) for key, value in metrics.items()]
        for start in range(0, len(rows), _MAX_METRICS):
            batch = rows[start : start + _MAX_METRICS]
            self.attempt(partial(self._client.log_batch, self.run_id, metrics=batch))

    def log_figure(self, path: Path) -> None:
        """Store the picture under `figures`."""
        self.attempt(lambda: self._client.log_artifact(self.run_id, str(path), "figures"))

    def log_artifact(self, path: Path) -> None:
        """Store a file, or a folder under its name."""
        if path.is_dir():
            self.attempt(lambda: self._client.log_artifacts(self.run_id, str(path), path.name))
        else:
            self.attempt(lambda: self._client.log_artifact(self.run_id, str(path)))

    def log_model(self, model: nn.Module, example: npt.NDArray[np.float32]) -> None:
        """Store the model under the name `model`, if `tracking.log_models` says so."""
        if self._log_models:
            self.attempt(lambda: log_pytorch_model(self._uri, self.run_id, model, example))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, as text."""
        entries = [RunTag(key, str(value)) for key, value in tags.items()]
        self.attempt(lambda: self._client.log_batch(self.run_id, tags=entries))

    def end(self, run_id: str, status: str) -> None:
        """Set the final status of a run (the stage's own or its parent): FINISHED, FAILED or KILLED."""
        self.attempt(lambda: self._client.set_terminated(run_id, status))


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested mapping with dotted names."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
