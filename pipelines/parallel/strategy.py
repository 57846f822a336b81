"""The interface of a parallel strategy: how the workers' gradients become one update.

A strategy is one module in `pipelines.parallel.strategies` with a class registered in `STRATEGIES` and a
frozen dataclass `Options` for its parameters. Whatever trains by a strategy knows this interface only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from horovod_gq.backend import HorovodCollectives
from horovod_gq.collectives import Collectives
from pipelines.parallel.metering.metered import CostMeter, MeteredCollectives, StepCost
from pipelines.parallel.patterns import NamedShape, Pattern
from pipelines.registry import Registry


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a strategy that has none."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What a strategy communicates through."""

    collectives: Collectives | None = None
    """The communication library; None is Horovod."""
    scope: str = ""
    """Prefix for the names of all collectives: strategies that live in one process at the same time need different
    ones, equal on all workers."""

    def metered(self, meter: CostMeter, name: str = "") -> MeteredCollectives:
        """Return its collectives on the clock of `meter`; the names of all begin with the scope and `name`."""
        return MeteredCollectives(self.collectives or HorovodCollectives(), meter, self.scope + name)


HOROVOD = Channel()
"""Horovod, with one strategy in the process."""


class Strategy(ABC):
    """One way to train a model on several workers.

    The worker calls `attach` once, then in every step, after the backward pass, `wait` and `update`, and
    `flush` before it evaluates or saves. A strategy keeps no hook on anything but the model and the optimizers
    that it was attached to: drop those, and it is gone.
    """

    Options: ClassVar[type] = NoOptions
    """Frozen dataclass of the strategy's parameters (keys of its entry in the section `methods`)."""
    replicas_identical: ClassVar[bool] = True
    """Whether all workers hold bit-identical parameters after `flush`."""
    bytes_depend_on_gradients: ClassVar[bool] = False
    """Whether messages are as long as the gradients make them: before a run the pattern is an expectation, and of an
    attached strategy that of its last step."""

    needs_process_sets: ClassVar[bool] = False
    """Whether Horovod must be started with dynamic process sets, `hvd.init(process_sets="dynamic")`."""

    settled = True
    """Whether the steps to come cost what they will cost from now on; False while a policy still tries things."""
    choices: Sequence[str] = ()
    """What a policy has chosen for now: the wire format of each bucket. Empty where there is nothing to choose."""
    bucket_bytes: int | None = None
    """And the size of the buckets, in bytes of fp32; None where there is nothing to choose."""
    layerwise: bool | None = None
    """And whether buckets are applied layer by layer; None where there is nothing to choose."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    def steps_per_exchange(self) -> int:
        """Steps from one exchange to the next; what a step costs is a mean over so many."""
        return 1

    @abstractmethod
    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Add hooks to `model` and wrap `optimizer`; the workers' parameters are equal here.

        Returns the optimizer that owns the momentum and the learning rate from now on. Raises UserError where the
        options do not go with the number of workers.
        """

    @abstractmethod
    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return what several workers send in a step of the steady state, for a model with these trainable tensors.

        Needs no `attach`: the expected bytes and the simulated step of any number of workers follow from it.
        Raises UserError where the options do not go with the number of workers.
        """

    def alternatives(self, tensors: Sequence[NamedShape], workers: int) -> list[Pattern]:
        """Return the patterns among which the strategy chooses by what is fastest; most have one."""
        return [self.pattern(tensors, workers)]

    @abstractmethod
    def wait(self) -> None:
        """Block until what the next update needs has arrived (nothing for asynchronous strategies)."""

    @abstractmethod
    def update(self) -> None:
        """Apply the update to the model's parameters."""

    def flush(self) -> None:  # noqa: B027 - most strategies leave nothing under way
        """Apply all that is still under way, so that the parameters are current (a collective: call it on all)."""

    @abstractmethod
    def step_cost(self) -> StepCost:
        """Return and reset the cost since the last call."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the states of the model and of `attach`'s optimizer.

        It belongs to this rank.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, yet got the keys {sorted(state)}")


STRATEGIES: Registry[type[Strategy]] = Registry("parallel strategy", "methods.*.strategy")
