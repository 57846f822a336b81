"""The hybrid of swarm and genetic algorithm: its encoding, its operators, and how the two levels go together."""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models.searched.shortcuts import blocks_of
from pipelines.search import Fitness
from pipelines.search.blocks import (
    decode_shape,
    draw_position,
    encode_shape,
    name_of,
    num_bits,
    random_blocks,
    search_blocks,
)
from pipelines.search.genetic import Bits, Breeding, breed, child_of, side_by_side, tournament
from tests.unit.search.algorithms import BLOCKS, GENETIC, NameTask, by_name, fitness_of

PAIRS = st.tuples(st.integers(1, BLOCKS.most_layers), st.integers(BLOCKS.least_growth, BLOCKS.most_growth))
SHAPES = st.lists(PAIRS, min_size=1, max_size=BLOCKS.most_blocks).map(tuple)


def text_of(bits: Bits) -> str:
    return "".join(str(int(bit)) for bit in bits)


@given(shape=SHAPES, data=st.data())
def test_a_particle_and_its_bits_are_decoded_to_what_was_encoded(
    shape: tuple[tuple[int, int], ...], data: st.DataObject
) -> None:
    position = encode_shape(shape, BLOCKS)
    assert len(position) == 1 + 2 * BLOCKS.most_blocks
    assert decode_shape(position, BLOCKS) == shape
    size = num_bits(shape)
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    blocks = blocks_of(name_of(shape, bits))
    assert tuple((block.num_layers, block.growth) for block in blocks) == shape
    assert [bit for block in blocks for bit in block.shortcuts] == bits.tolist()


@given(st.lists(st.floats(-1e6, 1e6), min_size=7, max_size=7))
def test_every_position_is_a_network_of_the_space(numbers: list[float]) -> None:
    shape = decode_shape(np.array(numbers), BLOCKS)
    assert 1 <= len(shape) <= BLOCKS.most_blocks
    for num_layers, growth in shape:
        assert 1 <= num_layers <= BLOCKS.most_layers
        assert BLOCKS.least_growth <= growth <= BLOCKS.most_growth


def test_drawn_particles_and_bits_reach_both_ends_of_the_space() -> None:
    generator = np.random.default_rng(1)
    drawn = np.array([draw_position(generator, BLOCKS) for _ in range(500)])
    low, high = BLOCKS.bounds
    assert np.array_equal(drawn.min(0), low)
    assert np.array_equal(drawn.max(0), high)
    bits = {
        bit
        for _ in range(20)
        for block in blocks_of(random_blocks(generator, BLOCKS))
        for bit in block.shortcuts
    }
    assert bits == {False, True}


@pytest.mark.parametrize("crossover", [0.0, 1.0])
def test_every_bit_of_a_child_is_one_of_a_parent_that_has_won(crossover: float) -> None:
    generator = np.random.default_rng(2)
    config = replace(GENETIC, crossover=crossover, flips=0.0)
    population = [np.array(bits) for bits in ([True] * 8, [False] * 8, [True, False] * 4)]
    fitness = [fitness_of(accuracy) for accuracy in (0.1, 0.5, 0.9)]  # so the first never wins
    winners = {text_of(bits) for bits in population[1:]}
    mixed = 0
    for _ in range(100):
        child = text_of(child_of(generator, population, fitness, config))
        mixed += child not in winners
        assert child[1::2] == "0000"  # of both winners
    assert mixed > 20 if crossover else mixed == 0
    assert {text_of(tournament(generator, population, fitness)) for _ in range(50)} == winners


def test_one_bit_of_a_child_is_flipped_on_average() -> None:
    generator = np.random.default_rng(3)
    population = [np.zeros(30, dtype=bool)] * 2
    fitness = [fitness_of(0.5)] * 2
    flips = [int(child_of(generator, population, fitness, GENETIC).sum()) for _ in range(3000)]
    assert np.mean(flips) == pytest.approx(1, abs=5 * (1 / 3000) ** 0.5)  # binomial: a variance below 1


def play(breeding: Generator[Sequence[str], Sequence[Fitness], Any]) -> tuple[list[Sequence[str]], Any]:
    """Run a genetic algorithm with the fitness of the names; return its generations and what it returns."""
    batches = [next(breeding)]
    while True:
        try:
            batches.append(breeding.send([by_name(NameTask(name)) for name in batches[-1]]))
        except StopIteration as end:
            return batches, end.value


def test_the_best_of_all_generations_is_returned_and_kept() -> None:
    config = replace(GENETIC, population=4, generations=6)
    for seed in range(8):
        batches, (best, fitness) = play(breed(np.random.default_rng(seed), config, 12, text_of))
        assert [len(batch) for batch in batches] == [4, 3, 3, 3, 3, 3]
        ranks = {name: by_name(NameTask(name)).rank for name in itertools.chain(*batches)}
        assert fitness.rank == ranks[text_of(best)] == max(ranks.values())


def test_side_by_side_each_gets_its_own_fitness() -> None:
    config = replace(GENETIC, population=4, generations=3)

    def all_of_them() -> list[Breeding]:
        return [breed(np.random.default_rng(size), config, size, text_of) for size in (3, 9, 14)]

    alone = [(text_of(bits), fitness) for _, (bits, fitness) in map(play, all_of_them())]
    together = side_by_side(all_of_them())
    batches, results = play(together)
    assert [len(batch) for batch in batches] == [12, 9, 9]
    assert [(text_of(bits), fitness) for bits, fitness in results] == alone


def test_a_particle_is_worth_its_best_shortcuts_and_the_swarm_moves_to_the_best() -> None:
    """Fitness: the growth rates, whatever the shortcuts are. A swarm that flies for long has found the largest."""
    proposals = search_blocks(np.random.default_rng(4), BLOCKS, GENETIC, 4)
    batch = next(proposals)
    assert len(batch) == 4 * GENETIC.population
    # Each particle's individuals have its blocks.
    shapes = [[(one.num_layers, one.growth) for one in blocks_of(name)] for name in batch]
    assert all(shapes[index] == shapes[index - index % 3] for index in range(12))
    first = [growth_of(name) for name in batch]
    for _ in range(60):
        batch = proposals.send([fitness_of(growth_of(name) / 12) for name in batch])
    assert len(batch) in (12, 8)
    assert np.mean([growth_of(name) for name in batch]) > np.mean(first) + 1


def growth_of(name: str) -> float:
    return float(np.mean([block.growth for block in blocks_of(name)]))
