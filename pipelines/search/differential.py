"""DECNN: differential evolution of chains of unequal lengths, with a second crossover that changes the depth.

Wang, Sun, Xue and Zhang 2018 (arXiv:1808.06661), after the description in the abstract; what is ours is said below.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.config import number, whole
from pipelines.models.searched.chain import MOST_LAYERS
from pipelines.search.fitness import Fitness, Proposals
from pipelines.search.layers import LEAST_LAYERS, Chain, name_of, random_chain, repair

NUM_TRIES = 10  # of the second crossover, until both children have an allowed length
MOST_FACTOR = 2.0


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """Parameters of differential evolution over chains."""

    least_layers: int
    """Of a chain, its classifier included."""
    most_layers: int
    """Of a chain, its classifier included."""
    most_full: int
    """Fully connected layers of a chain, its classifier included."""
    factor: float
    """F: what the difference of two others is multiplied by."""
    crossover: float
    """CR: probability that a byte of the trial comes from the mutant."""
    jitter: float
    """Standard deviation, in layers, of the second crossover's cut around the middle of a parent."""

    def __post_init__(self) -> None:
        whole(self, "least_layers", least=LEAST_LAYERS, most=MOST_LAYERS)
        whole(self, "most_layers", least=self.least_layers, most=MOST_LAYERS)
        whole(self, "most_full", most=MOST_LAYERS)
        number(self, "factor", above=0.0, most=MOST_FACTOR)
        number(self, "crossover", least=0.0, most=1.0)
        number(self, "jitter", least=0.0, most=MOST_LAYERS)


def draw_chain(generator: np.random.Generator, config: EvolutionConfig) -> Chain:
    """Draw a chain: its length first, uniformly."""
    length = int(generator.integers(config.least_layers, config.most_layers + 1))
    return random_chain(generator, length, config.most_full, disabled=False)


def random_name(generator: np.random.Generator, config: EvolutionConfig) -> str:
    """Return the name of a network drawn as the first population is."""
    return name_of(draw_chain(generator, config))


def evolve(generator: np.random.Generator, config: EvolutionConfig, population_size: int) -> Proposals:
    """Propose the first population, then by turns the trials of all targets and two children of the second crossover.

    A trial replaces its target where it is better. Of two parents and their children the best two survive. One pair a
    generation, as the abstract speaks of two children.
    """
    population = [draw_chain(generator, config) for _ in range(population_size)]
    fitness = list((yield [name_of(chain) for chain in population]))
    while True:
        trials = [trial_of(generator, population, index, config) for index in range(population_size)]
        judged = yield [name_of(chain) for chain in trials]
        for index, (chain, own) in enumerate(zip(trials, judged, strict=True)):
            if own.rank > fitness[index].rank:
                population[index], fitness[index] = chain, own
        parents = choose_parents(generator, fitness)
        children = swap_tails(generator, population[parents[0]], population[parents[1]], config)
        judged = yield [name_of(chain) for chain in children]
        family = [(fitness[index], population[index]) for index in parents]
        family += zip(judged, children, strict=True)
        family.sort(key=lambda member: member[0].rank, reverse=True)  # stable: parents before equal children
        for index, (own, chain) in zip(parents, family[:2], strict=True):
            population[index], fitness[index] = chain, own


def trial_of(
    generator: np.random.Generator, population: list[Chain], target: int, config: EvolutionConfig
) -> Chain:
    """Return the trial of the individual `target`: DE/rand/1 and binomial crossover, byte by byte.

    Target and three others, all different, are cut to the length of the shortest of them, each from a random start on.
    The mutant r1 + F (r2 - r3) is taken modulo 256; the trial is the target with the mutant's bytes, at least one, in
    its cut, repaired. So its length is the target's.
    """
    others = [index for index in range(len(population)) if index != target]
    chosen = [population[target], *(population[i] for i in generator.choice(others, 3, replace=False))]
    length = min(map(len, chosen))
    starts = [int(generator.integers(len(chain) - length + 1)) for chain in chosen]
    r1, r2, r3 = (
        chain[start : start + length].astype(np.int64)
        for chain, start in zip(chosen[1:], starts[1:], strict=True)
    )
    mutant = (r1 + np.rint(config.factor * (r2 - r3)).astype(np.int64)) % 256
    taken = generator.random(mutant.shape) < config.crossover
    taken.flat[generator.integers(taken.size)] = True
    trial = population[target].copy()
    cut = trial[starts[0] : starts[0] + length]
    cut[taken] = mutant[taken]
    return repair(trial, config.most_full, disabled=False)


def choose_parents(generator: np.random.Generator, fitness: list[Fitness]) -> tuple[int, int]:
    """Return two different individuals, each the better one of two that were drawn."""

    def tournament(candidates: list[int]) -> int:
        first, second = (int(one) for one in generator.choice(candidates, 2, replace=False))
        return first if fitness[first].rank >= fitness[second].rank else second

    everyone = list(range(len(fitness)))
    one = tournament(everyone)
    return one, tournament([index for index in everyone if index != one])


def swap_tails(
    generator: np.random.Generator, first: Chain, second: Chain, config: EvolutionConfig
) -> tuple[Chain, Chain]:
    """Return two children that have the head of one parent and the tail of the other, repaired.

    Each parent is cut at its middle plus a normal draw of `jitter` layers, rounded, with a layer or more on both sides.
    Where a child would have a length that is not allowed the cuts are drawn again, and after some tries the children
    are the parents.
    """
    for _ in range(NUM_TRIES):
        cuts = [
            int(np.clip(np.rint(generator.normal(len(chain) / 2, config.jitter)), 1, len(chain) - 1))
            for chain in (first, second)
        ]
        children = (
            np.concatenate([first[: cuts[0]], second[cuts[1] :]]),
            np.concatenate([second[: cuts[1]], first[cuts[0] :]]),
        )
        if all(config.least_layers <= len(child) <= config.most_layers for child in children):
            one, other = (repair(child, config.most_full, disabled=False) for child in children)
            return one, other
    return first.copy(), second.copy()
