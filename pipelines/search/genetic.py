"""A genetic algorithm over bits: tournaments of two, uniform crossover, flips, and the best one kept."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.config import number, whole
from pipelines.config.validate import MOST_STEPS
from pipelines.search.config import MOST_POPULATION
from pipelines.search.fitness import Fitness

Bits = npt.NDArray[np.bool_]
Breeding = Generator[Sequence[str], Sequence[Fitness], tuple[Bits, Fitness]]
"""An algorithm as `Proposals` are, which ends, and returns its best bits and their fitness."""


@dataclass(frozen=True, kw_only=True)
class GeneticConfig:
    """Parameters of the genetic algorithm over shortcut bits."""

    population: int
    """Individuals (published: 10)."""
    generations: int
    """Generations, the first population included (published: 5)."""
    crossover: float
    """Probability that two parents are crossed, bit by bit, and not copied (published: 0.9)."""
    flips: float
    """Bits of a child that are flipped on average."""

    def __post_init__(self) -> None:
        whole(self, "population", least=2, most=MOST_POPULATION)
        whole(self, "generations", most=MOST_STEPS)
        number(self, "crossover", least=0.0, most=1.0)
        number(self, "flips", least=0.0, most=MOST_POPULATION)


def breed(
    generator: np.random.Generator,
    config: GeneticConfig,
    num_bits: int,
    name_of: Callable[[Bits], str],
) -> Breeding:
    """Propose generation after generation of bits [num_bits]; return the best ones and their fitness."""
    population = [generator.random(num_bits) < 0.5 for _ in range(config.population)]
    fitness = list((yield [name_of(bits) for bits in population]))
    for _ in range(config.generations - 1):
        best = best_of(fitness)
        children = [child_of(generator, population, fitness, config) for _ in range(config.population - 1)]
        judged = yield [name_of(bits) for bits in children]
        population = [population[best], *children]
        fitness = [fitness[best], *judged]
    best = best_of(fitness)
    return population[best], fitness[best]


def best_of(fitness: Sequence[Fitness]) -> int:
    """Return the index of the best one, of equals the first."""
    return max(range(len(fitness)), key=lambda index: fitness[index].rank)


def child_of(
    generator: np.random.Generator,
    population: Sequence[Bits],
    fitness: Sequence[Fitness],
    config: GeneticConfig,
) -> Bits:
    """Return a child of two parents, each the better one of two that were drawn."""
    first, second = (tournament(generator, population, fitness) for _ in range(2))
    child = first.copy()
    if generator.random() < config.crossover:
        taken = generator.random(len(child)) < 0.5
        child[taken] = second[taken]
    flipped = generator.random(len(child)) < config.flips / len(child)
    return child ^ flipped


def tournament(
    generator: np.random.Generator, population: Sequence[Bits], fitness: Sequence[Fitness]
) -> Bits:
    """Return the better one of two different individuals that are drawn, of equals the first."""
    one, other = (int(index) for index in generator.choice(len(population), 2, replace=False))
    return population[one] if fitness[one].rank >= fitness[other].rank else population[other]


def side_by_side(
    proposals: Sequence[Breeding],
) -> Generator[Sequence[str], Sequence[Fitness], list[tuple[Bits, Fitness]]]:
    """Run algorithms of equally many generations as one: each generation proposes what all of them do."""
    batches = [next(one) for one in proposals]
    while True:
        judged = yield [name for batch in batches for name in batch]
        results: list[tuple[Bits, Fitness]] = []
        start = 0
        for index, one in enumerate(proposals):
            own = judged[start : start + len(batches[index])]
            start += len(batches[index])
            try:
                batches[index] = one.send(own)
            except StopIteration as end:
                results.append(end.value)
        if results:
            assert len(results) == len(proposals), "they have equally many generations"
            return results
