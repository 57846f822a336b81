"""Experiment tracking: one interface, MLflow behind it."""

from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.run import open_run
from pipelines.tracking.tracker import NullTracker, Tracker
from pipelines.tracking.vocabulary import Role

__all__ = ["NullTracker", "Role", "Tracker", "TrackingConfig", "open_run"]
