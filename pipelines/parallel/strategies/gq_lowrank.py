"""Low-rank gradients whose factors travel through GQ (PowerSGD, Vogels 2019, with quantized sums)."""

from dataclasses import dataclass, replace
from typing import Any

from horovod_gq import GQConfig
from horovod_gq.config import MAX_FACTOR_RANK, WIRE_WIDTHS
from pipelines.config import choice, whole
from pipelines.parallel.strategies.bases.bucketed import BucketedStrategy
from pipelines.parallel.strategies.bases.gq_options import GqOptions
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class GqLowrankOptions(GqOptions):
    """Keys of a `methods` entry with `strategy: gq_lowrank`."""

    factor_rank: int
    """Columns of the two factors of a matrix."""
    factor_bits: int
    """Bits that a value of a factor takes on the wire. `wire_bits` is for matrices that factors make no smaller."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        super().__post_init__()
        whole(self, "factor_rank", most=MAX_FACTOR_RANK)
        choice("factor_bits", self.factor_bits, WIRE_WIDTHS)

    @property
    def config(self) -> GQConfig:
        """The settings of the plugin."""
        return replace(
            super().config, form="lowrank", factor_rank=self.factor_rank, factor_bits=self.factor_bits
        )


@STRATEGIES.register("gq_lowrank")
class GqLowrank(BucketedStrategy):
    """Sums P = M Q and Q = M^T P as packed integers; the residual takes what rank and rounding lose.

    Replicas stay bit-identical on unlike processors, because all that the workers compute alike is exact
    (`horovod_gq.factors`).
    """

    Options = GqLowrankOptions

    def settings(self) -> tuple[GQConfig, dict[str, Any]]:
        """Return the settings of GQ; the mode is the synchronous one."""
        return self.options.config, {}
