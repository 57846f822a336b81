"""Quantile sketch: each value as the number of its quantile bucket, no error feedback (SketchML, Jiang 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import whole
from pipelines.parallel.compression.flat_gradients import split
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.patterns import FLOAT_BYTES, numel
from pipelines.parallel.strategies.bases.gathered import GatheredStrategy, as_bytes
from pipelines.parallel.strategy import STRATEGIES

SAMPLES = 8192
"""Values of a tensor that its quantiles are taken of."""


@dataclass(frozen=True, kw_only=True)
class SketchOptions:
    """Keys of a `methods` entry with `strategy: sketch`."""

    bits: int
    """Bits of a bucket's number: 2^bits buckets a tensor."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "bits", most=8)


@STRATEGIES.register("sketch")
class Sketch(GatheredStrategy):
    """Sends for each value the bucket that it lies in, and for each bucket the mean of its values.

    The buckets of a tensor hold about equally many values (paper, section 3.2: quantile-bucket quantification). The
    paper's hashing of bucket numbers and coding of keys are for sparse gradients; here every value is sent.
    """

    Options = SketchOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count a mean a bucket, and packed numbers of buckets."""
        num_values = sum(numel(shape) for shape in large)
        return FLOAT_BYTES * self.num_buckets * len(large) + packed_bytes(num_values, self.options.bits)

    @property
    def num_buckets(self) -> int:
        """Buckets of a tensor."""
        return int(2**self.options.bits)

    def prepare(self) -> None:
        """Allocate the numbers of the buckets, 1 byte a value."""
        self.numbers = torch.empty_like(self.gradients.large, dtype=torch.uint8)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Put the values into buckets."""
        means = []
        for tensor, numbers in self._tensors(large):
            found = torch.bucketize(tensor, self._bounds(tensor), right=True)
            sums, counts = (
                torch.bincount(found, weights, self.num_buckets) for weights in (tensor.double(), None)
            )
            means.append((sums / counts.clamp(min=1)).float())
            numbers.copy_(found)
        header = torch.cat(means) if means else large.new_zeros(0)
        return torch.cat([as_bytes(header), pack(self.numbers, self.options.bits)])

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        header = FLOAT_BYTES * self.num_buckets * len(self.gradients.shapes)
        large.zero_()
        for payload in payloads:
            unpack(payload[header:], self.options.bits, self.numbers)
            means = payload[:header].view(torch.float32).view(-1, self.num_buckets) / len(payloads)
            for own, (tensor, numbers) in zip(means, self._tensors(large), strict=True):
                tensor.add_(own.index_select(0, numbers.to(torch.int32)))

    def _tensors(self, large: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the parts of `large` and of the buckets' numbers that belong to a tensor, as views [n]."""
        shapes = self.gradients.shapes
        pairs = zip(split(large, shapes), split(self.numbers, shapes), strict=True)
        return [(tensor.view(-1), numbers.view(-1)) for tensor, numbers in pairs]

    def _bounds(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the values between the buckets, rising, fp32 [buckets - 1]."""
        sample = tensor[:: max(1, tensor.numel() // SAMPLES)].sort().values
        places = torch.arange(1, self.num_buckets, device=tensor.device) * sample.numel() // self.num_buckets
        return sample[places]
