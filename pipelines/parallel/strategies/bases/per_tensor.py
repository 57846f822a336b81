"""Synchronous data parallelism with one sum a gradient tensor, and some compression of it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn

from horovod_gq.collectives import Collectives
from pipelines.parallel.metering.metered import (
    Compression,
    CostMeter,
    MeteredCollectives,
    MeteredCompression,
    StepCost,
)
from pipelines.parallel.patterns import Message, NamedShape, Pattern, per_tensor
from pipelines.parallel.strategy import HOROVOD, Channel, Strategy
from pipelines.training import check_gradients


class PerTensorStrategy(Strategy):
    """Base of the strategies that differ in the compression alone; by the stock `hvd.DistributedOptimizer`.

    With other collectives than Horovod's the same sums are made one tensor after another.
    """

    @abstractmethod
    def message(self, tensor: NamedShape, /) -> Message:
        """Return the message of one tensor in the steady state."""

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:  # noqa: ARG002 - the same for all
        """One message a tensor, as the gradients come."""
        return per_tensor(tensors, self.message)

    @abstractmethod
    def make_compression(self, model: nn.Module, link: MeteredCollectives, /) -> tuple[Compression, Any]:
        """Return the compression for `model` and Horovod's reduce operation that goes with it.

        What the compression sends by itself, beside the sums of its messages, goes through `link`.
        """

    def groups(self) -> list[list[nn.Parameter]] | None:
        """Return the parameters that Horovod sums together; None where each has a sum of its own."""
        return None

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Wrap `optimizer` in Horovod's; from now on each backward pass starts the sums."""
        self.meter = CostMeter(next(model.parameters()).device)
        link = channel.metered(self.meter)
        compression, self.operation = self.make_compression(model, link)
        self.compression = MeteredCompression(compression, self.meter, link.workers)
        self.model = model
        self.named = [(channel.scope + name, parameter) for name, parameter in model.named_parameters()]
        self.collectives = channel.collectives
        # Horovod's optimizer is a new one with a state of its own; the one passed in is spent.
        self.optimizer: Any = optimizer
        if self.collectives is None:
            self.optimizer = hvd.DistributedOptimizer(
                optimizer,
                named_parameters=self.named,
                compression=self.compression,
                op=self.operation,
                groups=self.groups(),
            )
        wrapped: torch.optim.Optimizer = self.optimizer
        return wrapped

    def wait(self) -> None:
        """Wait for the sums; decompression happens here too, on the meter.

        Raises DivergedError on every worker where an average is not finite.
        """
        with self.meter.waiting():
            if self.collectives is None:
                self.optimizer.synchronize()
            else:
                self._sum_gradients(self.collectives)
        # The averages are the same on all workers, and so is the verdict: none steps, none waits for another.
        check_gradients(self.model)

    def update(self) -> None:
        """Step the inner optimizer with the summed gradients."""
        if self.collectives is None:
            with self.optimizer.skip_synchronize():
                self.optimizer.step()
        else:
            self.optimizer.step()

    def step_cost(self) -> StepCost:
        """Return and reset the meter."""
        return self.meter.take()

    @torch.no_grad()
    def _sum_gradients(self, collectives: Collectives) -> None:
        messages = []
        for name, parameter in self.named:
            if not parameter.requires_grad:
                continue  # frozen; Horovod's optimizer wants to know its name all the same
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            message, context = self.compression.compress(parameter.grad)
            messages.append((collectives.start_sum(message, name), context, parameter))
        divisor = collectives.workers if self.operation == hvd.Average else 1
        for pending, context, parameter in messages:
            parameter.grad = self.compression.decompress(pending.wait().div_(divisor), context)
