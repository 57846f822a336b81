"""Hybrid GA-PSO: a swarm over the architecture, and for each particle a genetic algorithm over its shortcuts.

Wang, Sun, Xue and Zhang 2019 (arXiv:1903.03893), after the description in the abstract and the authors' network
builder. A particle is the number of blocks, then layers and growth rate of every block that there may be: numbers that
are rounded and bounded where they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.config import whole
from pipelines.config.validate import MOST_WIDTH
from pipelines.models.searched.shortcuts import MOST_BLOCKS, MOST_LAYERS, Block, blocks_name, num_shortcuts
from pipelines.search.fitness import Proposals
from pipelines.search.genetic import Bits, GeneticConfig, breed, side_by_side
from pipelines.search.swarm import Position, Swarm

SPEED = 0.5  # the most that a velocity may be, in parts of a number's range; ours

Shape = tuple[tuple[int, int], ...]
"""Layers and growth rate of each block."""


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    """The space of architectures."""

    most_blocks: int
    """Blocks of a network are 1 to so many."""
    most_layers: int
    """Layers of a block are 1 to so many."""
    least_growth: int
    """The least growth rate of a block."""
    most_growth: int
    """The largest growth rate of a block."""

    def __post_init__(self) -> None:
        whole(self, "most_blocks", most=MOST_BLOCKS)
        whole(self, "most_layers", most=MOST_LAYERS)
        whole(self, "least_growth", most=MOST_WIDTH)
        whole(self, "most_growth", least=self.least_growth, most=min(MOST_WIDTH, 9_999))

    @property
    def bounds(self) -> tuple[Position, Position]:
        """The least and the largest value of each number of a particle, float64 [1 + 2 most_blocks]."""
        low = [1, *[1, self.least_growth] * self.most_blocks]
        high = [self.most_blocks, *[self.most_layers, self.most_growth] * self.most_blocks]
        return np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)


def decode_shape(position: Position, config: BlocksConfig) -> Shape:
    """Return the blocks that a particle's numbers say; those of further blocks have no meaning."""
    low, high = config.bounds
    numbers = np.rint(np.clip(position, low, high)).astype(int).tolist()
    pairs = list(zip(numbers[1::2], numbers[2::2], strict=True))
    return tuple(pairs[: numbers[0]])


def encode_shape(shape: Shape, config: BlocksConfig) -> Position:
    """Return a particle's numbers for these blocks; numbers of no meaning are the least ones."""
    position = config.bounds[0].copy()
    position[0] = len(shape)
    position[1 : 1 + 2 * len(shape)] = np.ravel(shape)
    return position


def name_of(shape: Shape, bits: Bits) -> str:
    """Return the name of the network with these blocks, whose shortcut bits stand one block after the other."""
    blocks, start = [], 0
    for num_layers, growth in shape:
        stop = start + num_shortcuts(num_layers)
        blocks.append(Block(num_layers, growth, tuple(bool(bit) for bit in bits[start:stop])))
        start = stop
    return blocks_name(blocks)


def num_bits(shape: Shape) -> int:
    """Return the shortcut bits of all blocks."""
    return sum(num_shortcuts(num_layers) for num_layers, _ in shape)


def draw_position(generator: np.random.Generator, config: BlocksConfig) -> Position:
    """Draw a particle, every whole number of a range with the same probability."""
    low, high = config.bounds
    return low + np.floor(generator.random(low.shape) * (high - low + 1))


def random_blocks(generator: np.random.Generator, config: BlocksConfig) -> str:
    """Return the name of a network whose blocks and shortcuts are drawn as the first ones of the hybrid are."""
    shape = decode_shape(draw_position(generator, config), config)
    return name_of(shape, generator.random(num_bits(shape)) < 0.5)


def search_blocks(
    generator: np.random.Generator, config: BlocksConfig, genetic: GeneticConfig, population_size: int
) -> Proposals:
    """Propose networks: for each position of the swarm the generations of a genetic algorithm for every particle.

    The best fitness of its shortcuts is a particle's. Particles bounce at no wall: their numbers are bounded where they
    are read, and moved there.
    """
    low, high = config.bounds
    positions = [draw_position(generator, config) for _ in range(population_size)]
    swarm = Swarm(generator, positions, SPEED * (high - low))
    while True:
        shapes: Sequence[Shape] = [decode_shape(position, config) for position in swarm.positions]
        children = generator.spawn(population_size)
        results = yield from side_by_side(
            [
                breed(child, genetic, num_bits(shape), lambda bits, shape=shape: name_of(shape, bits))  # type: ignore[misc]
                for child, shape in zip(children, shapes, strict=True)
            ]
        )
        swarm.remember([fitness for _, fitness in results])
        swarm.move()
        swarm.positions = np.clip(swarm.positions, low, high)
