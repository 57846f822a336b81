"""Particle swarm optimization, and IPPSO: a swarm of chains of a fixed length with disabled layers.

Wang, Sun, Xue and Zhang 2018 (arXiv:1803.06492).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.config import whole
from pipelines.models.searched.chain import MOST_LAYERS
from pipelines.search.fitness import Fitness, Proposals
from pipelines.search.layers import LEAST_LAYERS, Chain, name_of, random_chain, repair

Position = npt.NDArray[np.float64]
INERTIA = 0.7298  # w and c of IPPSO and of GA-PSO: Clerc's constriction
ATTRACTION = 1.49618
MOST_SPEED = np.array([4.0, 25.6])
"""Of the two bytes of an address, a step (published)."""


@dataclass(frozen=True, kw_only=True)
class SwarmConfig:
    """Parameters of IPPSO."""

    length: int
    """Layers of a particle, its classifier and disabled ones included (published: 9)."""
    most_full: int
    """Fully connected layers of a particle, its classifier included (published: 3)."""

    def __post_init__(self) -> None:
        whole(self, "length", least=LEAST_LAYERS, most=MOST_LAYERS)
        whole(self, "most_full", most=self.length - 1)


class Swarm:
    """Particles at `positions`, arrays of one shape, and what they remember.

    Velocities start at 0 and are bounded by `most_speed`, which has the shape of a position or is broadcast to it.
    Draws come from `generator`.
    """

    def __init__(
        self, generator: np.random.Generator, positions: Sequence[Position], most_speed: npt.ArrayLike
    ) -> None:
        self._generator = generator
        self._most_speed = np.asarray(most_speed, dtype=np.float64)
        self.positions = np.array(positions, dtype=np.float64)
        self.velocities = np.zeros_like(self.positions)
        self.best_positions = self.positions.copy()
        self.best_ranks: list[tuple[Any, ...] | None] = [None] * len(self.positions)

    def remember(self, fitness: Sequence[Fitness]) -> None:
        """Take over the present positions of those particles that are better than ever."""
        for index, one in enumerate(fitness):
            before = self.best_ranks[index]
            if before is None or one.rank > before:
                self.best_ranks[index] = one.rank
                self.best_positions[index] = self.positions[index]

    def move(self) -> None:
        """Move all particles: v = w v + c r1 (own best - x) + c r2 (best of all - x), x = x + v."""
        leader = max(range(len(self.positions)), key=lambda index: self.best_ranks[index] or ())
        own, all_ = self._generator.random((2, *self.positions.shape))
        self.velocities = (
            INERTIA * self.velocities
            + ATTRACTION * own * (self.best_positions - self.positions)
            + ATTRACTION * all_ * (self.best_positions[leader] - self.positions)
        )
        self.velocities = np.clip(self.velocities, -self._most_speed, self._most_speed)
        self.positions = self.positions + self.velocities


def fly(generator: np.random.Generator, config: SwarmConfig, population_size: int) -> Proposals:
    """Propose the particles of IPPSO, generation by generation.

    A particle is nine addresses with disabled ones among them. Bytes wrap at 256, and what is not allowed is repaired;
    the fractions of bytes that the repair leaves alone are kept.
    """
    chains = [
        random_chain(generator, config.length, config.most_full, disabled=True)
        for _ in range(population_size)
    ]
    swarm = Swarm(generator, [chain.astype(np.float64) for chain in chains], MOST_SPEED)
    while True:
        swarm.remember((yield [name_of(settled(swarm, index, config)) for index in range(population_size)]))
        swarm.move()


def settled(swarm: Swarm, index: int, config: SwarmConfig) -> Chain:
    """Return the chain at the position of a particle, which moves to the nearest one that is allowed."""
    wrapped = swarm.positions[index] % 256
    # 256 itself comes out of the remainder of a tiny negative number.
    chain = np.minimum(np.floor(wrapped), 255).astype(np.uint8)
    repaired = repair(chain, config.most_full, disabled=True)
    swarm.positions[index] = np.where(repaired == chain, wrapped, repaired)
    return repaired
