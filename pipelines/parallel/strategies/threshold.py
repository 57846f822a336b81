"""Threshold sparsification with error feedback: what is large enough is sent (Strom 2015; Aji and Heafield 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import number
from pipelines.parallel.compression.sparse import (
    add_payloads,
    check_indices,
    entries_of,
    sparse_bytes,
    sparse_payload,
)
from pipelines.parallel.patterns import numel
from pipelines.parallel.strategies.bases.gathered import AgreedStrategy, FeedbackStrategy, round_up
from pipelines.parallel.strategy import STRATEGIES

STRIDE = 64
"""Messages have room for a multiple of so many entries."""


@dataclass(frozen=True, kw_only=True)
class ThresholdOptions:
    """Keys of a `methods` entry with `strategy: threshold`."""

    threshold: float
    """Values of at least this magnitude are sent; eight bytes each (fp32 value, int32 index)."""
    expected_density: float
    """Share of the values that is expected to pass: for the expected bytes before a run, which counts what it sends."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "threshold", least=0.0, most=1e20)
        number(self, "expected_density", above=0.0, most=1.0)


@STRATEGIES.register("threshold")
class Threshold(AgreedStrategy, FeedbackStrategy):
    """Sends every value of gradient plus residual whose magnitude reaches the threshold; the residual keeps the rest.

    The room of a message is in entries.
    """

    Options = ThresholdOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Eight bytes an entry: as many as the last message had room for, or as are expected."""
        if self.room is not None:
            return sparse_bytes(self.room)
        num_values = sum(numel(shape) for shape in large)
        return sparse_bytes(rounded(entries_of(num_values, self.options.expected_density), num_values))

    def prepare(self) -> None:
        """Allocate the residual and the magnitudes, fp32 [n]."""
        super().prepare()
        check_indices(self.residual.numel())
        self.magnitudes = torch.empty_like(self.residual)

    def select(self, large: torch.Tensor, /) -> int:
        """Find what reaches the threshold."""
        self.residual.add_(large)
        torch.abs(self.residual, out=self.magnitudes)
        self.indices = (self.magnitudes >= self.options.threshold).nonzero().view(-1)
        return int(self.indices.numel())

    def room_for(self, most: int, /) -> int:
        """Round up to a multiple of `STRIDE`."""
        return rounded(most, self.residual.numel())

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:  # noqa: ARG002 - the residual has it already
        """Take the selected values out of the residual, and pack them with their indices."""
        assert self.room is not None
        values = self.residual[self.indices]
        self.residual.index_fill_(0, self.indices, 0.0)
        return sparse_payload(values, self.indices, self.room)

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average the sparse vectors of all ranks."""
        add_payloads(payloads, large)


def rounded(count: int, num_values: int) -> int:
    """Return `count` rounded up to a multiple of `STRIDE`, at most `num_values`."""
    return min(num_values, round_up(count, STRIDE))
