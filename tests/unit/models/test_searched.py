"""Networks that are written out in their names: read back, built as written; DenseNet and plain chain among them."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipelines.errors import UserError
from pipelines.models import count_parameters, find_factory
from pipelines.models.densenet import DenseBlock
from pipelines.models.searched.chain import Conv, Full, Layer, Pool, chain_layers, chain_name
from pipelines.models.searched.padding import SamePool, same_padding, same_side
from pipelines.models.searched.shortcuts import (
    STEM_WIDTH,
    Block,
    ShortcutBlock,
    blocks_name,
    blocks_of,
    num_shortcuts,
)
from tests.configs import make_densenet

NUMBERS = st.integers(1, 9999)
SMALL = st.integers(1, 16)
CONVS = st.builds(Conv, SMALL, NUMBERS, SMALL)
POOLS = st.builds(Pool, SMALL, SMALL, st.sampled_from(["max", "avg"]))
BLOCKS = st.integers(1, 9).flatmap(
    lambda n: st.builds(
        Block,
        st.just(n),
        NUMBERS,
        st.tuples(*[st.booleans()] * num_shortcuts(n)),
    )
)


@given(st.lists(CONVS | POOLS, min_size=1, max_size=20), st.lists(st.builds(Full, NUMBERS), max_size=20))
def test_a_chain_is_read_from_its_name(convs: list[Layer], fulls: list[Layer]) -> None:
    name = chain_name([*convs, *fulls])
    assert chain_layers(name) == (*convs, *fulls)
    assert find_factory(name)


@given(st.lists(BLOCKS, min_size=1, max_size=8))
def test_blocks_are_read_from_their_name(blocks: list[Block]) -> None:
    assert blocks_of(blocks_name(blocks)) == tuple(blocks)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chain_", "'' is not allowed; allowed: layers such as c3m16s1, p2s2max, p2s2avg and f128"),
        ("chain_c3m16", "'c3m16' is not allowed; allowed: layers such as"),
        ("chain_c0m16s1", "'c0m16s1' is not allowed; allowed: layers such as"),
        ("chain_c17m16s1", "'c17m16s1' is not allowed; allowed: kernels and strides of at most 16 pixels"),
        ("chain_f8_c3m16s1", "a convolution or pooling behind a fully connected layer is not allowed"),
        ("chain" + "_f8" * 41, "41 layers is not allowed; allowed: 1 to 40 layers"),
        ("blocks_3k12", "'3k12' is not allowed; allowed: blocks such as 3k12x2f"),
        ("blocks_3k12x40", "'3k12x40' is not allowed; allowed: 2 digits for 6 shortcut bits"),
        ("blocks_3k12x2F", "'3k12x2F' is not allowed; allowed: blocks such as"),
        ("blocks_33k1x0", "'33k1x0' is not allowed; allowed: 1 to 32 layers"),
        ("blocks" + "_1k1x0" * 9, "9 blocks is not allowed; allowed: 1 to 8 blocks"),
    ],
)
def test_a_wrong_name_is_told_in_one_line(build, name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(name)
    assert str(caught.value).startswith("baseline.models: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("side", [1, 5, 8])
@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_padding_counts_in_no_pooling(kind: str, side: int, kernel: int, stride: int) -> None:
    """Against loops over the pixels of each window that lie in the image."""
    maps = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 2
    out = math.ceil(side / stride)
    before = max(0, (out - 1) * stride + kernel - side) // 2
    wanted = torch.empty(2, 3, out, out, dtype=torch.float64)
    for row, column in itertools.product(range(out), repeat=2):
        rows, columns = (
            [at for at in range(place * stride - before, place * stride - before + kernel) if 0 <= at < side]
            for place in (row, column)
        )
        window = maps[:, :, rows][:, :, :, columns]
        wanted[:, :, row, column] = window.amax((2, 3)) if kind == "max" else window.mean((2, 3))
    found = SamePool(side, kernel, stride, kind)(maps)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)  # the shares are float32


def test_the_odd_pixel_of_padding_is_behind() -> None:
    assert same_padding(8, 4, 1) == (1, 2)
    assert same_padding(8, 3, 2) == (0, 1)
    assert same_padding(8, 2, 4) == (0, 0)
    assert same_side(7, 2) == 4


def test_a_chain_has_the_layers_of_its_name(build) -> None:
    model = build("chain_c5m6s2_p4s2avg_c2m7s1_f20_f9", channels=3, size=11)
    # 11 -> 6 -> 3 -> 3 pixels; a convolution has no bias, its normalisation two values a map.
    expected = 25 * 3 * 6 + 12 + 4 * 6 * 7 + 14 + (7 * 9 + 1) * 20 + 21 * 9 + 10 * 10
    assert count_parameters(model) == expected
    assert model(torch.rand(2, 3, 11, 11)).shape == (2, 10)
    kinds = [type(module) for module in model.modules() if not list(module.children())]
    assert kinds.count(nn.Conv2d) == 2
    assert kinds.count(nn.Linear) == 3
    assert kinds.count(nn.ReLU) == 4


@pytest.mark.parametrize("size", [4, 8, 33])
def test_no_chain_runs_out_of_pixels(build, size: int) -> None:
    model = build("chain" + "_c8m3s4_p4s4max" * 4 + "_f5", channels=1, size=size).train()
    model(torch.rand(3, 1, size, size)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def dense_name(layers: tuple[int, ...], growth: int) -> str:
    return blocks_name([Block(n, growth, (True,) * num_shortcuts(n)) for n in layers])


@pytest.mark.parametrize(("depth", "layers"), [(22, (3, 3, 3)), (50, (7, 8, 8))])
def test_all_shortcuts_have_the_parameters_of_densenet(build, depth: int, layers: tuple[int, ...]) -> None:
    found = build(dense_name(layers, 12))
    dense = build(f"densenet{depth}", growth_rate=12, initial_width=STEM_WIDTH)
    # All but the normalisation of the stem, which a DenseNet does not have.
    assert count_parameters(found) == count_parameters(dense) + 2 * STEM_WIDTH
    # By the formula of Huang et al. 2017: layers, then transitions, stem and head.
    width, expected = STEM_WIDTH, 27 * STEM_WIDTH + 2 * STEM_WIDTH
    for index, n in enumerate(layers):
        if index > 0:
            expected += 2 * width + width * (width // 2)
            width //= 2
        expected += sum(2 * c + 48 * c + 2 * 48 + 9 * 48 * 12 for c in range(width, width + 12 * n, 12))
        width += 12 * n
    assert count_parameters(found) == expected + 2 * width + (width + 1) * 10


@pytest.mark.parametrize("n", [1, 4])
def test_all_shortcuts_are_wired_as_the_dense_block_of_the_suite(n: int) -> None:
    """The same weights give the same maps, in training mode, where each normalises by its batch."""
    growth, width = 6, 10
    mine = ShortcutBlock(width, Block(n, growth, (True,) * num_shortcuts(n)))
    dense = DenseBlock(width, n, make_densenet(growth_rate=growth))
    generator = torch.Generator().manual_seed(1)
    for own, other in zip(mine.layers, dense.layers, strict=True):
        norm, _, first, middle, _, last = own
        pairs = [
            (norm.weight, other.reuse.scale),
            (norm.bias, other.reuse.shift),
            (first.weight, other.reuse.weight),
            (middle.weight, other.bottleneck.weight),
            (middle.bias, other.bottleneck.bias),
            (last.weight, other.conv.weight),
        ]
        for one, two in pairs:
            values = torch.randn(one.shape, generator=generator) / 3
            one.data.copy_(values)
            two.data.copy_(values)
    maps = torch.randn(8, width, 6, 6, generator=generator)
    found = mine(maps)
    assert found.shape[1] == mine.output_width == dense.output_width
    # The suite keeps normalised maps: normalise mine.
    ones, zeros = torch.ones(found.shape[1]), torch.zeros(found.shape[1])
    normalised = nn.functional.batch_norm(found, None, None, ones, zeros, training=True)
    wanted = dense(maps, None).activate(ones, zeros)
    torch.testing.assert_close(normalised.relu(), wanted, rtol=1e-4, atol=1e-4)  # float32, four layers deep


def test_no_shortcuts_are_a_plain_chain(build) -> None:
    block = ShortcutBlock(10, Block(4, 6, (False,) * 10))
    maps = torch.randn(3, 10, 5, 5, generator=torch.Generator().manual_seed(1))
    wanted = maps
    for layer in block.layers:
        wanted = layer(wanted)
    torch.testing.assert_close(block(maps), wanted, rtol=0, atol=1e-5)
    model = build("blocks_4k6x000", channels=1)
    first = 2 * 32 + 32 * 24 + 48 + 9 * 24 * 6
    others = 3 * (2 * 6 + 6 * 24 + 48 + 9 * 24 * 6)
    assert count_parameters(model) == 9 * 32 + 64 + first + others + 2 * 6 + 70


def test_a_bit_is_the_shortcut_that_its_place_says() -> None:
    """Every bit alone: output j joins what layer t + 1 reads, and nothing else is read."""
    n = 4
    pairs = [(j, t) for t in range(1, n + 1) for j in range(t)]
    assert len(pairs) == num_shortcuts(n)
    for place, (j, t) in enumerate(pairs):
        block = Block(n, 3, tuple(place == other for other in range(len(pairs))))
        (again,) = blocks_of(f"blocks_{block}")
        assert int(str(block).split("x")[1], 16) == 1 << (len(pairs) - 1 - place)
        for layer in range(n + 1):
            assert again.sources(layer) == ([j, t] if layer == t else [layer])


@pytest.mark.parametrize("size", [1, 2, 8])
def test_small_images_are_pooled_while_there_are_pixels(build, size: int) -> None:
    model = build("blocks_2k4x3_2k4x7_1k4x1_3k4x2a", channels=1, size=size)
    assert model(torch.rand(2, 1, size, size)).shape == (2, 10)
