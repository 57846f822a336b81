"""The interface of a parallel strategy: how the workers' gradients become one update.

A strategy is one module in `pipelines.parallel.strategies` with a class registered in `STRATEGIES` and a
frozen dataclass `Options` for its parameters. The worker knows this interface only.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from horovod_gq.collectives import Collectives
from pipelines.config import load_yaml
from pipelines.config.loader import from_mapping
from pipelines.config.show import show, show_key
from pipelines.errors import UserError
from pipelines.registry import Registry


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a strategy that has none."""


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What the last step spent on one worker beside computing."""

    encode_seconds: float
    decode_seconds: float
    communication_seconds: float
    """Seconds that the worker was blocked on collectives: the exposed communication."""
    wire_bytes: int
    """Payload that the worker handed to the collectives, headers and scales included."""
    sent_bytes: float
    """What of it, and of the others' payload, a ring makes the worker send (`pipelines.parallel.metered`)."""


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

    settled = True
    """Whether the steps to come cost what they will cost from now on; False while a policy still tries things."""
    choices: Sequence[str] = ()
    """What a policy has chosen for now: the wire format of each bucket. Empty where there is nothing to choose."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    def steps_per_exchange(self) -> int:
        """Steps from one exchange to the next; what a step costs is a mean over so many."""
        return 1

    @abstractmethod
    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        scope: str = "",
        collectives: Collectives | None = None,
    ) -> torch.optim.Optimizer:
        """Add hooks to `model` and wrap `optimizer`; the workers' parameters are equal here.

        `scope` is a prefix for the names of all collectives: strategies that live in one process at the same
        time need different ones, equal on all workers. `collectives` is the communication library, None is
        Horovod. Returns the optimizer that owns the momentum and the learning rate from now on. Raises UserError
        where the options do not go with the number of workers.
        """

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


METHOD_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""A method's name is part of the names of its files."""

STRATEGIES: Registry[type[Strategy]] = Registry("parallel strategy", "methods.*.strategy")


def build_strategy(method: str, params: Path) -> tuple[Strategy, dict[str, Any]]:
    """Build the strategy that the entry `methods.<method>` of the file `params` describes.

    Returns the strategy and the entry. Raises UserError in one line on an unknown method, strategy or option.
    """
    return strategy_of(load_yaml(params), method, params)


def strategy_of(document: dict[str, Any], method: Any, params: Path) -> tuple[Strategy, dict[str, Any]]:
    """Do the same with the `document` that `load_yaml` read from `params`."""
    methods = document.get("methods")
    if not isinstance(methods, dict) or method not in methods:
        known = ", ".join(map(show_key, methods)) if isinstance(methods, dict) else "none"
        raise UserError(
            f"{params}: distributed.methods: {show(method)} is no key of the section methods; keys: {known}"
        )
    where = f"{params}: methods.{show_key(method)}"
    entry = methods[method]
    if not isinstance(method, str) or METHOD_PATTERN.fullmatch(method) is None:
        raise UserError(
            f"{where}: this key is not allowed; allowed: letters, digits, _ and - (it names files)"
        )
    if not isinstance(entry, dict) or not isinstance(entry.get("strategy"), str):
        raise UserError(f"{where}.strategy: this key is missing; allowed: {', '.join(STRATEGIES)}")
    strategy = STRATEGIES[entry["strategy"]]
    given = {key: value for key, value in entry.items() if key != "strategy"}
    return strategy(from_mapping(strategy.Options, given, where)), entry
