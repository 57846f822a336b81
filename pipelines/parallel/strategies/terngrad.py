"""TernGrad: ternary gradients (Wen 2017)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import number, whole
from pipelines.config.validate import MOST_SEED
from pipelines.errors import UserError
from pipelines.parallel.compression.flat_gradients import split
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.compression.rounding import stochastic_levels
from pipelines.parallel.compression.scale_groups import TensorGroups, inverse_or_zero
from pipelines.parallel.patterns import FLOAT_BYTES, Message, byte_gather, numel
from pipelines.parallel.strategies.bases.gathered import RandomStrategy
from pipelines.parallel.strategy import STRATEGIES

BITS = 2
MOST_WORKERS = 127
"""Their numbers from 0 to 2 are added in a byte."""


@dataclass(frozen=True, kw_only=True)
class TerngradOptions:
    """Keys of a `methods` entry with `strategy: terngrad`."""

    clip_sigmas: float | None
    """Clip each tensor at so many of its standard deviations first (paper, equation 12: 2.5); null: never."""
    seed: int
    """Seed of the random rounding."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "clip_sigmas", above=0.0, most=1e20, null=True)
        whole(self, "seed", least=0, most=MOST_SEED)


@STRATEGIES.register("terngrad")
class Terngrad(RandomStrategy):
    """Sends s * sgn(g) * b at 2 bits a value, b = 1 with probability |g| / s (paper, equations 2 to 4).

    s is the largest magnitude of a tensor on any worker (scaler sharing, section 3.2): a small gather of the
    maxima goes before the message. Layer-wise (section 3.2): every large tensor has a scale of its own.
    """

    Options = TerngradOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Two bits a value; the scales have a round of their own."""
        return packed_bytes(sum(numel(shape) for shape in large), BITS)

    def rounds(self, large: Sequence[tuple[int, ...]], /) -> tuple[Message, ...]:
        """Return the gather of the tensors' maxima."""
        return (byte_gather(FLOAT_BYTES * len(large)),)

    def prepare(self) -> None:
        """Allocate the draws, the ternary numbers and their sum, 1 byte a value each."""
        super().prepare()
        if self.link.workers > MOST_WORKERS:
            raise UserError(f"terngrad: {self.link.workers} workers are not allowed; allowed: {MOST_WORKERS}")
        self.groups = TensorGroups(self.gradients.shapes)
        self.symbols = torch.empty(self.draws.numel(), dtype=torch.uint8, device=self.draws.device)
        self.total = torch.empty_like(self.symbols)

    def average(self) -> None:
        """Clip, agree on the scales, then encode, gather, decode."""
        large = self.gradients.large
        with self.meter.encoding():
            if self.options.clip_sigmas is not None:
                for tensor in split(large, self.gradients.shapes):
                    # The same as `std`, three times as fast.
                    variance = (
                        torch.linalg.vector_norm(tensor).square() / tensor.numel() - tensor.mean().square()
                    )
                    bound = self.options.clip_sigmas * variance.clamp(min=0.0).sqrt()
                    torch.minimum(torch.maximum(tensor, -bound, out=tensor), bound, out=tensor)
            maxima = self.groups.norms(large, math.inf)
        gathered = self.link.start_all_gather(maxima, "scales").wait()
        self.scales = gathered.amax(0)
        super().average()

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Round each value to -1, 0 or 1 of its tensor's shared scale; overwrites `large`."""
        self.groups.scale_(large, inverse_or_zero(self.scales))
        stochastic_levels(large, 1, self.generator, self.draws, self.symbols)
        return pack(self.symbols, BITS)

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average: the ternary numbers of all ranks add up, and their scale is one."""
        # Numbers from 0 to 2 add up in a byte, far faster than in fp32.
        self.total.zero_()
        for payload in payloads:
            self.total.add_(unpack(payload, BITS, self.symbols))
        large.copy_(self.total).sub_(len(payloads))
        self.groups.scale_(large, self.scales / len(payloads))
