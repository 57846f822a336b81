"""The sweep: step times of every strategy on links that are really slow, emulated on one machine."""

from pipelines.experiments.sweep.config import MoreWorkersConfig, SlowLinkConfig, SweepConfig
from pipelines.experiments.sweep.job import SweepJob

__all__ = ["MoreWorkersConfig", "SlowLinkConfig", "SweepConfig", "SweepJob"]
