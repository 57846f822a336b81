"""The optimizer of the recipe."""

import torch
from torch import nn

from pipelines.training.config import RecipeConfig


def build_optimizer(model: nn.Module, recipe: RecipeConfig) -> torch.optim.SGD:
    """Return SGD over all parameters of `model`, the rate being that of the first step.

    Frozen ones are among them: without a gradient a step passes over them, weight decay included.
    """
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all parameter groups, in place."""
    for group in optimizer.param_groups:
        group["lr"] = rate
