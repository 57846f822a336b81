"""Top-k sparsification with error feedback (Stich 2018, "Sparsified SGD with memory"; Aji and Heafield 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import number
from pipelines.parallel.compression.selection import largest
from pipelines.parallel.compression.sparse import (
    add_payloads,
    check_indices,
    entries_of,
    sparse_bytes,
    sparse_payload,
)
from pipelines.parallel.patterns import numel
from pipelines.parallel.strategies.bases.gathered import FeedbackStrategy
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class TopkOptions:
    """Keys of a `methods` entry with `strategy: topk`."""

    density: float
    """Share of the values that is sent; each takes eight bytes (fp32 value, int32 index)."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "density", above=0.0, most=1.0)


@STRATEGIES.register("topk")
class Topk(FeedbackStrategy):
    """Sends the k largest magnitudes of gradient plus residual over all large tensors (Stich 2018, algorithm 1).

    k = ceil(density * n). The residual keeps what was not sent.
    """

    Options = TopkOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Eight bytes for each of the values sent."""
        return sparse_bytes(entries_of(sum(numel(shape) for shape in large), self.options.density))

    def prepare(self) -> None:
        """Allocate the residual and the magnitudes, fp32 [n]."""
        super().prepare()
        check_indices(self.residual.numel())
        self.magnitudes = torch.empty_like(self.residual)
        self.num_entries = entries_of(self.residual.numel(), self.options.density)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Select, take the selected values out of the residual, and pack them with their indices."""
        self.residual.add_(large)
        torch.abs(self.residual, out=self.magnitudes)
        indices = largest(self.magnitudes, self.num_entries)
        values = self.residual[indices]
        self.residual.index_fill_(0, indices, 0.0)
        return sparse_payload(values, indices, self.num_entries)

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average the sparse vectors of all ranks."""
        add_payloads(payloads, large)
