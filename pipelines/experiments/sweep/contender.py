"""One method in one worker of the sweep: its own replica of the model, timed in blocks of steps."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import horovod.torch as hvd
import torch
from torch import nn

from pipelines.parallel.metering.metered import seconds_now
from pipelines.parallel.step import parallel_step
from pipelines.parallel.strategy import Channel, Strategy
from pipelines.results import Row
from pipelines.training import RecipeConfig, build_optimizer, compute_gradients

LEARNING_RATE = 0.01
"""Small enough that no method diverges in the few steps of a sweep; a step costs the same at any rate."""

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Block:
    """What one block cost this worker, per step."""

    step_seconds: float
    encode_seconds: float
    decode_seconds: float
    payload_bytes: float
    """What of the collectives' payload the worker has to send, by the algorithm of each."""
    interface_bytes: float
    """Bytes that its network interface sent: payload, headers, acknowledgements and Horovod's negotiation."""


class Contender:
    """A replica of `model` that trains by `strategy`, or by itself where that is None.

    With `meets` the workers, each by itself, wait for each other before every update: they sum one number.
    `sent_bytes` reads the interface's counter. Mutates nothing of what it is given.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        strategy: Strategy | None,
        recipe: RecipeConfig,
        batches: Sequence[Batch],
        sent_bytes: Callable[[], int],
        *,
        meets: bool = False,
    ) -> None:
        self.name, self.meets = name, meets
        self.model = copy.deepcopy(model).train()
        self.strategy = strategy
        self.batches = cycle(batches)
        self.device = next(self.model.parameters()).device
        self.sent_bytes = sent_bytes
        self.warmup_steps, self.warmup_seconds = 0, 0.0
        self.optimizer: torch.optim.Optimizer = build_optimizer(
            self.model, replace(recipe, learning_rate=LEARNING_RATE)
        )
        if strategy is not None:
            self.optimizer = strategy.attach(self.model, self.optimizer, Channel(scope=f"{name}."))

    def warm_up(self, num_steps: int) -> None:
        """Make at least `num_steps` steps, and more until the strategy has made its choices; notes what they took."""
        while self.warmup_steps == 0 or (self.strategy is not None and not self.strategy.settled):
            self.warmup_seconds += num_steps * self.run_block(num_steps).step_seconds
            self.warmup_steps += num_steps

    def run_block(self, num_steps: int) -> Block:
        """Make `num_steps` steps and wait until all is applied; all workers call it together."""
        hvd.barrier()
        bytes_before, start = self.sent_bytes(), seconds_now(self.device)
        for _ in range(num_steps):
            self._step()
        if self.strategy is not None:
            self.strategy.flush()
        seconds = seconds_now(self.device) - start
        # The slower worker may still be waiting for what this one has to pass on.
        hvd.barrier()
        sent = self.sent_bytes() - bytes_before
        cost = None if self.strategy is None else self.strategy.step_cost()
        return Block(
            step_seconds=seconds / num_steps,
            encode_seconds=cost.encode_seconds / num_steps if cost else 0.0,
            decode_seconds=cost.decode_seconds / num_steps if cost else 0.0,
            payload_bytes=cost.sent_bytes / num_steps if cost else 0.0,
            interface_bytes=sent / num_steps,
        )

    def facts(self) -> Row:
        """Return what the strategy has chosen, and what its warm-up took until then."""
        strategy = self.strategy
        return {
            "choices": [] if strategy is None else list(strategy.choices),
            "bucket_bytes": None if strategy is None else strategy.bucket_bytes,
            "layerwise": None if strategy is None else strategy.layerwise,
            "warmup_steps": self.warmup_steps,
            "warmup_seconds": self.warmup_seconds,
        }

    def expected_bytes(self) -> float:
        """Return what the strategy's pattern has this worker send in a step."""
        if self.strategy is None:
            return 0.0
        tensors = [(name, tuple(p.shape)) for name, p in self.model.named_parameters() if p.requires_grad]
        return self.strategy.pattern(tensors, hvd.size()).sent_bytes(hvd.size())

    def _step(self) -> None:
        images, labels = next(self.batches)
        if self.strategy is None:
            compute_gradients(self.model, self.optimizer, images, labels)
            if self.meets:
                hvd.allreduce(torch.zeros(1), name=f"{self.name}.meeting")
            self.optimizer.step()
        else:
            parallel_step(self.model, self.optimizer, self.strategy, images, labels, last=False)
