"""A bounded residual: a value that is clipped at every step does not owe more and more (integrator windup)."""

import math

import torch
from torch import nn

from horovod_gq.virtual import VirtualCluster

WORKERS, STEPS = 3, 300
CURVATURE = 100.0


def distance_after_training(residual_limit: float) -> float:
    """Return the largest distance to the minimum of a quadratic, one of whose 1,024 values is much steeper.

    Its gradient fills the clipping range for many steps. SGD with momentum 0.9 alone converges: its rate is 0.05 of
    the largest stable one.
    """
    model = nn.Linear(32, 32, bias=False)
    nn.init.zeros_(model.weight)
    curvature = torch.ones(32, 32)
    curvature[0, 0] = CURVATURE
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    cluster = VirtualCluster(
        model, workers=WORKERS, wire_bits=4, compile_kernels=False, residual_limit=residual_limit
    )
    for _ in range(STEPS):
        for worker in range(WORKERS):
            model.zero_grad()
            (0.5 * curvature * (model.weight - 1.0).square()).sum().backward()
            cluster.collect(worker)
        cluster.average()
        optimizer.step()
    return float((model.weight.detach() - 1.0).abs().max())


def test_with_the_bound_it_converges() -> None:
    assert distance_after_training(2.0) < 0.01


def test_without_the_bound_it_diverges() -> None:
    """What the bound is there for."""
    assert distance_after_training(math.inf) > 1e3
