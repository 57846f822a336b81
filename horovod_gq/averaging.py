"""Parameter averaging interval: local steps, then a quantized average of how the parameters changed."""

from __future__ import annotations

from typing import Any

import torch

from horovod_gq.buckets import Bucket, advance_all
from horovod_gq.compression import NonFiniteGradientError


class IntervalUpdate:
    """Every rank steps with its own gradients; every H steps the changes since the last average are averaged.

    p <- anchor + mean over ranks of (p - anchor), then anchor <- p (local SGD, Stich 2019). The changes travel
    through GQ with error feedback. Optimizer state (momentum) stays local.
    """

    def __init__(self, buckets: list[Bucket], optimizer: torch.optim.Optimizer, interval: int) -> None:
        self._buckets, self._optimizer, self._interval = buckets, optimizer, interval
        self.num_local_steps = 0
        self._anchors = [torch.zeros_like(bucket.exchange.flat) for bucket in buckets]
        self.anchor()

    def anchor(self) -> None:
        """Take the present parameters as those that all ranks share."""
        with torch.no_grad():
            for bucket, anchor in zip(self._buckets, self._anchors, strict=True):
                torch._foreach_copy_(bucket.exchange.views, [p.data for p in bucket.parameters])
                anchor.copy_(bucket.exchange.flat)
                bucket.exchange.flat.zero_()

    def synchronize(self) -> None:
        """Do nothing: gradients stay local."""

    def step(self) -> Any:
        """Make a local step; every H-th time average the parameters."""
        result = self._optimizer.step()
        self.num_local_steps += 1
        if self.num_local_steps % self._interval == 0:
            self._average()
        return result

    def flush(self) -> None:
        """Average now when local steps have been made since the last average."""
        if self.num_local_steps % self._interval:
            self.num_local_steps = 0
            self._average()

    def settle(self) -> None:
        """Refuse while local steps have not been averaged: averaging must happen on every rank."""
        if self.num_local_steps % self._interval:
            raise ValueError("local steps have not been averaged; call flush() on every rank first")

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad()

    @torch.no_grad()
    def _average(self) -> None:
        for bucket, anchor in zip(self._buckets, self._anchors, strict=True):
            torch._foreach_copy_(bucket.exchange.views, [p.data for p in bucket.parameters])
            bucket.exchange.flat.sub_(anchor)
            bucket.exchange.start(0)
        advance_all(self._buckets, 0)
        names: list[str] = []
        for bucket, anchor in zip(self._buckets, self._anchors, strict=True):
            bucket.exchange.finish(0)
            names += bucket.exchange.failures()
            anchor.add_(bucket.exchange.flat)
            bucket.exchange.flat.copy_(anchor)
            torch._foreach_copy_([p.data for p in bucket.parameters], bucket.exchange.views)
            bucket.exchange.flat.zero_()
        if names:
            raise NonFiniteGradientError(names)
