"""The published encoding: subnets and bits, decoded and encoded back; what repair makes of other bytes."""

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models.searched.chain import Conv, Full, Layer, Pool
from pipelines.search.layers import (
    Chain,
    decode,
    decode_layer,
    encode,
    encode_layer,
    name_of,
    random_chain,
    repair,
)

# As published: a network of 16-bit addresses, here the last two bytes of an IPv4 address.
CONVS, POOLS, FULLS, OFF = (
    ipaddress.ip_network(f"0.0.{text}") for text in ("0.0/20", "16.0/21", "24.0/21", "32.0/21")
)
CONV_LAYERS = st.builds(Conv, st.integers(1, 8), st.integers(1, 128), st.integers(1, 4))
POOL_LAYERS = st.builds(Pool, st.integers(1, 4), st.integers(1, 4), st.sampled_from(["max", "avg"]))
FULL_LAYERS = st.builds(Full, st.integers(1, 2048))
BYTES = st.integers(0, 255)


def slow_decode(first: int, second: int) -> Layer | None:
    """Read the fields out of the address written as sixteen binary digits."""
    address = ipaddress.ip_address(f"0.0.{first}.{second}")
    digits = f"{first:08b}{second:08b}"

    def value(start: int, length: int) -> int:
        return int(digits[start : start + length], 2) + 1

    if address in CONVS:  # four digits of the subnet, then 3, 7 and 2
        return Conv(value(4, 3), value(7, 7), value(14, 2))
    if address in POOLS:  # five digits of the subnet, then 2, 2, 1 and 6
        return Pool(value(5, 2), value(7, 2), ["max", "avg"][value(9, 1) - 1])
    if address in FULLS:
        return Full(value(5, 11))
    if address in OFF:
        return None
    raise ValueError(address)


@pytest.mark.parametrize(
    ("layer", "address"),
    [
        (Conv(1, 1, 1), (0, 0)),
        (Conv(2, 16, 2), (2, 61)),  # 001 0001111 01
        (Conv(8, 128, 4), (15, 255)),
        (Pool(2, 2, "max"), (18, 128)),  # 01 01 0 000000
        (Pool(4, 4, "avg"), (23, 192)),
        (Full(1), (24, 0)),
        (Full(768), (26, 255)),  # 010 1111 1111
        (Full(2048), (31, 255)),
    ],
)
def test_layers_have_the_addresses_that_their_bits_say(layer: Layer, address: tuple[int, int]) -> None:
    assert encode_layer(layer) == address
    assert decode_layer(*address) == layer


def test_every_address_is_read_as_its_digits_say() -> None:
    for first in range(256):
        for second in range(0, 256, 5):
            if first < 40:
                assert decode_layer(first, second) == slow_decode(first, second)
            else:
                with pytest.raises(ValueError, match=f"{first}.{second} is in no subnet"):
                    decode_layer(first, second)


@given(
    convs=st.lists(CONV_LAYERS | POOL_LAYERS, min_size=1, max_size=8), fulls=st.lists(FULL_LAYERS, max_size=2)
)
def test_layers_encoded_are_decoded_to_the_same(convs: list[Layer], fulls: list[Layer]) -> None:
    chain = encode([*convs, *fulls])
    assert decode(chain) == (*convs, *fulls)
    assert chain.shape == (len(convs) + len(fulls) + 1, 2)


@given(seed=st.integers(0, 2**32), length=st.integers(2, 12), disabled=st.booleans())
def test_a_drawn_chain_is_allowed_and_encodes_back_to_its_bytes(
    seed: int, length: int, disabled: bool
) -> None:
    chain = random_chain(np.random.default_rng(seed), length, 3, disabled=disabled)
    assert len(chain) == length
    assert np.array_equal(repair(chain, 3, disabled=disabled), chain)
    kept = np.array([row for row in chain if decode_layer(*map(int, row)) is not None])
    again = encode(decode(chain))
    # But for the six bits of a pooling and the units of the classifier, which mean nothing.
    pools = (kept[:, 0] >= 16) & (kept[:, 0] < 24)
    kept[pools, 1] &= 0b11000000
    assert np.array_equal(again[:-1], kept[:-1])
    assert name_of(chain) == name_of(again)


@pytest.mark.parametrize("layer", [Conv(9, 1, 1), Conv(1, 129, 1), Pool(5, 1, "max"), Full(2049)])
def test_a_value_without_bits_is_an_error(layer: Layer) -> None:
    with pytest.raises(ValueError, match="does not fit into"):
        encode_layer(layer)


def is_allowed(chain: Chain, most_full: int, disabled: bool) -> bool:
    """Say so by the rules in words, on the decoded layers."""
    layers = [slow_decode(int(first), int(second)) for first, second in chain]
    kinds = [type(layer) for layer in layers if layer is not None]
    flat = [kind is Full for kind in kinds]
    return (
        (disabled or None not in layers)
        and type(layers[0]) is Conv
        and type(layers[-1]) is Full
        and flat == sorted(flat)
        and sum(flat) <= most_full
    )


@given(
    rows=st.lists(st.tuples(BYTES, BYTES), min_size=2, max_size=12),
    most_full=st.integers(1, 4),
    disabled=st.booleans(),
)
def test_repair_makes_any_bytes_an_allowed_chain_and_leaves_that_alone(
    rows: list[tuple[int, int]], most_full: int, disabled: bool
) -> None:
    chain = np.array(rows, dtype=np.uint8)
    before = chain.copy()
    repaired = repair(chain, most_full, disabled=disabled)
    assert np.array_equal(chain, before)
    assert is_allowed(repaired, most_full, disabled)
    assert np.array_equal(repair(repaired, most_full, disabled=disabled), repaired)
    assert np.array_equal(repaired[:, 1], chain[:, 1])
    if all(row[0] < (40 if disabled else 32) for row in rows) and is_allowed(chain, most_full, disabled):
        assert np.array_equal(repaired, chain)
