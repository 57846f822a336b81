"""Momentum on the worker's side, before compression (momentum correction, Lin 2018, section 3.1)."""

import torch

from pipelines.errors import UserError
from pipelines.parallel.compression.flat_gradients import FlatGradients


class LocalMomentum:
    """Takes momentum, Nesterov and weight decay from an SGD optimizer, and applies them to flat gradients.

    Mutates the optimizer's groups: their momentum and weight decay become 0, or they would act twice.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, gradients: FlatGradients) -> None:
        groups = optimizer.param_groups
        if len({(group["momentum"], group["nesterov"], group["dampening"]) for group in groups}) > 1:
            raise UserError("dgc: one momentum for all parameter groups is needed")
        self.momentum, self.nesterov = float(groups[0]["momentum"]), bool(groups[0]["nesterov"])
        self.gradients = gradients
        self.velocity = torch.zeros_like(gradients.flat)
        self.large_velocity = self.velocity[gradients.small.numel() :]
        self._decays = []
        view_of = dict(zip(gradients.parameters, gradients.views, strict=True))
        for group in groups:
            members = [p for p in group["params"] if p in view_of]
            if group["weight_decay"]:
                self._decays.append((float(group["weight_decay"]), members, [view_of[p] for p in members]))
            group.update(momentum=0.0, nesterov=False, weight_decay=0.0)

    @torch.no_grad()
    def correct(self) -> None:
        """Turn the flat gradients g into steps of momentum SGD: u = m u + g, then u, or with Nesterov g + m u."""
        for decay, parameters, views in self._decays:
            torch._foreach_add_(views, parameters, alpha=decay)
        flat = self.gradients.flat
        self.velocity.mul_(self.momentum).add_(flat)
        if self.nesterov:
            flat.add_(self.velocity, alpha=self.momentum)
        else:
            flat.copy_(self.velocity)
