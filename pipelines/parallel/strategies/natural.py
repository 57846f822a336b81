"""Natural compression: values rounded at random to powers of two (Horvath 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import whole
from pipelines.config.validate import MOST_SEED
from pipelines.parallel.patterns import numel
from pipelines.parallel.strategies.bases.gathered import RandomStrategy
from pipelines.parallel.strategy import STRATEGIES

MANTISSA_BITS = 23
"""Of fp32 (IEEE 754)."""
LEAST_EXPONENT = 16
"""The fp32 exponent, bias included, that code 0 stands for: 7 bits hold 2^-110 to 2^16, and zero."""
MOST_CODE = 127


@dataclass(frozen=True, kw_only=True)
class NaturalOptions:
    """Keys of a `methods` entry with `strategy: natural`."""

    seed: int
    """Seed of the random rounding."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "seed", least=0, most=MOST_SEED)


@STRATEGIES.register("natural")
class Natural(RandomStrategy):
    """Sends sign and exponent of each value, a byte, rounded to either power of two next to it, without bias.

    Between 2^a and 2^(a+1) a value goes up with probability |v| / 2^a - 1 (paper, definition 1): the mantissa's share.
    Unbiased, hence without error feedback. The paper sends all 8 bits of the exponent; 7 lose what is below 2^-110.
    """

    Options = NaturalOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count a byte a value."""
        return sum(numel(shape) for shape in large)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Round each value at random; overwrites `large`."""
        bits, draws = large.view(torch.int32), self.draws.view(torch.int32)
        draws.random_(0, 1 << MANTISSA_BITS, generator=self.generator)
        # What carries into the exponent is the chance of the next power. The sign stays on top, apart.
        negative = torch.signbit(large)
        draws.add_(bits.bitwise_and_(0x7FFFFFFF)).bitwise_right_shift_(MANTISSA_BITS)
        codes = draws.sub_(LEAST_EXPONENT).clamp_(0, MOST_CODE).to(torch.uint8)
        return codes.bitwise_or_(negative.to(torch.uint8).bitwise_left_shift_(7))

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        large.zero_()
        bits = self.draws.view(torch.int32)
        for payload in payloads:
            bits.copy_(payload).bitwise_and_(MOST_CODE)
            vanished = bits == 0
            bits.add_(LEAST_EXPONENT).bitwise_left_shift_(MANTISSA_BITS).masked_fill_(vanished, 0)
            large.add_(self.draws.mul_(1.0 - 2.0 * payload.bitwise_right_shift(7)), alpha=1.0 / len(payloads))
