"""Blocks with shortcuts of any pattern, written out in the name: the space between a plain chain and a DenseNet.

`blocks_3k12x2f_4k8x3ff` has a block of three layers with growth rate 12 and one of four with 8; behind the x stand the
shortcut bits in hexadecimal digits. A stem convolution to 32 maps with batch normalisation and ReLU; layers of
BN-ReLU-1x1 (4k)-BN-ReLU-3x3 (k); between blocks BN-ReLU-1x1 to half the maps and a 2x2 average pooling; BN-ReLU, the
average over all pixels and a linear layer (Wang, Sun, Xue and Zhang 2019, arXiv:1903.03893, and its authors' network
builder; the end is a DenseNet's).

Output 0 is a block's input, output j that of layer j. The bit (j, t), 0 <= j < t <= n, tells whether output j is
concatenated to output t, which is always read, in what layer t + 1 reads (t = n: in what follows the block). So bits
that are all 0 make a plain chain and bits that are all 1 the dense block of Huang et al. 2017. They are numbered
t (t - 1) / 2 + j, the first one being the highest of the digits. An image of one pixel is not pooled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config.show import show
from pipelines.errors import UserError
from pipelines.models.base import MODELS, WRITTEN_MARK, WRITTEN_SUFFIX, ModelSpec, base_of
from pipelines.models.resolution import num_halvings

FAMILY = "blocks"
STEM_WIDTH = 32
BOTTLENECK_WIDTH = 4
MOST_BLOCKS = 8
MOST_LAYERS = 32

_BLOCK = re.compile(r"([1-9][0-9]{0,3})k([1-9][0-9]{0,3})x([0-9a-f]+)")


def num_shortcuts(num_layers: int) -> int:
    """Return the shortcut bits of a block: n (n + 1) / 2."""
    return num_layers * (num_layers + 1) // 2


@dataclass(frozen=True)
class Block:
    """A block of `num_layers` layers that add `growth` maps each; `shortcuts` in the order of the module's rule."""

    num_layers: int
    growth: int
    shortcuts: tuple[bool, ...]

    def __post_init__(self) -> None:
        assert len(self.shortcuts) == num_shortcuts(self.num_layers)

    def __str__(self) -> str:
        number = sum(bit << place for place, bit in enumerate(reversed(self.shortcuts)))
        return f"{self.num_layers}k{self.growth}x{number:0{-(-len(self.shortcuts) // 4)}x}"

    def sources(self, t: int) -> list[int]:
        """Return the outputs, ascending, that layer t + 1 reads; `t` = n: what follows the block."""
        first = t * (t - 1) // 2
        return [j for j in range(t) if self.shortcuts[first + j]] + [t]

    def with_all(self, value: bool) -> "Block":
        """Return the block with all shortcuts, or with none."""
        return Block(self.num_layers, self.growth, (value,) * len(self.shortcuts))


def blocks_name(blocks: Sequence[Block]) -> str:
    """Return the name of the model with these blocks."""
    return WRITTEN_MARK.join([FAMILY, *map(str, blocks)])


def blocks_of(name: str) -> tuple[Block, ...]:
    """Return the blocks that a model's name writes out; UserError in one line where it writes none."""
    parts = base_of(name).split(WRITTEN_MARK)[1:]
    if not 1 <= len(parts) <= MOST_BLOCKS:
        raise _refused(name, f"{len(parts)} blocks", f"1 to {MOST_BLOCKS} blocks")
    return tuple(_block(name, part) for part in parts)


def _block(name: str, part: str) -> Block:
    found = _BLOCK.fullmatch(part)
    if found is None:
        raise _refused(name, show(part), "blocks such as 3k12x2f: layers, growth rate, shortcut bits")
    num_layers, growth, number = int(found[1]), int(found[2]), int(found[3], 16)
    num_bits = num_shortcuts(num_layers)
    if num_layers > MOST_LAYERS:
        raise _refused(name, show(part), f"1 to {MOST_LAYERS} layers")
    if number >= 2**num_bits or len(found[3]) != -(-num_bits // 4):
        raise _refused(name, show(part), f"{-(-num_bits // 4)} digits for {num_bits} shortcut bits")
    return Block(num_layers, growth, tuple(bool(number >> place & 1) for place in reversed(range(num_bits))))


def _refused(name: str, what: str, allowed: str) -> UserError:
    return UserError(f"baseline.models: {show(name)}: {what} is not allowed; allowed: {allowed}")


def _conv(num_inputs: int, num_outputs: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(num_inputs, num_outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv


class ShortcutBlock(nn.Module):
    """Layers that read what their bits say; see the module.

    Maps [b, input_width, h, w] become [b, output_width, h, w].
    """

    def __init__(self, input_width: int, block: Block) -> None:
        super().__init__()
        widths = [input_width, *[block.growth] * block.num_layers]
        self.sources = [block.sources(t) for t in range(block.num_layers + 1)]
        read = [sum(widths[j] for j in one) for one in self.sources]
        inner = BOTTLENECK_WIDTH * block.growth
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(width),
                nn.ReLU(),
                _conv(width, inner, 1),
                nn.BatchNorm2d(inner),
                nn.ReLU(),
                _conv(inner, block.growth, 3),
            )
            for width in read[:-1]
        )
        self.output_width = read[-1]

    def forward(self, maps: Tensor) -> Tensor:
        """Return what follows the block reads."""
        outputs = [maps]
        for layer, sources in zip(self.layers, self.sources, strict=False):
            outputs.append(layer(_joined(outputs, sources)))
        return _joined(outputs, self.sources[-1])


def _joined(outputs: list[Tensor], sources: list[int]) -> Tensor:
    return outputs[sources[0]] if len(sources) == 1 else torch.cat([outputs[j] for j in sources], 1)


class ShortcutNet(nn.Module):
    """A network of blocks for images as `spec` says."""

    def __init__(self, blocks: Sequence[Block], spec: ModelSpec) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(spec.num_channels, STEM_WIDTH, 3), nn.BatchNorm2d(STEM_WIDTH), nn.ReLU()
        )
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        self.num_pools = num_halvings(spec.image_size, len(blocks) - 1, smallest=1)
        width = STEM_WIDTH
        for index, block in enumerate(blocks):
            if index > 0:
                half = max(1, width // 2)
                self.transitions.append(
                    nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), _conv(width, half, 1))
                )
                width = half
            built = ShortcutBlock(width, block)
            self.blocks.append(built)
            width = built.output_width
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, spec.num_classes)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Classify float images [b, c, h, w]; return logits [b, classes]."""
        maps = self.blocks[0](self.stem(images))
        for index, (transition, block) in enumerate(
            zip(self.transitions, list(self.blocks)[1:], strict=True)
        ):
            maps = transition(maps)
            maps = block(functional.avg_pool2d(maps, 2) if index < self.num_pools else maps)
        return self.classifier(self.head(maps).mean((2, 3)))  # type: ignore[no-any-return]


@MODELS.register(f"{FAMILY}{WRITTEN_SUFFIX}")
def build_blocks(spec: ModelSpec) -> ShortcutNet:
    """Build the network of blocks that stands in the name."""
    return ShortcutNet(blocks_of(spec.name), spec)
