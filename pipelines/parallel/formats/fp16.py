"""A bucket that travels in fp16; beside GQ's own exchanges, with the same life."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from horovod_gq.collectives import Collectives, Pending
from horovod_gq.exchange import NamedShape
from horovod_gq.timing import Timings


class Fp16Exchange:
    """Sums fp16 and divides in fp32; see `horovod_gq.exchange.Exchange`. Values beyond 65504 become infinite."""

    collectives_per_step = 1

    def __init__(
        self,
        name: str,
        tensors: Sequence[NamedShape],
        collectives: Collectives,
        device: torch.device,
        timings: Timings,
    ) -> None:
        self._name, self._names, self._collectives, self._timings = (
            name,
            [n for n, _ in tensors],
            collectives,
            timings,
        )
        sizes = [math.prod(shape) for _, shape in tensors]
        self.flat = torch.zeros(sum(sizes), device=device)
        parts = torch.split(self.flat, sizes)
        self.views = [part.view(shape) for part, (_, shape) in zip(parts, tensors, strict=True)]
        self._message = torch.empty(self.flat.numel(), dtype=torch.float16, device=device)
        self._pending: Pending | None = None
        self.bytes_per_step = 2 * self.flat.numel()

    def start(self, slot: int, gradients: torch.Tensor | None = None) -> None:  # noqa: ARG002 - one step at a time
        """Round the gradients to fp16 and start the sum."""
        with self._timings.encoding(self.flat.device):
            self._message.copy_(self.flat if gradients is None else gradients)
        self._pending = self._collectives.start_sum(self._message, self._name)

    def advance(self, slot: int) -> None:
        """Do nothing: there is one collective."""

    def finish(self, slot: int) -> None:  # noqa: ARG002
        """Wait and write the average into `flat`."""
        assert self._pending is not None
        total = self._pending.wait()
        with self._timings.decoding(self.flat.device):
            self.flat.copy_(total).div_(self._collectives.workers)

    def failures(self) -> list[str]:
        """Names of the tensors that are not finite on some rank, or whose sum is beyond fp16."""
        if bool(torch.isfinite(self.flat.sum())):
            return []
        named = zip(self._names, self.views, strict=True)
        return [name for name, view in named if not bool(torch.isfinite(view).all())]

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return nothing: fp16 messages leave no residual."""
        return {}

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Do nothing."""
