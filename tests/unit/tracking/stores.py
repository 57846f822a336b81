"""The tests' store: its configuration and its runs."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking import TrackingConfig
from pipelines.tracking.store import prepare_environment

prepare_environment()
mlflow = importlib.import_module("mlflow")


def undisturbed_settings(patch: pytest.MonkeyPatch) -> None:
    """Take away the settings from outside or of the test before; no store counts as lost on a busy machine."""
    for name in ("MLFLOW_TRACKING_URI", "GQBENCH_PIPELINE_RUN"):
        patch.delenv(name, raising=False)
    mlflow.set_tracking_uri(None)  # it is the whole process's, and takes the variable away
    patch.setattr("pipelines.tracking.store._PROBE_SECONDS", 600.0)
    patch.setattr("pipelines.tracking.keeping.PATIENCE_SECONDS", 600.0)
    patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")


def own_store() -> str:
    """Return the URI of the store in the working folder.

    Absolute: MLflow keeps its connections by URI, and a relative one may be that of an earlier test's folder.
    """
    return f"sqlite:///{Path('mlflow.db').resolve()}"


def config(experiment: str = "test", store: str | None = None, **changes: Any) -> TrackingConfig:
    values = {"enabled": True, "log_models": True} | changes
    return TrackingConfig(experiment=experiment, store=store or own_store(), **values)


def runs(experiment: str, store: str | None = None) -> list[Any]:
    """Return the runs of an experiment, oldest first."""
    client = mlflow.MlflowClient(store or own_store())
    found = client.get_experiment_by_name(experiment)
    return list(reversed(client.search_runs([found.experiment_id])))
