"""Hybrid GA-PSO: blocks by a swarm and shortcuts by a genetic algorithm, in a space that DenseNet is a point of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from torch import nn

from pipelines.config import number, require
from pipelines.experiments.related.system import SYSTEMS, Comparison, Context, Role, System, Variant
from pipelines.models import build_from_spec, count_parameters, is_densenet, spec_of
from pipelines.models.broad import densenet_of_size
from pipelines.models.searched.shortcuts import FAMILY, blocks_name, blocks_of
from pipelines.results import Row
from pipelines.search import Search, SearchConfig
from pipelines.search.blocks import BlocksConfig, random_blocks, search_blocks
from pipelines.search.chance import draw_at_random
from pipelines.search.columns import SEARCH_COLUMNS
from pipelines.search.genetic import GeneticConfig
from pipelines.tables import Column, count, percent
from pipelines.training.config import MOST_RATE

LIKELY = "blocks_3k8x3f_3k8x3f_3k8x3f"
"""A network about as large as those that are found."""


@dataclass(frozen=True, kw_only=True)
class GaPsoOptions:
    """Parameters of the hybrid; `related.systems.ga_pso`."""

    search: SearchConfig
    """Of all searches, so that their budget is the same (published: a swarm of 20, ten steps)."""
    blocks: BlocksConfig
    """The space."""
    genetic: GeneticConfig
    """The genetic algorithm of each particle."""
    fixed_rate: float
    """Learning rate of the ablation that does not adjust it."""
    densenet: str
    """DenseNet, densenet22, that gets the growth rate for as many parameters as the found network has."""

    def __post_init__(self) -> None:
        number(self, "fixed_rate", above=0.0, most=MOST_RATE)
        require(is_densenet(self.densenet), "densenet", self.densenet, "a DenseNet, such as densenet22")


@SYSTEMS.register("ga_pso")
class GaPso(System):
    """The hybrid against random search, the DenseNet of equal size, and both ends of its space at the found blocks."""

    Options = GaPsoOptions
    options: GaPsoOptions
    source: ClassVar[str] = (
        "Wang, Sun, Xue and Zhang, A Hybrid GA-PSO Method for Evolving Architecture and Short Connections of Deep "
        "Convolutional Neural Networks, 2019, arXiv:1903.03893"
    )
    claim: ClassVar[str] = (
        "Evolving architecture and shortcut connections by a two-level hybrid of particle swarm and genetic algorithm, "
        "judged with an adjustable learning rate, finds networks that beat those that were not evolved."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (
        *SEARCH_COLUMNS,
        Column("num_blocks", "blocks", count),
        Column("num_layers", "layers in them", count),
        Column("growth_rate", "growth rate", count),
        Column("shortcut_share", "shortcuts, of those of a DenseNet", percent),
    )

    def variants(self) -> Sequence[Variant]:
        """Return the searches, then what stands beside the found network, seed by seed."""
        options = self.options
        size = options.search.population
        hybrid = partial(search_blocks, config=options.blocks, genetic=options.genetic, population_size=size)
        chance = partial(
            draw_at_random, draw=partial(random_blocks, config=options.blocks), population_size=size
        )
        fixed = replace(options.search, rates=(options.fixed_rate,))
        judged = f"{options.search.evaluations} networks judged"
        searches = [
            ("ga_pso", Role.SYSTEM, f"hybrid GA-PSO, {judged}", hybrid, options.search),
            ("random", Role.PEER, f"random search, {judged}", chance, options.search),
            (
                "fixed_rate",
                Role.ABLATION,
                f"hybrid, judged at the rate {options.fixed_rate:g}",
                hybrid,
                fixed,
            ),
        ]
        points = [
            ("dense", "the found blocks with all shortcuts: dense blocks", True),
            ("chain", "the found blocks without shortcuts: a plain chain", False),
        ]
        return [
            *(
                Variant(
                    name=name,
                    role=role,
                    what=what,
                    model=LIKELY,
                    search=Search(propose=propose, config=config),
                )
                for name, role, what, propose, config in searches
            ),
            Variant(
                name="densenet",
                role=Role.BASELINE,
                what=f"{options.densenet} with as many parameters as the found network",
                model=options.densenet,
                after="ga_pso",
                change=as_large_as_found,
            ),
            *(
                Variant(
                    name=name,
                    role=Role.ABLATION,
                    what=what,
                    model=LIKELY,
                    after="ga_pso",
                    change=partial(with_shortcuts, all_of_them=value),
                )
                for name, what, value in points
            ),
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that the hybrid beats DenseNet, and random search, without which that would say little."""
        return [
            Comparison(first="ga_pso", second="densenet"),
            Comparison(first="ga_pso", second="random"),
            *(
                Comparison(first="ga_pso", second=other, counted=False)
                for other in ("fixed_rate", "dense", "chain")
            ),
            Comparison(first="ga_pso", second="random", key="search_accuracy", counted=False),
        ]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Say where in the space the network lies: 0 shortcuts is a plain chain, all of them a DenseNet."""
        name = spec_of(network).name
        if not name.startswith(FAMILY):
            return {}
        blocks = blocks_of(name)
        layers = [block.num_layers for block in blocks]
        return {
            "structure": name,  # of a variant that was changed, too, whose row has the model it started from
            "num_blocks": len(blocks),
            "num_layers": sum(layers),
            "growth_rate": float(np.average([block.growth for block in blocks], weights=layers)),
            "shortcut_share": float(np.mean([bit for block in blocks for bit in block.shortcuts])),
        }


def as_large_as_found(model: nn.Module, context: Context) -> nn.Module:
    """Return the DenseNet of the depth of `model` with nearly the parameters of the source."""
    return densenet_of_size(model, count_parameters(context.start))


def with_shortcuts(_: nn.Module, context: Context, *, all_of_them: bool) -> nn.Module:
    """Return the source's blocks, new, with all shortcuts or with none."""
    spec = spec_of(context.start)
    blocks = [block.with_all(all_of_them) for block in blocks_of(spec.name)]
    return build_from_spec(replace(spec, name=blocks_name(blocks)))
