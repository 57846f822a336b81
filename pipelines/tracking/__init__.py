"""Experiment tracking: one interface, MLflow behind it."""

from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.run import open_run
from pipelines.tracking.tracker import NullTracker, Tracker

__all__ = ["NullTracker", "Tracker", "TrackingConfig", "open_run"]
