"""Time to accuracy: whole trainings between emulated nodes on a slow link, by several methods and seeds."""

from pipelines.experiments.time_to_accuracy.config import TimeToAccuracyConfig

__all__ = ["TimeToAccuracyConfig"]
