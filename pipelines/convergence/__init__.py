"""Convergence of the parallel strategies: same data, seeds and steps, at any number of workers."""

from pipelines.convergence.config import ConvergenceConfig
from pipelines.convergence.job import ConvergenceJob

__all__ = ["ConvergenceConfig", "ConvergenceJob"]
