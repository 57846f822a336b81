"""GQ with a parameter averaging interval: local steps between the exchanges."""

from dataclasses import dataclass
from typing import Any

from horovod_gq import GQConfig
from pipelines.config import whole
from pipelines.config.validate import MOST_STEPS
from pipelines.parallel.strategies.bases.bucketed import BucketedStrategy
from pipelines.parallel.strategies.bases.gq_options import GqOptions
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class GqIntervalOptions(GqOptions):
    """Keys of a `methods` entry with `strategy: gq_interval`."""

    averaging_interval: int
    """Local steps H between two averages of the parameters; 1 is `gq`."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        super().__post_init__()
        whole(self, "averaging_interval", most=MOST_STEPS)


@STRATEGIES.register("gq_interval")
class GqInterval(BucketedStrategy):
    """Every worker makes H local steps, then the parameters' change is averaged through GQ (local SGD, Stich 2019).

    Momentum stays local. `flush` averages early when local steps have been made since the last average.
    """

    Options = GqIntervalOptions
    synchronous = False

    @property
    def steps_per_exchange(self) -> int:
        """The interval H."""
        return int(self.options.averaging_interval)

    def settings(self) -> tuple[GQConfig, dict[str, Any]]:
        """Return the settings of GQ and the interval."""
        return self.options.config, {"averaging_interval": self.options.averaging_interval}
