"""What tests run searches with: no processes, and a fitness that is a function of the name."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.search import Fitness, Proposals, SearchConfig
from pipelines.search.blocks import BlocksConfig, search_blocks
from pipelines.search.chance import draw_at_random
from pipelines.search.differential import EvolutionConfig, evolve, random_name
from pipelines.search.genetic import GeneticConfig
from pipelines.search.swarm import SwarmConfig, fly

EVOLUTION = EvolutionConfig(
    least_layers=3, most_layers=10, most_full=3, factor=0.6, crossover=0.45, jitter=1.0
)
SWARM = SwarmConfig(length=9, most_full=3)
BLOCKS = BlocksConfig(most_blocks=3, most_layers=4, least_growth=4, most_growth=12)
GENETIC = GeneticConfig(population=3, generations=2, crossover=0.9, flips=1.0)
POPULATION = 5
ALGORITHMS: dict[str, Callable[[np.random.Generator], Proposals]] = {
    "evolve": partial(evolve, config=EVOLUTION, population_size=POPULATION),
    "fly": partial(fly, config=SWARM, population_size=POPULATION),
    "hybrid": partial(search_blocks, config=BLOCKS, genetic=GENETIC, population_size=POPULATION),
    "chance": partial(
        draw_at_random, draw=partial(random_name, config=EVOLUTION), population_size=POPULATION
    ),
}


class Here(Executor):
    """Computes at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(frozen=True)
class NameTask:
    """A network that is nothing but its name."""

    name: str

    @property
    def key(self) -> str:
        return self.name


def fitness_of(accuracy: float, **changes: Any) -> Fitness:
    values = {"deviation": 0.0, "multiply_adds": 1, "seconds": 1.0, "reason": None}
    return Fitness(accuracy=accuracy, **{**values, **changes})


def by_name(task: NameTask) -> Fitness:
    """Return an accuracy that looks random, the same for the same name on every machine."""
    digest = hashlib.sha256(task.name.encode()).digest()
    return fitness_of(digest[0] / 256, multiply_adds=digest[1])


def make_config(**changes: Any) -> SearchConfig:
    values = {
        "population": POPULATION,
        "evaluations": 23,
        "seconds": None,
        "epochs": 1,
        "train_images": 40,
        "rates": (0.05,),
        "most_multiply_adds": None,
    }
    return SearchConfig(**{**values, **changes})
