"""Parallel strategies and the distributed runs that compare them."""

from pipelines.parallel.config import DistributedConfig
from pipelines.parallel.run.job import Job

__all__ = ["DistributedConfig", "Job"]
