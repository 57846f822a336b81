"""Random search: what every other algorithm has to beat at the same budget."""

from collections.abc import Callable

import numpy as np

from pipelines.search.fitness import Proposals


def draw_at_random(
    generator: np.random.Generator, draw: Callable[[np.random.Generator], str], population_size: int
) -> Proposals:
    """Propose networks that `draw` draws independently, in generations of the others' size."""
    while True:
        yield [draw(generator) for _ in range(population_size)]
