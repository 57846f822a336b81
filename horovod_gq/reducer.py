"""Launch buckets during the backward pass, in bucket order, and collect their averages."""

from __future__ import annotations

from collections.abc import Callable

import torch

from horovod_gq.arrivals import Arrivals
from horovod_gq.buckets import Bucket, advance_all
from horovod_gq.compression import NonFiniteGradientError
from horovod_gq.config import GQConfig


class GradientReducer:
    """A bucket whose gradients are all there is encoded and sent at once, while the backward pass goes on.

    Gradients are views of the buckets' flat buffers from construction on, but for tensors that fill a bucket alone.
    Buckets are started in their order on every rank, so that backends without named collectives agree.

    Args:
        buckets: in the order in which gradients arrive.
        config: says what happens to non-finite gradients.
        passes: backward passes whose gradients add up before a bucket is sent.
        every_hook: watch every parameter in every step; see `Arrivals`.
    """

    def __init__(
        self, buckets: list[Bucket], config: GQConfig, passes: int, *, every_hook: bool = False
    ) -> None:
        self.buckets, self.config = buckets, config
        self.slot = 0
        self.on_gradient: Callable[[Bucket, str], None] | None = None
        self._started = 0
        for bucket in buckets:
            if not bucket.whole:
                bucket.collect_gradients()
        self._arrivals = [
            Arrivals(
                bucket,
                passes,
                every=every_hook,
                on_gradient=self._see,
                on_complete=self._start_complete,
            )
            for bucket in buckets
        ]
        self._mark()

    def start_rest(self) -> None:
        """Send the buckets that backward has not completed (unused parameters count as zero)."""
        while self._started < len(self.buckets):
            self._start_next()
        self._started = 0
        for arrivals in self._arrivals:
            arrivals.check_late()
            arrivals.begin()

    def advance(self, slot: int) -> None:
        """Start the further collectives of every bucket that has more than one."""
        advance_all(self.buckets, slot)

    def finish(self, slot: int) -> None:
        """Write the averages of a slot into the gradients.

        Raises:
            NonFiniteGradientError: on every rank, when a gradient is not finite on any (nonfinite="raise").
            ValueError: a message did not count every rank.
        """
        self.advance(slot)
        names: list[str] = []
        for bucket in self.buckets:
            names += self.finish_bucket(bucket, slot)
        self._mark()
        if names:
            raise NonFiniteGradientError(names)

    def finish_bucket(self, bucket: Bucket, slot: int) -> list[str]:
        """Write the averages of one bucket into its gradients; return the names to raise an error for."""
        names = bucket.finish(slot)
        return names if self.config.nonfinite == "raise" else []

    def zero_gradients(self) -> None:
        """Prepare all gradients for a backward pass: see `Bucket.zero`."""
        for bucket in self.buckets:
            bucket.zero()
        self._mark()

    def in_backward(self) -> bool:
        """Whether gradients have come in since the last `start_rest`."""
        return any(arrivals.began for arrivals in self._arrivals)

    def remove_hooks(self) -> None:
        """Detach from the parameters."""
        for arrivals in self._arrivals:
            arrivals.remove_hooks()

    def _see(self, bucket: Bucket, name: str) -> None:
        if self.on_gradient is not None:
            self.on_gradient(bucket, name)

    def _mark(self) -> None:
        for arrivals in self._arrivals:
            arrivals.mark()

    def _start_complete(self) -> None:
        while self._started < len(self.buckets) and self._arrivals[self._started].complete:
            self._start_next()

    def _start_next(self) -> None:
        with torch.no_grad():
            self.buckets[self._started].start(self.slot)
        self._arrivals[self._started].note_sent()
        self._started += 1
