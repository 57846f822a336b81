"""Adaptive quantization: a fixed share of the values, as two means a tensor, error feedback (Dryden 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import number
from pipelines.parallel.compression.flat_gradients import split
from pipelines.parallel.compression.sparse import check_indices, entries_of
from pipelines.parallel.patterns import FLOAT_BYTES, numel
from pipelines.parallel.strategies.bases.gathered import FeedbackStrategy, as_bytes
from pipelines.parallel.strategy import STRATEGIES

ENTRY_BYTES = 4
NEGATIVE = -(2**31)
"""The highest bit of an index."""


@dataclass(frozen=True, kw_only=True)
class AdaqOptions:
    """Keys of a `methods` entry with `strategy: adaq`."""

    density: float
    """Share of the values of each tensor that is sent; four bytes each: index and sign."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "density", above=0.0, most=1.0)


@STRATEGIES.register("adaq")
class Adaq(FeedbackStrategy):
    """Sends which values of a tensor lie farthest out on either side, and the mean of either side.

    Of k = ceil(density n) values those above zero get their share of all values. So both thresholds adapt to the
    tensor (paper, section 4), by selection here instead of by a sample. p = g + e; e = p minus the means where sent.
    """

    Options = AdaqOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count two means a tensor, and four bytes an entry."""
        entries = sum(entries_of(numel(shape), self.options.density) for shape in large)
        return 2 * FLOAT_BYTES * len(large) + ENTRY_BYTES * entries

    def prepare(self) -> None:
        """Allocate the residual; count the entries of each tensor."""
        super().prepare()
        check_indices(self.residual.numel())
        shapes = self.gradients.shapes
        counts = [entries_of(shape.numel(), self.options.density) for shape in shapes]
        self.counts = torch.tensor(counts, device=self.residual.device)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Select on both sides, and take the means out of the residual."""
        self.residual.add_(large)
        found, means, start = [], [], 0
        tensors = [tensor.view(-1) for tensor in split(self.residual, self.gradients.shapes)]
        for tensor, count in zip(tensors, self.counts.tolist(), strict=True):
            above = round(count * int((tensor > 0).sum()) / tensor.numel())
            sides = [
                torch.topk(tensor, wanted, largest=largest, sorted=False)
                for wanted, largest in ((above, True), (count - above, False))
            ]
            for (values, indices), mark in zip(sides, (0, NEGATIVE), strict=True):
                mean = values.sum() / max(1, values.numel())
                tensor.index_add_(0, indices, mean.expand(values.numel()), alpha=-1.0)
                found.append((indices + start).to(torch.int32) | mark)
                means.append(mean)
            start += tensor.numel()
        if not found:
            return large.new_zeros(0, dtype=torch.uint8)
        return torch.cat([as_bytes(torch.stack(means)), as_bytes(torch.cat(found))])

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        header = 2 * FLOAT_BYTES * self.counts.numel()
        large.zero_()
        for payload in payloads:
            codes = payload[header:].view(torch.int32)
            means = payload[:header].view(torch.float32).view(-1, 2).repeat_interleave(self.counts, 0)
            values = torch.where(codes < 0, means[:, 1], means[:, 0])
            large.index_add_(0, codes & ~NEGATIVE, values, alpha=1.0 / len(payloads))
