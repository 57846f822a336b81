"""Width 3: sums packed as digits of the smallest base that carries them, instead of lanes of bits.

With L levels the sum of N workers lies in [-N L, N L], so a digit of base 2 N L + 1 is enough. Ten digits of base 9 fit
into an int32 word: 3.2 bits a value for two levels of two workers (four bits carry three) and one level of four. Three
workers have base 7 and 2.9 bits, five base 11 and 3.6. Adding words adds every digit, as with lanes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

DENSE = 3
"""The width, in about as many bits."""
LARGEST_SUM = 4
"""The levels are as many as keep the sum of all workers within it, at least one."""
MOST_WORKERS = 15
"""What a lane of the header counts to, in 4 bits."""


def dense_levels(workers: int) -> int:
    """Return L; 0 where there are too many workers."""
    return max(1, LARGEST_SUM // workers) if workers <= MOST_WORKERS else 0


def base_of(workers: int) -> int:
    """Return the base of the digits; for any number of workers."""
    return 2 * max(workers, LARGEST_SUM - LARGEST_SUM % workers) + 1


def num_digits(workers: int) -> int:
    """Return how many digits an int32 word holds, by their extreme sum (base^digits - 1) / 2."""
    base, digits = base_of(workers), 1
    while (base ** (digits + 1) - 1) // 2 < 2**31:
        digits += 1
    return digits


def make_pack(workers: int) -> Callable[..., None]:
    """Return pack(planes, words): fp32 digits [digits, words] become the int32 words sum_i digit_i base^i."""
    base, digits = base_of(workers), num_digits(workers)

    def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
        total = planes[digits - 1].to(torch.int32)
        for place in range(digits - 2, -1, -1):
            total = total * base + planes[place].to(torch.int32)
        words.copy_(total)

    return pack


def make_unpack(workers: int) -> Callable[..., None]:
    """Return unpack(*planes, *scales): plane i = digit i * scale i, as `horovod_gq.packing.make_unpack` says.

    Every digit is at most half the base in size, so the nearest integer to
    word / base^i is what the digits from i on make, and digit i is it less base times that of i + 1. The quotient is
    1 / (2 base^i) away from the next half; in fp64 it is off by less, base^(digits - i) 2^-52, as base^digits < 2^33.
    """
    base, digits = base_of(workers), num_digits(workers)

    def unpack(*tensors: torch.Tensor) -> None:
        planes, scales = tensors[:digits], tensors[digits:]
        words = planes[-1].view(torch.int32).to(torch.float64)
        above = [torch.round(words * (1.0 / base**place)) for place in range(1, digits)]
        here = words
        for place in range(digits - 1):
            digit = here - above[place] * base
            planes[place].copy_(digit.to(torch.float32) * scales[place][:, None])
            here = above[place]
        planes[-1].copy_(here.to(torch.float32) * scales[-1][:, None])

    return unpack
