"""Importance of channels that needs no images: the magnitude of their weights, and chance."""

import torch
from torch import Tensor, nn

from pipelines.models.pruning.groups import channel_groups

Scores = dict[str, Tensor]
"""For each group, by its name, the importance of its channels, float [channels]."""


def magnitude_scores(model: nn.Module) -> Scores:
    """Return the L1 norm of the weights that make each channel (Li et al. 2017, arXiv:1608.08710, section 3.1).

    Where several layers write a group their norms are averaged.
    """
    return {
        group.name: torch.stack(
            [model.get_parameter(f"{name}.weight").detach().flatten(1).abs().sum(1) for name in group.writers]
        ).mean(0)
        for group in channel_groups(model)
    }


def random_scores(model: nn.Module, seed: int) -> Scores:
    """Return independent uniform draws, a function of `seed` and the model's shape."""
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: torch.rand(
            model.get_parameter(f"{group.writers[0]}.weight").shape[0], generator=generator
        )
        for group in channel_groups(model)
    }
