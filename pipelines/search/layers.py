"""The encoding of DECNN and IPPSO: a layer is an address of two bytes, its kind the subnet that the address lies in.

Published for both (Wang, Sun, Xue and Zhang 2018, arXiv:1808.06661 and arXiv:1803.06492): convolutions in 0.0/4 (3 bits
of kernel, 7 of maps, 2 of stride), poolings in 16.0/5 (2 of kernel, 2 of stride, 1 of kind, 6 of no meaning), fully
connected layers in 24.0/5 (11 of units), and for IPPSO, whose vectors have a fixed length, disabled layers in 32.0/5. A
value is its bits plus one. A chain is an array uint8 [layers, 2]; its first layer is a convolution, its last one fully
connected, and fully connected layers stand behind all others. The last one is the classifier, whose units are the
classes whatever its bits say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.models.searched.chain import KINDS, Conv, Full, Layer, Pool, chain_name

Chain = npt.NDArray[np.uint8]
HOST_BITS = 11  # of all subnets but that of convolutions


@dataclass(frozen=True)
class Subnet:
    """The addresses of a kind of layer: from `first`.0 on, `size` values of the first byte."""

    first: int
    size: int

    def holds(self, byte: int) -> bool:
        """Whether an address with this first byte is in the subnet."""
        return self.first <= byte < self.first + self.size


CONV = Subnet(0, 16)
POOL = Subnet(16, 8)
FULL = Subnet(24, 8)
DISABLED = Subnet(32, 8)
LEAST_LAYERS = 2


def encode_layer(layer: Layer) -> tuple[int, int]:
    """Return the address of a layer; bits of no meaning are 0. ValueError where a value has no bits."""
    if isinstance(layer, Conv):
        host = _pack((layer.kernel - 1, 3), (layer.maps - 1, 7), (layer.stride - 1, 2))
        subnet = CONV
    elif isinstance(layer, Pool):
        kind = KINDS.index(layer.kind)
        host = _pack((layer.kernel - 1, 2), (layer.stride - 1, 2), (kind, 1), (0, 6))
        subnet = POOL
    else:
        host, subnet = _pack((layer.units - 1, HOST_BITS)), FULL
    return subnet.first + (host >> 8), host & 255


def decode_layer(first: int, second: int) -> Layer | None:
    """Return the layer at an address; None for a disabled one. ValueError outside of all subnets."""
    if CONV.holds(first):
        kernel, maps, stride = _unpack((first - CONV.first) << 8 | second, 3, 7, 2)
        return Conv(kernel + 1, maps + 1, stride + 1)
    if POOL.holds(first):
        kernel, stride, kind, _ = _unpack((first - POOL.first) << 8 | second, 2, 2, 1, 6)
        return Pool(kernel + 1, stride + 1, KINDS[kind])
    if FULL.holds(first):
        return Full(((first - FULL.first) << 8 | second) + 1)
    if DISABLED.holds(first):
        return None
    raise ValueError(f"the address {first}.{second} is in no subnet")


def _pack(*fields: tuple[int, int]) -> int:
    """Return the number whose bits are those of (value, number of bits), the first the highest."""
    number = 0
    for value, bits in fields:
        if not 0 <= value < 2**bits:
            raise ValueError(f"{value + 1} does not fit into {bits} bits")
        number = number << bits | value
    return number


def _unpack(number: int, *widths: int) -> list[int]:
    values = []
    for bits in reversed(widths):
        values.append(number & (1 << bits) - 1)
        number >>= bits
    return values[::-1]


def encode(layers: Sequence[Layer]) -> Chain:
    """Return the chain of `layers` and of the classifier behind them."""
    return np.array([encode_layer(layer) for layer in (*layers, Full(1))], dtype=np.uint8)


def decode(chain: Chain) -> tuple[Layer, ...]:
    """Return the layers of a chain in order, without disabled ones and without the classifier."""
    layers = [decode_layer(int(first), int(second)) for first, second in chain[:-1]]
    return tuple(layer for layer in layers if layer is not None)


def name_of(chain: Chain) -> str:
    """Return the name of the network that a chain decodes to: equal networks have equal names."""
    return chain_name(decode(chain))


def repair(chain: Chain, most_full: int, *, disabled: bool) -> Chain:
    """Return the nearest chain that is allowed, new; an allowed one is returned as it is.

    Only first bytes change. They are taken modulo the end of the last subnet that is allowed; the first layer becomes a
    convolution and the last one fully connected, by their byte modulo the subnet's size; that of a fully connected
    layer before one of another kind, or of one more than `most_full`, is taken modulo the start of the subnet.
    """
    repaired = chain.copy()
    first = repaired[:, 0]
    first %= DISABLED.first + DISABLED.size if disabled else DISABLED.first
    first[0] %= CONV.size
    first[-1] = FULL.first + first[-1] % FULL.size
    num_full = 1
    behind = True  # whether all layers behind this one are fully connected or disabled
    for place in range(len(chain) - 2, 0, -1):
        if DISABLED.holds(first[place]):
            continue
        if FULL.holds(first[place]):
            if behind and num_full < most_full:
                num_full += 1
                continue
            first[place] %= FULL.first
        behind = False
    return repaired


def random_chain(generator: np.random.Generator, length: int, most_full: int, *, disabled: bool) -> Chain:
    """Draw a chain of `length` layers: the kind of each from those that are allowed there, then its bits."""
    num_full = int(generator.integers(1, min(most_full, length - 1) + 1))
    off = [DISABLED] if disabled else []
    kinds = [CONV]
    for place in range(1, length - 1):
        allowed = [FULL, *off] if place >= length - num_full else [CONV, POOL, *off]
        kinds.append(allowed[generator.integers(len(allowed))])
    kinds.append(FULL)
    return np.array(
        [(kind.first + generator.integers(kind.size), generator.integers(256)) for kind in kinds],
        dtype=np.uint8,
    )
