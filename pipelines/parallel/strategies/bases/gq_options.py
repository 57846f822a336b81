"""Options that the strategies with GQ share."""

from dataclasses import dataclass

from horovod_gq import GQConfig
from horovod_gq.config import EXCHANGES, WIRE_WIDTHS
from pipelines.config import choice


@dataclass(frozen=True, kw_only=True)
class GqOptions:
    """Keys of a `methods` entry of every strategy with GQ; what is not named here is GQ's own default."""

    wire_bits: int
    """Bits that a gradient element takes on the wire; the ratio to fp32 is 32 / wire_bits."""
    exchange: str
    """`allreduce` sums packed words; `scatter_reduce_allgather` has bytes independent of the workers."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        choice("wire_bits", self.wire_bits, WIRE_WIDTHS)
        choice("exchange", self.exchange, EXCHANGES)

    @property
    def config(self) -> GQConfig:
        """The settings of the plugin."""
        return GQConfig(wire_bits=self.wire_bits, exchange=self.exchange)
