"""1-bit SGD: one bit a value, two means a tensor, error feedback (Seide 2014)."""

from collections.abc import Sequence

import torch

from pipelines.parallel.compression.flat_gradients import split
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.patterns import FLOAT_BYTES, numel
from pipelines.parallel.strategies.bases.gathered import FeedbackStrategy, as_bytes
from pipelines.parallel.strategy import STRATEGIES


@STRATEGIES.register("onebit")
class Onebit(FeedbackStrategy):
    """Sends for each value whether it is negative, and for each tensor the mean of those that are and are not.

    p = g + e; a value stands for the mean of its kind; e = p minus that (paper, section 3.1, threshold 0). The paper
    has two means for each column of a matrix; a convolution's are so short that the means would outweigh the bits.
    """

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count two means a tensor, and a bit a value."""
        return 2 * FLOAT_BYTES * len(large) + packed_bytes(sum(numel(shape) for shape in large), 1)

    def prepare(self) -> None:
        """Allocate the residual, a buffer of its size, and the sign bits, 1 byte a value."""
        super().prepare()
        self.sent = torch.empty_like(self.residual)
        self.negative = torch.empty_like(self.residual, dtype=torch.bool)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Take signs and means of gradient plus residual, and what they stand for out of the residual."""
        self.residual.add_(large)
        torch.signbit(self.residual, out=self.negative)
        means = self._means()
        self._fill(means, self.negative, self.sent)
        self.residual.sub_(self.sent)
        return torch.cat([as_bytes(means), pack(self.negative.view(torch.uint8), 1)])

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        header = 2 * FLOAT_BYTES * len(self.gradients.shapes)
        large.zero_()
        for payload in payloads:
            unpack(payload[header:], 1, self.negative.view(torch.uint8))
            self._fill(
                payload[:header].view(torch.float32).view(-1, 2) / len(payloads), self.negative, self.sent
            )
            large.add_(self.sent)

    def _means(self) -> torch.Tensor:
        """Return fp32 [tensors, 2]: the mean of the values that are not negative, and of those that are."""
        found = []
        tensors = split(self.residual, self.gradients.shapes)
        for tensor, negative in zip(tensors, split(self.negative, self.gradients.shapes), strict=True):
            count = negative.sum()
            total, positive = tensor.sum(), tensor.clamp(min=0.0).sum()
            rest = tensor.numel() - count
            found.append(torch.stack([positive / rest.clamp(min=1), (total - positive) / count.clamp(min=1)]))
        return torch.stack(found) if found else self.residual.new_zeros(0, 2)

    def _fill(self, means: torch.Tensor, negative: torch.Tensor, out: torch.Tensor) -> None:
        """Write to `out` the mean that each value stands for."""
        shapes = self.gradients.shapes
        for pair, mask, part in zip(means, split(negative, shapes), split(out, shapes), strict=True):
            part.copy_(mask).mul_(pair[1] - pair[0]).add_(pair[0])
