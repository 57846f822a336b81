"""How digits share int32 words that are added.

A word holds 32 / w digits q in [-(2^(w-1) - 1), 2^(w-1) - 1] as the *signed-digit* sum of q_i * 2^(w i).
Adding words adds every lane. The bucket is cut into equal planes whose digits share the bits of one byte (of
one word at width 16), so that packing needs no movement across vector lanes. Width 3 is `horovod_gq.dense`.
"""

from __future__ import annotations

import torch

from horovod_gq import dense
from horovod_gq.compiling import Kernel
from horovod_gq.dense import DENSE


def num_planes(wire_bits: int, workers: int) -> int:
    """Parts of a bucket whose digits are merged: 4 at width 2, 2 at widths 4 and 16, 1 at width 8; all at width 3."""
    return dense.num_digits(workers) if wire_bits == DENSE else {2: 4, 4: 2, 8: 1, 16: 2}[wire_bits]


def num_words(num_values: int, wire_bits: int, workers: int) -> int:
    """Int32 words of so many values, a multiple of the planes."""
    return num_values // (dense.num_digits(workers) if wire_bits == DENSE else 32 // wire_bits)


def digit_dtype(wire_bits: int) -> torch.dtype:
    """Type in which digits lie before packing: what `pack` can load in whole vectors, see `whole_vectors`."""
    return {DENSE: torch.float32, 16: torch.int32}.get(wire_bits, torch.int8)


def whole_vectors(integers: torch.Tensor) -> torch.Tensor:
    """Return the memory of `integers` as fp32, for a kernel to view as int32 again after it has loaded it.

    What torch compiles for AVX2 loads a vector of fp32 by one instruction, but one of integers by way of the stack,
    which takes many times as long (torch 2.13).
    """
    return integers.view(torch.float32)


def half_lanes(wire_bits: int) -> int:
    """Return the int32 word with 2^(w-1) in every lane: turns signed digits into bit fields and back; 0 at width 3."""
    if wire_bits == DENSE:
        return 0
    word = sum(1 << (wire_bits * lane + wire_bits - 1) for lane in range(32 // wire_bits))
    return word - (1 << 32)  # the top bit is always set


def make_pack(wire_bits: int, workers: int) -> Kernel:
    """Return pack(planes, words): merge digits `packable` makes, fp32 [planes, words], into signed-digit int32 words.

    Two's-complement fields become signed digits by (fields ^ H) - H, H = `half_lanes`: no lane can borrow.
    """
    if wire_bits == DENSE:
        return dense.make_pack(workers)
    half = half_lanes(wire_bits)
    if wire_bits == 16:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            low, high = planes.view(torch.int32)
            words.copy_(low + (high << 16))

    elif wire_bits == 8:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            words.copy_((planes.view(torch.int32)[0] ^ half) - half)

    elif wire_bits == 4:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            low, high = planes.view(torch.int32)
            fields = (low & 0x0F0F0F0F) | ((high & 0x0F0F0F0F) << 4)
            words.copy_((fields ^ half) - half)

    else:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            first, second, third, fourth = planes.view(torch.int32)
            low = (first & 0x03030303) | ((second & 0x03030303) << 2)
            high = ((third & 0x03030303) << 4) | ((fourth & 0x03030303) << 6)
            words.copy_(((low | high) ^ half) - half)

    return pack


def packable(digits: torch.Tensor, wire_bits: int, workers: int) -> torch.Tensor:
    """Return `digits` as `pack` takes them, in the same memory: four int8 digits a word, the others one by one."""
    return whole_vectors(digits).view(num_planes(wire_bits, workers), -1)


def load_fields(words: torch.Tensor, last: torch.Tensor, wire_bits: int) -> None:
    """Write summed int32 `words` to `last`, fp32 [rows, row], as `unpack` takes them.

    At widths 2, 4 and 8 their bytes as numbers, at 3 and 16 the words bit by bit. Lanes are made unsigned before.
    Mutates both.
    """
    words.add_(half_lanes(wire_bits))
    if wire_bits in (DENSE, 16):
        last.view(torch.int32).copy_(words.view_as(last))
    else:
        last.copy_(words.view(torch.uint8).view_as(last))


def make_unpack(wire_bits: int, workers: int) -> Kernel:
    """Return unpack(*planes, *scales): plane i = digit i * scale i.

    The planes are fp32 [rows, row] and mutated; the last one holds what `load_fields` has written. Scales are fp32
    [rows]. One rounding (of the product); none where the scale is a power of two.
    """
    if wire_bits == DENSE:
        return dense.make_unpack(workers)
    count, base, offset = num_planes(wire_bits, workers), 2**wire_bits, 2 ** (wire_bits - 1)
    if wire_bits == 16:

        def unpack(*tensors: torch.Tensor) -> None:
            low, high, *scales = tensors
            words = high.view(torch.int32)
            low.copy_(((words & 0xFFFF) - offset).to(torch.float32) * scales[0][:, None])
            high.copy_((((words >> 16) & 0xFFFF) - offset).to(torch.float32) * scales[1][:, None])

    else:

        def unpack(*tensors: torch.Tensor) -> None:
            planes, scales = tensors[:count], tensors[count:]
            above = [torch.floor(planes[-1] * base**-place) for place in range(1, count)]
            here = planes[-1]
            for place in range(count - 1):
                digits = here - above[place] * base
                planes[place].copy_((digits - offset) * scales[place][:, None])
                here = above[place]
            planes[-1].copy_((here - offset) * scales[-1][:, None])

    return unpack
