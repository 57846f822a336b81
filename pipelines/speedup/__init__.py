"""Speed-up analysis of the distributed runs."""

from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.stage import analyse

__all__ = ["SpeedupConfig", "analyse"]
