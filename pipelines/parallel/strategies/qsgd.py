"""QSGD: stochastic quantization to s levels (Alistarh 2017)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import choice, whole
from pipelines.config.validate import MOST_SEED
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.compression.rounding import stochastic_levels
from pipelines.parallel.compression.scale_groups import (
    BucketGroups,
    ScaleGroups,
    TensorGroups,
    inverse_or_zero,
)
from pipelines.parallel.patterns import FLOAT_BYTES, numel
from pipelines.parallel.strategies.bases.gathered import RandomStrategy, as_bytes
from pipelines.parallel.strategy import STRATEGIES

NORMS = {"max": math.inf, "l2": 2.0}


@dataclass(frozen=True, kw_only=True)
class QsgdOptions:
    """Keys of a `methods` entry with `strategy: qsgd`."""

    levels: int
    """Levels s of a magnitude; a value takes the bits that 2 s + 1 numbers need (s = 7: 4 bits)."""
    bucket_size: int | None
    """Values that share a norm (paper, section 4: 512 for 4 bits); null: each tensor has one."""
    norm: str
    """`l2`, as in the paper's theory, or `max`, as in its experiments: much less noise."""
    seed: int
    """Seed of the random rounding."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "levels", most=127)
        whole(self, "bucket_size", most=2**31 - 1, null=True)
        whole(self, "seed", least=0, most=MOST_SEED)
        choice("norm", self.norm, NORMS)


@STRATEGIES.register("qsgd")
class Qsgd(RandomStrategy):
    """Sends sign and level of each value and the norm of each bucket: v ~ norm * sgn(v) * xi / s (equation 2).

    Unbiased, hence without error feedback. Levels are packed at the fewest bits of one width instead of the
    paper's Elias code.
    """

    Options = QsgdOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count a norm a bucket, and packed levels."""
        num_values, size = sum(numel(shape) for shape in large), self.options.bucket_size
        num_norms = len(large) if size is None else -(-num_values // size)
        return FLOAT_BYTES * num_norms + packed_bytes(num_values, self.level_bits)

    def prepare(self) -> None:
        """Allocate the draws and the level numbers, 1 byte a value."""
        super().prepare()
        size = self.options.bucket_size
        num_values = self.draws.numel()
        self.groups: ScaleGroups = (
            TensorGroups(self.gradients.shapes) if size is None else BucketGroups(num_values, size)
        )
        self.bits = self.level_bits
        self.symbols = torch.empty(num_values, dtype=torch.uint8, device=self.draws.device)

    @property
    def level_bits(self) -> int:
        """Bits of a number from 0 to 2 s."""
        return int(2 * self.options.levels).bit_length()

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Round each value to a level of its bucket; overwrites `large`."""
        norms = self.groups.norms(large, NORMS[self.options.norm])
        levels = self.options.levels
        self.groups.scale_(large, inverse_or_zero(norms) * levels)
        stochastic_levels(large, levels, self.generator, self.draws, self.symbols)
        return torch.cat([as_bytes(norms), pack(self.symbols, self.bits)])

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        levels = self.options.levels
        header = 4 * self.groups.count
        large.zero_()
        for payload in payloads:
            norms = payload[:header].view(torch.float32)
            self.draws.copy_(unpack(payload[header:], self.bits, self.symbols)).sub_(levels)
            self.groups.scale_(self.draws, norms / (levels * len(payloads)))
            large.add_(self.draws)
