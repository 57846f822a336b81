"""Options that the strategies with GQ share."""

from dataclasses import dataclass

from horovod_gq import GQConfig
from horovod_gq.config import EXCHANGES, SMALL_WIDTHS, WIRE_WIDTHS
from horovod_gq.layout import ROW
from pipelines.config import choice, require

MOST_GROUP = 2**30


@dataclass(frozen=True, kw_only=True)
class GqOptions:
    """Keys of a `methods` entry of every strategy with GQ; what is not named here is GQ's own default."""

    wire_bits: int
    """Bits that a gradient element takes on the wire; the ratio to fp32 is 32 / wire_bits."""
    exchange: str
    """`allreduce` sums packed words; `scatter_reduce_allgather` has bytes independent of the workers."""
    small_bits: int = GQConfig.small_bits
    """Bits of a value of 1-D tensors and of those under 1,024 values: 8, 16, or 32 for fp32."""
    scale_group: int | None = GQConfig.scale_group
    """Values that share a scale, a multiple of 128; null: a tensor has one scale."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        choice("wire_bits", self.wire_bits, WIRE_WIDTHS)
        choice("exchange", self.exchange, EXCHANGES)
        choice("small_bits", self.small_bits, SMALL_WIDTHS)
        group = self.scale_group
        fits = group is None or (ROW <= group <= MOST_GROUP and group % ROW == 0)
        require(fits, "scale_group", group, f"null or a multiple of {ROW}, at most {MOST_GROUP}")

    @property
    def config(self) -> GQConfig:
        """The settings of the plugin."""
        return GQConfig(
            wire_bits=self.wire_bits,
            exchange=self.exchange,
            small_bits=self.small_bits,
            scale_group=self.scale_group,
        )
