"""Synchronous data parallelism with gradient quantization (GQ) and error feedback."""

from dataclasses import dataclass
from typing import Any

import horovod.torch as hvd
from torch import nn

from horovod_gq import GQ
from pipelines.config import choice
from pipelines.parallel.metered import Compression
from pipelines.parallel.strategy import STRATEGIES
from pipelines.parallel.synchronous import SynchronousStrategy

WIRE_WIDTHS = (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class GqOptions:
    """Keys of a `methods` entry with `strategy: gq`."""

    wire_bits: int
    """Bits that a gradient element takes on the wire; the ratio to fp32 is 32 / wire_bits."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        choice("wire_bits", self.wire_bits, WIRE_WIDTHS)


@STRATEGIES.register("gq")
class Gq(SynchronousStrategy):
    """Sums packed integers of `wire_bits` bits; what rounding loses is fed back in the next step."""

    Options = GqOptions

    def make_compression(self, model: nn.Module, /) -> tuple[Compression, Any]:
        """Bind a GQ compression to `model`; it divides by the number of workers itself, hence Sum."""
        self.compression = GQ(wire_bits=self.options.wire_bits).bind(model)
        return self.compression, hvd.Sum

    def state_dict(self) -> dict[str, Any]:
        """Return residuals and scales of every parameter."""
        return dict(self.compression.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore residuals and scales; raises ValueError where they do not fit the model."""
        self.compression.load_state_dict(state)
