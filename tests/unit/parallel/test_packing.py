"""Bit packing: what is packed comes back, and no byte is wasted."""

from math import ceil

import pytest
import torch

from pipelines.parallel.compression.packing import pack, packed_bytes, planes_of, unpack

SIZES = (1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4099)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", SIZES)
def test_values_survive_and_take_the_bytes_of_the_formula(bits: int, count: int) -> None:
    generator = torch.Generator().manual_seed(bits * 10_000 + count)
    values = torch.randint(0, 2**bits, (count,), generator=generator).to(torch.uint8)
    values[0] = 2**bits - 1
    packed = pack(values, bits)
    assert packed.dtype == torch.uint8
    planes = [power for power in (8, 4, 2, 1) if bits & power]
    assert packed.numel() == packed_bytes(count, bits) == sum(ceil(count * width / 8) for width in planes)
    # Planes end in whole bytes: at most one byte more than the information for each beyond the first.
    assert packed.numel() - ceil(count * bits / 8) <= len(planes) - 1
    out = torch.full((count,), 255, dtype=torch.uint8)
    assert torch.equal(unpack(packed, bits, out), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_widths_that_divide_a_byte_waste_nothing(bits: int) -> None:
    assert [packed_bytes(count, bits) for count in SIZES] == [ceil(count * bits / 8) for count in SIZES]


def test_the_bits_lie_where_the_docstring_says() -> None:
    # 1 bit, 10 values: two bytes, so value i and i + 2 share a byte.
    assert pack(torch.tensor([1, 0, 0, 0, 1, 1, 0, 0, 0, 1], dtype=torch.uint8), 1).tolist() == [
        0b00101,
        0b10100,
    ]
    # 3 bits: a plane of the low two bits, then one of the high bit.
    assert planes_of(3) == [(2, 0), (1, 2)]
    assert pack(torch.tensor([5, 2], dtype=torch.uint8), 3).tolist() == [0b1001, 0b01]
