"""The operators against slow references that try every draw, and what a generation may change."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from pipelines.search.differential import choose_parents, draw_chain, evolve, swap_tails, trial_of
from pipelines.search.layers import Chain, name_of, repair
from pipelines.search.swarm import ATTRACTION, INERTIA, MOST_SPEED, Swarm, settled
from tests.unit.search.algorithms import EVOLUTION, POPULATION, SWARM, fitness_of

SEEDS = range(12)


def repaired(rows: list[list[int]]) -> bytes:
    return repair(np.array(rows, dtype=np.uint8), EVOLUTION.most_full, disabled=False).tobytes()


def all_mutants(population: list[Chain], target: int, factor: float) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield what DE/rand/1 can put at which place of the target, for every draw, with Python's whole numbers."""
    others = [index for index in range(len(population)) if index != target]
    for chosen in permutations(others, 3):
        chains = [population[index].tolist() for index in (target, *chosen)]
        length = min(map(len, chains))
        for at, *starts in product(*(range(len(chain) - length + 1) for chain in chains)):
            r1, r2, r3 = (
                chain[start : start + length] for chain, start in zip(chains[1:], starts, strict=True)
            )
            yield (
                at,
                [
                    [(a + round(factor * (b - c))) % 256 for a, b, c in zip(*rows, strict=True)]
                    for rows in zip(r1, r2, r3, strict=True)
                ],
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trial_is_a_mutant_of_some_draw_in_the_place_of_a_cut(seed: int) -> None:
    generator = np.random.default_rng(seed)
    config = replace(EVOLUTION, crossover=1.0, most_layers=6)
    population = [draw_chain(generator, config) for _ in range(4)]
    trial = trial_of(generator, population, 0, config)
    target = population[0].tolist()
    possible = {
        repaired([*target[:at], *mutant, *target[at + len(mutant) :]])
        for at, mutant in all_mutants(population, 0, config.factor)
    }
    assert trial.shape == population[0].shape
    assert trial.tobytes() in possible
    assert len(possible) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_without_crossover_one_byte_is_taken(seed: int) -> None:
    generator = np.random.default_rng(seed)
    config = replace(EVOLUTION, crossover=0.0, most_layers=5)
    population = [draw_chain(generator, config) for _ in range(4)]
    target = population[0].tolist()
    trial = trial_of(generator, population, 0, config)
    possible = set()
    for at, mutant in all_mutants(population, 0, config.factor):
        for row, column in product(range(len(mutant)), range(2)):
            changed = [list(one) for one in target]
            changed[at + row][column] = mutant[row][column]
            possible.add(repaired(changed))
    assert trial.tobytes() in possible


@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_crossover_swaps_tails_and_so_changes_the_depth(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = draw_chain(generator, EVOLUTION), draw_chain(generator, EVOLUTION)
    found = tuple(child.tobytes() for child in swap_tails(generator, first, second, EVOLUTION))
    one, two = first.tolist(), second.tolist()
    possible = {
        (repaired([*one[:i], *two[j:]]), repaired([*two[:j], *one[i:]]))
        for i in range(1, len(one))
        for j in range(1, len(two))
    }
    assert found in possible


def test_without_jitter_the_parents_are_cut_in_their_middle() -> None:
    generator = np.random.default_rng(1)
    config = replace(EVOLUTION, least_layers=2, jitter=0.0)
    first, second = (np.array([(24, value)] * length) for value, length in ((1, 4), (2, 8)))
    children = swap_tails(generator, first.astype(np.uint8), second.astype(np.uint8), config)
    assert [child[:, 1].tolist() for child in children] == [[1, 1, 2, 2, 2, 2], [2, 2, 2, 2, 1, 1]]


def test_children_of_a_length_that_is_not_allowed_are_the_parents() -> None:
    generator = np.random.default_rng(1)
    config = replace(EVOLUTION, least_layers=4, most_layers=4, jitter=0.0)
    first = draw_chain(generator, config)
    second = draw_chain(generator, replace(EVOLUTION, least_layers=8, most_layers=8))
    children = swap_tails(generator, first, second, config)
    assert [child.tobytes() for child in children] == [first.tobytes(), second.tobytes()]


def test_parents_differ_and_the_worst_is_none() -> None:
    generator = np.random.default_rng(2)
    fitness = [fitness_of(accuracy) for accuracy in (0.5, 0.1, 0.9, 0.7)]
    pairs = {choose_parents(generator, fitness) for _ in range(200)}
    assert all(one != other for one, other in pairs)
    assert {index for pair in pairs for index in pair} == {0, 2, 3}
    assert (2, 3) in pairs


def test_a_target_goes_only_for_a_better_trial_and_of_a_family_the_best_two_stay() -> None:
    """Trials and children that are all worse leave the population as it is; the search then proposes from it."""
    generator = np.random.default_rng(3)
    config = replace(EVOLUTION, crossover=0.0)
    proposals = evolve(generator, config, POPULATION)
    first = list(next(proposals))
    population = [fitness_of(0.5 + index / 100) for index in range(POPULATION)]
    batch = proposals.send(population)
    for _ in range(6):
        batch = proposals.send([fitness_of(0.1)] * len(batch))
        assert len(batch) in (POPULATION, 2)
    trials = list(batch) if len(batch) == POPULATION else list(proposals.send([fitness_of(0.1)] * 2))
    # With one byte from the mutant every trial keeps its target's length, but for layers of no meaning.
    depths = [name.count("_") for name in first]
    assert [name.count("_") for name in trials] == depths


def test_a_better_trial_takes_the_place_of_its_target() -> None:
    generator = np.random.default_rng(4)
    config = replace(EVOLUTION, crossover=1.0)
    proposals = evolve(generator, config, POPULATION)
    next(proposals)
    trials = proposals.send([fitness_of(0.1)] * POPULATION)
    children = proposals.send([fitness_of(0.9)] * POPULATION)
    # Children have layers of the trials, which are the population now.
    layers = {layer for name in trials for layer in name.split("_")[1:] if layer[0] != "f"}
    heads = [name.split("_")[1] for name in children]
    assert set(heads) <= layers


def test_particles_move_as_written_out() -> None:
    generator = np.random.default_rng(5)
    start = generator.uniform(0, 40, (3, 2, 2))
    swarm = Swarm(np.random.default_rng(6), list(start), MOST_SPEED)
    swarm.remember([fitness_of(accuracy) for accuracy in (0.2, 0.8, 0.5)])
    swarm.velocities = generator.uniform(-3, 3, (3, 2, 2))
    velocities = swarm.velocities.copy()
    swarm.move()  # from its own best
    draws = np.random.default_rng(6).random((2, 3, 2, 2))
    for p, i, j in product(range(3), range(2), range(2)):
        v = INERTIA * velocities[p, i, j]
        v += ATTRACTION * draws[1, p, i, j] * (start[1, i, j] - start[p, i, j])
        bound = (4.0, 25.6)[j]
        v = min(max(v, -bound), bound)
        assert swarm.velocities[p, i, j] == pytest.approx(v)
        assert swarm.positions[p, i, j] == pytest.approx(start[p, i, j] + v)
    moved = swarm.positions.copy()
    swarm.remember([fitness_of(accuracy) for accuracy in (0.1, 0.9, 0.5)])
    assert np.array_equal(swarm.best_positions, np.stack([start[0], moved[1], start[2]]))


def test_a_particle_is_where_its_chain_is() -> None:
    generator = np.random.default_rng(7)
    swarm = Swarm(generator, list(generator.uniform(-300, 600, (20, SWARM.length, 2))), MOST_SPEED)
    swarm.positions[0, 0, 1] = -1e-18  # whose remainder by 256 is 256
    for index in range(20):
        chain = settled(swarm, index, SWARM)
        assert np.array_equal(np.minimum(np.floor(swarm.positions[index]), 255), chain)
        assert np.array_equal(repair(chain, SWARM.most_full, disabled=True), chain)
        assert name_of(chain).startswith("chain_c")
