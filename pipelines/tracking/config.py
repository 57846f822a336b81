"""Parameters of experiment tracking."""

from dataclasses import dataclass

from pipelines.config import require


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Section `tracking`: whether and where runs are logged. It changes no result, so DVC does not watch it."""

    enabled: bool
    """Whether runs are logged to MLflow at all."""
    experiment: str
    """Name of the MLflow experiment."""
    store: str
    """MLflow tracking URI, such as sqlite:///mlflow.db or http://host:5000; MLFLOW_TRACKING_URI overrides it."""
    log_models: bool
    """Whether trained models are stored with the run (their size and about a second each)."""

    def __post_init__(self) -> None:
        require(bool(self.experiment.strip()), "experiment", self.experiment, "a name")
        require(bool(self.store.strip()), "store", self.store, "an MLflow tracking URI")
