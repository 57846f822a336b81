"""Stale synchronous parallel (Ho 2013): workers run ahead of the sums, by a bounded number of steps."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from horovod_gq.collectives import Pending
from pipelines.config import whole
from pipelines.parallel.patterns import NamedShape, Pattern, flat, float_sum, numel
from pipelines.parallel.strategies.bases.flat import FlatStrategy
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class SspOptions:
    """Keys of a `methods` entry with `strategy: ssp`."""

    staleness: int
    """Steps s that a worker may be ahead of the oldest sum that it has not applied."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "staleness", most=1000)  # 0 is sdp; every step of it holds a copy of the gradients


class Arrived:
    """A sum that has arrived; takes the place of the collective in the queue."""

    def __init__(self, total: torch.Tensor) -> None:
        self._total = total

    def wait(self) -> torch.Tensor:
        """Return the sum."""
        return self._total


@STRATEGIES.register("ssp")
class Ssp(FlatStrategy):
    """Starts the fp32 sum of a step and goes on; waits for the oldest sum when s others are under way.

    The deterministic form of bounded staleness: the sum of step t is applied in step t + s on every worker, its
    own gradient with it, so replicas stay identical, and a sum has s steps to travel. The first s steps apply
    nothing. Momentum amplifies stale gradients: lower it or the learning rate.
    """

    Options = SspOptions
    compress = False

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:  # noqa: ARG002 - the same for all
        """One fp32 sum of all gradients and a status, applied `staleness` steps later."""
        total = sum(numel(shape) for _, shape in tensors) + 1
        return flat(tensors, float_sum(total), staleness=self.options.staleness)

    def prepare(self) -> None:
        """Allocate a buffer for each sum under way, fp32 [parameters]."""
        self.slots = [torch.empty_like(self.gradients.flat) for _ in range(self.options.staleness + 1)]
        self.queue: deque[Pending] = deque()
        self.steps = 0

    @torch.no_grad()
    def wait(self) -> None:
        """Start this step's sum; then wait for the oldest where the bound is reached."""
        if self.link.workers == 1:
            return
        slot = self.steps % len(self.slots)
        with self.meter.encoding():
            self.gradients.collect()
            self.slots[slot].copy_(self.gradients.flat)
        self.queue.append(self.link.start_sum(self.slots[slot], f"slot{slot}"))
        self.steps += 1
        if len(self.queue) > self.options.staleness:
            self.average()
            self.gradients.release()

    def average(self) -> None:
        """Take the oldest sum as this step's gradients."""
        total = self.queue.popleft().wait()
        with self.meter.decoding():
            torch.div(total, self.link.workers, out=self.gradients.flat)

    def update(self) -> None:
        """Step the optimizer, unless the first sum is not due yet."""
        if self.link.workers == 1 or self.steps > self.options.staleness:
            self.optimizer.step()

    @torch.no_grad()
    def flush(self) -> None:
        """Apply all sums under way, oldest first, each with a step of the optimizer; the delay begins anew."""
        if self.link.workers == 1:
            return
        while self.queue:
            self.average()
            self.gradients.release()
            self.optimizer.step()
        self.steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the sums that have not been applied, oldest first; waits for them (call it on all ranks)."""
        if self.link.workers == 1:
            return {}
        totals = [pending.wait() for pending in self.queue]
        self.queue = deque(Arrived(total) for total in totals)
        return {"steps": self.steps, "sums": [total.clone() for total in totals]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the queue; raises ValueError where its sums belong to another model."""
        if self.link.workers == 1:
            return super().load_state_dict(state)
        if any(total.shape != self.gradients.flat.shape for total in state["sums"]):
            raise ValueError("the state's sums belong to another model")
        self.steps = state["steps"]
        self.queue = deque(Arrived(total.clone()) for total in state["sums"])
        return None
