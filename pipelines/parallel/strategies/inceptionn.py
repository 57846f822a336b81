"""INCEPTIONN's lossy floating-point format: 0, 8, 16 or 32 bits a value within a bound (Li 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipelines.config import number, whole
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.patterns import numel
from pipelines.parallel.strategies.bases.gathered import AgreedStrategy, as_bytes, padded_bytes, round_up
from pipelines.parallel.strategy import STRATEGIES

TAG_BITS = 2
ZERO, BYTE, HALF, WHOLE = range(4)
BYTE_SCALE, HALF_SCALE = 2**7, 2**15
STRIDE = 4096
"""Messages have room for a multiple of so many bytes."""


@dataclass(frozen=True, kw_only=True)
class InceptionnOptions:
    """Keys of a `methods` entry with `strategy: inceptionn`."""

    bound_bits: int
    """The bound of a value's error is 2^-bound_bits (paper: 10, 8 or 6)."""
    expected_bits: float
    """Bits a value that are expected: for the expected bytes before a run, which counts what it sends."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "bound_bits", most=14)
        number(self, "expected_bits", least=TAG_BITS, most=32.0 + TAG_BITS)


@STRATEGIES.register("inceptionn")
class Inceptionn(AgreedStrategy):
    """Sends two bits of tag a value, and as much of it as the bound needs (paper, section 5, algorithm 2).

    Below the bound nothing; below 1 sign and 7 or 15 bits behind the point, cut off, the fewer where the error stays
    within the bound; from 1 on all of fp32. No error feedback. The room of a message is in bytes.
    """

    Options = InceptionnOptions

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count what the last message had room for, or what is expected."""
        num_values = sum(numel(shape) for shape in large)
        return (
            self.room
            if self.room is not None
            else round_up(int(num_values * self.options.expected_bits / 8), STRIDE)
        )

    def prepare(self) -> None:
        """Allocate the tags, 1 byte a value, and the values of one rank, fp32 [n]."""
        self.tags = torch.empty_like(self.gradients.large, dtype=torch.uint8)
        self.decoded = torch.empty_like(self.gradients.large)

    def select(self, large: torch.Tensor, /) -> int:
        """Choose the tags, and pack."""
        bound = 2.0**-self.options.bound_bits
        magnitudes = large.abs()
        remainder = magnitudes * BYTE_SCALE
        remainder = remainder.sub_(remainder.floor()).div_(BYTE_SCALE)
        self.tags.fill_(HALF)
        self.tags.masked_fill_(remainder <= bound, BYTE)
        self.tags.masked_fill_(magnitudes < bound, ZERO)
        self.tags.masked_fill_(~(magnitudes < 1.0), WHOLE)
        streams = [
            large[self.tags == WHOLE],
            _fixed(large[self.tags == HALF], HALF_SCALE, torch.int16),
            _fixed(large[self.tags == BYTE], BYTE_SCALE, torch.int8),
        ]
        packed = pack(self.tags, TAG_BITS)
        tags = packed.new_zeros(padded_bytes(packed.numel()))
        tags[: packed.numel()] = packed
        self.packed = torch.cat([tags, *(as_bytes(stream) for stream in streams)])
        return self.packed.numel()

    def room_for(self, most: int, /) -> int:
        """Round up to a multiple of `STRIDE`."""
        return round_up(most, STRIDE)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:  # noqa: ARG002 - it is packed already
        """Pad to what all ranks send."""
        assert self.room is not None
        payload = self.packed.new_zeros(self.room)
        payload[: self.packed.numel()] = self.packed
        return payload

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        large.zero_()
        num_tags = packed_bytes(large.numel(), TAG_BITS)
        for payload in payloads:
            unpack(payload[:num_tags], TAG_BITS, self.tags)
            start = padded_bytes(num_tags)
            self.decoded.zero_()
            for tag, dtype, scale in (
                (WHOLE, torch.float32, 1),
                (HALF, torch.int16, HALF_SCALE),
                (BYTE, torch.int8, BYTE_SCALE),
            ):
                mask = self.tags == tag
                stop = start + int(mask.sum()) * dtype.itemsize
                self.decoded.masked_scatter_(mask, payload[start:stop].view(dtype).float().div_(scale))
                start = stop
            large.add_(self.decoded, alpha=1.0 / len(payloads))


def _fixed(values: torch.Tensor, scale: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the values in units of 1 / scale, cut off towards zero, with their sign."""
    return values.mul(scale).trunc_().to(dtype)
