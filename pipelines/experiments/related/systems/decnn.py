"""DECNN: differential evolution of convolutional networks, against IPPSO and random search at the same budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from pipelines.config import require
from pipelines.experiments.related.system import SYSTEMS, Comparison, Context, Role, System, Variant
from pipelines.models import find_factory, spec_of
from pipelines.models.searched.chain import chain_layers
from pipelines.results import Row
from pipelines.search import Search, SearchConfig
from pipelines.search.chance import draw_at_random
from pipelines.search.columns import SEARCH_COLUMNS
from pipelines.search.differential import EvolutionConfig, evolve, random_name
from pipelines.search.swarm import SwarmConfig, fly
from pipelines.tables import Column, count

LIKELY = "chain_c3m64s1_p2s2max_c3m64s1_p2s2max_f512"
"""A network about as large as those that are found."""


@dataclass(frozen=True, kw_only=True)
class DecnnOptions:
    """Parameters of DECNN; `related.systems.decnn`."""

    search: SearchConfig
    """Of all searches, so that their budget is the same (published: population 30, about 20 generations)."""
    evolution: EvolutionConfig
    """DECNN's own (published: F about 0.6, CR about 0.45); random search draws from its first population."""
    swarm: SwarmConfig
    """IPPSO's own."""
    by_hand: str
    """Registered model that the found ones are compared with, for orientation."""

    def __post_init__(self) -> None:
        find_factory(self.by_hand)
        fits = self.evolution.most_full < self.evolution.most_layers
        require(fits, "evolution.most_full", self.evolution.most_full, "fewer than evolution.most_layers")


@SYSTEMS.register("decnn")
class Decnn(System):
    """Three searches among chains of layers with the same number of evaluations."""

    Options = DecnnOptions
    options: DecnnOptions
    source: ClassVar[str] = (
        "Wang, Sun, Xue and Zhang, A Hybrid Differential Evolution Approach to Designing Deep Convolutional Neural "
        "Networks for Image Classification, 2018, arXiv:1808.06661; IPPSO: arXiv:1803.06492"
    )
    claim: ClassVar[str] = (
        "Differential evolution of encodings of variable length, with a second crossover that evolves the depth, finds "
        "better networks than IPPSO."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (*SEARCH_COLUMNS, Column("num_layers", "layers found", count))

    def variants(self) -> Sequence[Variant]:
        """Return the three searches and a network made by hand."""
        options = self.options
        size = options.search.population
        table = [
            ("decnn", Role.SYSTEM, "DECNN", partial(evolve, config=options.evolution, population_size=size)),
            ("ippso", Role.PEER, "IPPSO", partial(fly, config=options.swarm, population_size=size)),
            (
                "random",
                Role.BASELINE,
                "random search in the same space",
                partial(
                    draw_at_random, draw=partial(random_name, config=options.evolution), population_size=size
                ),
            ),
        ]
        return [
            *(
                Variant(
                    name=name,
                    role=role,
                    what=f"{what}, {options.search.evaluations} networks judged",
                    model=LIKELY,
                    search=Search(propose=propose, config=options.search),
                )
                for name, role, what, propose in table
            ),
            Variant(
                name="by_hand", role=Role.PEER, what=f"by hand: {options.by_hand}", model=options.by_hand
            ),
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that DECNN beats IPPSO, and random search, without which that would say little."""
        return [
            Comparison(first="decnn", second="ippso"),
            Comparison(first="decnn", second="random"),
            Comparison(first="ippso", second="random", counted=False),
            Comparison(first="decnn", second="by_hand", counted=False),
            Comparison(first="decnn", second="random", key="search_accuracy", counted=False),
        ]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Count the layers of what was found, the classifier included."""
        if variant.search is None:
            return {}
        return {"num_layers": len(chain_layers(spec_of(network).name)) + 1}
