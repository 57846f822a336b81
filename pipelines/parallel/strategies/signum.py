"""Signum: the sign of the momentum, by majority vote (Bernstein 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipelines.config import number
from pipelines.errors import UserError
from pipelines.parallel.compression.momentum_correction import LocalMomentum
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.patterns import numel
from pipelines.parallel.strategies.bases.gathered import GatheredStrategy, load_tensors
from pipelines.parallel.strategies.signsgd import MOST_WORKERS
from pipelines.parallel.strategy import HOROVOD, STRATEGIES, Channel


@dataclass(frozen=True, kw_only=True)
class SignumOptions:
    """Keys of a `methods` entry with `strategy: signum`."""

    magnitude: float
    """Change of every value in a step at a learning rate of 1 (paper: 1, with rates of about 0.0001)."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "magnitude", above=0.0, most=1e20)


@STRATEGIES.register("signum")
class Signum(GatheredStrategy):
    """Sends the sign of each value's momentum, one bit, and nothing else; the majority decides.

    u = m u + g on each rank; the update is `magnitude` times the sign of the sum of sgn(u), 0 in a draw (paper,
    algorithms 2 and 3). Small tensors send their momentum whole. Momentum and weight decay are taken over from the SGD
    optimizer at `attach`, which keeps the learning rate. The momentum is all the memory: there is no error feedback.
    A bit cannot say zero: a zero counts as negative on every other rank, in turn, so that zeros of all ranks cancel.
    """

    Options = SignumOptions

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Lay out the gradients; with several workers `optimizer` loses momentum and weight decay to Signum."""
        if not isinstance(optimizer, torch.optim.SGD):
            raise UserError(f"signum: the sign of a momentum needs SGD, not {type(optimizer).__name__}")
        return super().attach(model, optimizer, channel)

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count a bit a value."""
        return packed_bytes(sum(numel(shape) for shape in large), 1)

    def prepare(self) -> None:
        """Allocate the momentum, fp32 of all tensors, and sign bits and votes, 1 byte a value each."""
        if self.link.workers > MOST_WORKERS:
            raise UserError(f"signum: {self.link.workers} workers are not allowed; allowed: {MOST_WORKERS}")
        self.momentum = LocalMomentum(self.optimizer, self.gradients)
        self.step = torch.zeros(1, dtype=torch.int64)
        self.negative = torch.empty_like(self.gradients.large, dtype=torch.bool)
        self.votes = torch.empty_like(self.negative, dtype=torch.uint8)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Make the momentum and take its signs; overwrites `large` and the small gradients."""
        self.momentum.correct()
        odd = (self.link.rank + int(self.step)) % 2
        (torch.le if odd else torch.lt)(large, 0.0, out=self.negative)
        self.step += 1
        return pack(self.negative.view(torch.uint8), 1)

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Count the votes of all ranks."""
        self.votes.zero_()
        for payload in payloads:
            self.votes.add_(unpack(payload, 1, self.negative.view(torch.uint8)))
        large.copy_(self.votes).mul_(-2).add_(len(payloads)).sign_().mul_(self.options.magnitude)

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's momentum and the number of steps (nothing with one worker)."""
        return {key: tensor.clone() for key, tensor in self._tensors().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the momentum; raises ValueError where it belongs to another model."""
        load_tensors(state, self._tensors())

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"velocity": self.momentum.velocity, "step": self.step} if self.link.workers > 1 else {}
