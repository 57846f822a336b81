"""Synchronous data parallelism through the stock `hvd.DistributedOptimizer` with some compression."""

from abc import abstractmethod
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn

from pipelines.parallel.metered import Compression, MeteredCompression
from pipelines.parallel.strategy import StepCost, Strategy


class SynchronousStrategy(Strategy):
    """Base of the strategies that differ in the compression alone; one all-reduce a gradient."""

    @abstractmethod
    def make_compression(self, model: nn.Module, /) -> tuple[Compression, Any]:
        """Return the compression for `model` and Horovod's reduce operation that goes with it."""

    def attach(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Wrap `optimizer` in Horovod's; from now on each backward pass starts the sums."""
        compression, operation = self.make_compression(model)
        self.meter = MeteredCompression(compression)
        # Horovod's optimizer is a new one with a state of its own; the one passed in is spent.
        self.optimizer: Any = hvd.DistributedOptimizer(
            optimizer, named_parameters=model.named_parameters(), compression=self.meter, op=operation
        )
        wrapped: torch.optim.Optimizer = self.optimizer
        return wrapped

    def wait(self) -> None:
        """Wait for the sums; decompression happens here too, on the meter."""
        self.optimizer.synchronize()

    def update(self) -> None:
        """Step the inner optimizer with the summed gradients."""
        with self.optimizer.skip_synchronize():
            self.optimizer.step()

    def step_cost(self) -> StepCost:
        """Return and reset the meter."""
        return self.meter.take_cost()
