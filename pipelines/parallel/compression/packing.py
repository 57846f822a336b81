"""Bit packing of small unsigned integers: 1 to 8 bits a value in uint8 bytes, no byte per value."""

import torch


def planes_of(bits: int) -> list[tuple[int, int]]:
    """Split a width into (width, shift) planes whose widths divide 8: 3 bits are 2 low bits and 1 high bit."""
    planes, shift = [], 0
    for width in (8, 4, 2, 1):
        if bits & width:
            planes.append((width, shift))
            shift += width
    return planes


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` values of `bits` bits take: ceil(count * width / 8), summed over the planes."""
    return sum(-(-count * width // 8) for width, _ in planes_of(bits))


def pack(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack uint8 `values` [n], each below 2^bits, 1 <= bits <= 8, into uint8 [packed_bytes(n, bits)].

    Values that share a byte lie a whole plane apart, so every operation runs over contiguous memory.
    """
    count = values.numel()
    packed = torch.zeros(packed_bytes(count, bits), dtype=torch.uint8, device=values.device)
    start = 0
    for width, shift in planes_of(bits):
        size = -(-count * width // 8)
        plane = packed[start : start + size]
        for lane, part in enumerate(torch.split(values, size)):
            digits = part.bitwise_right_shift(shift).bitwise_and_((1 << width) - 1)
            plane[: part.numel()].bitwise_or_(digits.bitwise_left_shift_(lane * width))
        start += size
    return packed


def unpack(packed: torch.Tensor, bits: int, out: torch.Tensor) -> torch.Tensor:
    """Undo `pack`: write the values to `out`, uint8 [n], and return it."""
    count = out.numel()
    start = 0
    out.zero_()
    for width, shift in planes_of(bits):
        size = -(-count * width // 8)
        plane = packed[start : start + size]
        for lane, part in enumerate(torch.split(out, size)):
            digits = plane[: part.numel()].bitwise_right_shift(lane * width).bitwise_and_((1 << width) - 1)
            part.bitwise_or_(digits.bitwise_left_shift_(shift))
        start += size
    return out
