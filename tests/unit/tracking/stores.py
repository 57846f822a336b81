"""The tests' store: its configuration and its runs."""

import importlib
from typing import Any

from pipelines.tracking import TrackingConfig
from pipelines.tracking.store import prepare_environment

prepare_environment()
mlflow = importlib.import_module("mlflow")
STORE = "sqlite:///mlflow.db"


def config(experiment: str = "test", store: str = STORE, **changes: Any) -> TrackingConfig:
    values = {"enabled": True, "log_models": True} | changes
    return TrackingConfig(experiment=experiment, store=store, **values)


def runs(experiment: str, store: str = STORE) -> list[Any]:
    """Return the runs of an experiment, oldest first."""
    client = mlflow.MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    return list(reversed(client.search_runs([found.experiment_id])))
