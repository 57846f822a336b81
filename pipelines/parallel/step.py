"""One training step by a strategy: gradients, exchange, update."""

import torch
from torch import Tensor, nn

from pipelines.parallel.strategy import Strategy
from pipelines.training import Objective, StepFacts, compute_gradients


def parallel_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    strategy: Strategy,
    images: Tensor,
    labels: Tensor,
    *,
    last: bool,
    facts: StepFacts | None = None,
    objective: Objective | None = None,
) -> Tensor:
    """Train `model` on this worker's batch, in place; returns its loss, detached.

    Args:
        model: this worker's replica.
        optimizer: what `strategy.attach` returned.
        strategy: exchanges the gradients and applies the update.
        images: float32 [b, c, h, w].
        labels: int64 [b].
        last: whether the epoch ends here, so that all that is still under way is applied.
        facts: what the objective may know of the step; one that needs none can do without.
        objective: what is minimised; None: the mean cross-entropy.

    A collective, made by all workers together. Raises DivergedError where this worker's loss is not finite.
    """
    loss, _ = compute_gradients(model, optimizer, images, labels, objective=objective, facts=facts)
    strategy.wait()
    strategy.update()
    if last:
        strategy.flush()
    return loss
