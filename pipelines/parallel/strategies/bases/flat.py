"""Strategies that exchange the gradients of a step as one flat vector: the life of a step, one worker."""

from abc import abstractmethod

import torch
from torch import nn

from pipelines.parallel.compression.flat_gradients import FlatGradients
from pipelines.parallel.metering.metered import CostMeter, StepCost
from pipelines.parallel.strategy import HOROVOD, Channel, Strategy


class FlatStrategy(Strategy):
    """Base of the strategies with one flat gradient vector; a subclass says how it is averaged.

    Nothing is hooked: the exchange begins when the backward pass has ended. One worker exchanges nothing.
    """

    compress: bool = True
    """Whether large tensors are set apart to be compressed."""

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Lay out the gradients; `optimizer` stays the owner of momentum and learning rate."""
        self.optimizer = optimizer
        self.meter = CostMeter(next(model.parameters()).device)
        self.link = channel.metered(self.meter, f"{type(self).__name__}.")
        self.gradients = FlatGradients(model, compress=self.compress)
        if self.link.workers > 1:
            self.prepare()
        return optimizer

    @abstractmethod
    def prepare(self) -> None:
        """Allocate what the strategy keeps between steps (several workers only)."""

    @abstractmethod
    def average(self) -> None:
        """Replace `gradients.flat` by what the optimizer is to apply, equal on all workers."""

    @torch.no_grad()
    def wait(self) -> None:
        """Exchange the gradients and make the averages those of the parameters."""
        if self.link.workers == 1:
            return
        with self.meter.encoding():
            self.gradients.collect()
        self.average()
        self.gradients.release()

    def update(self) -> None:
        """Step the optimizer with the averaged gradients."""
        self.optimizer.step()

    def step_cost(self) -> StepCost:
        """Return and reset the meter."""
        return self.meter.take()
