"""Convergence of the parallel strategies: same data, seeds and steps, at any number of workers."""

from pipelines.experiments.convergence.config import ConvergenceConfig
from pipelines.experiments.convergence.job import ConvergenceJob

__all__ = ["ConvergenceConfig", "ConvergenceJob"]
