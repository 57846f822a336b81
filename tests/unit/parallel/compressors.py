"""Feed chosen gradients to a strategy on virtual workers and read what it would apply."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.config.loader import from_mapping
from pipelines.parallel.strategies import STRATEGIES
from pipelines.parallel.strategy import Channel, Strategy
from pipelines.parallel.virtual_cluster import run_workers

SHAPES = ((40, 30), (33, 5, 9), (7,), (4, 3))
"""Two tensors that are compressed, and two that are too small."""
LARGE = (1200, 1485)
SMALL = (7, 12)


class Tensors(nn.Module):
    """Parameters of the given shapes."""

    def __init__(self, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> None:
        super().__init__()
        self.values = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in shapes)


def gradients(steps: int, workers: int, seed: int = 0) -> list[list[list[torch.Tensor]]]:
    """[step][rank][tensor]: heavy-tailed values of unlike scales per tensor."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            [
                torch.randn(shape, generator=generator) ** 3 * 10.0**-position
                for position, shape in enumerate(SHAPES)
            ]
            for _ in range(workers)
        ]
        for _ in range(steps)
    ]


def flat(tensors: list[torch.Tensor]) -> NDArray[np.float64]:
    """The large tensors of one rank in one float64 vector."""
    return torch.cat([tensor.flatten() for tensor in tensors[:2]]).double().numpy()


def build(name: str, **options: Any) -> Strategy:
    return STRATEGIES[name](from_mapping(STRATEGIES[name].Options, options, name))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1.0)


def exchange(
    name: str,
    options: dict[str, Any],
    given: list[list[list[torch.Tensor]]],
    *,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer] = sgd,
    inspect: Callable[[Strategy, int], None] = lambda strategy, rank: None,
) -> list[list[torch.Tensor]]:
    """[step][tensor]: the gradients that the strategy makes of `given`, the same on all ranks (asserted).

    `inspect` sees the strategy of every rank after every step.
    """

    def work(collectives: Any) -> list[list[torch.Tensor]]:
        model = Tensors()
        strategy = build(name, **options)
        strategy.attach(model, make_optimizer(model), Channel(collectives=collectives))
        averages = []
        for step in given:
            for parameter, gradient in zip(model.parameters(), step[collectives.rank], strict=True):
                parameter.grad = gradient.clone()
            strategy.wait()
            averages.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
            inspect(strategy, collectives.rank)
        return averages

    ranks = run_workers(len(given[0]), work)
    for other in ranks[1:]:
        for mine, theirs in zip(ranks[0], other, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    return ranks[0]
