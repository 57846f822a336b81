"""Launch buckets during the backward pass, in bucket order, and collect their averages."""

from __future__ import annotations

from collections.abc import Callable

import torch

from horovod_gq.buckets import Bucket, advance_all
from horovod_gq.compression import NonFiniteGradientError
from horovod_gq.config import GQConfig


class GradientReducer:
    """Hooks on the parameters count gradients; a complete bucket is encoded and sent at once.

    Gradients are views of the buckets' flat buffers from construction on. Buckets are started in their order
    on every rank, so that backends without named collectives agree.

    Args:
        buckets: in the order in which gradients arrive.
        config: says what happens to non-finite gradients.
        passes: backward passes whose gradients add up before a bucket is sent.
    """

    def __init__(self, buckets: list[Bucket], config: GQConfig, passes: int) -> None:
        self.buckets, self.config, self.passes = buckets, config, passes
        self.slot = 0
        self.on_late_gradient: Callable[[Bucket, str], None] | None = None
        self._missing = [0] * len(buckets)
        self._counts: dict[torch.nn.Parameter, int] = {}
        self._started = 0
        self._handles = [
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                self._make_hook(number, name)
            )
            for number, bucket in enumerate(buckets)
            for name, parameter in zip(bucket.names, bucket.parameters, strict=True)
        ]
        for bucket in buckets:
            bucket.collect_gradients()
        self._reset_counts()

    def start_rest(self) -> None:
        """Send the buckets that backward has not completed (unused parameters count as zero)."""
        while self._started < len(self.buckets):
            self._start_next()
        self._reset_counts()

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
        if names:
            raise NonFiniteGradientError(names)

    def finish_bucket(self, bucket: Bucket, slot: int) -> list[str]:
        """Write the averages of one bucket into its gradients; return the names to raise an error for."""
        names = bucket.finish(slot)
        return names if self.config.nonfinite == "raise" else []

    def zero_gradients(self) -> None:
        """Set all gradients to zero and make them views again."""
        for bucket in self.buckets:
            zero_bucket(bucket)

    def in_backward(self) -> bool:
        """Whether gradients have come in since the last `start_rest`."""
        return bool(self._counts)

    def remove_hooks(self) -> None:
        """Detach from the parameters."""
        for handle in self._handles:
            handle.remove()

    def _reset_counts(self) -> None:
        self._counts.clear()
        self._missing = [len(bucket.parameters) for bucket in self.buckets]
        self._started = 0

    def _start_next(self) -> None:
        bucket = self.buckets[self._started]
        with torch.no_grad():
            bucket.collect_gradients()
            bucket.exchange.start(self.slot)
        self._started += 1

    def _make_hook(self, number: int, name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            assert isinstance(parameter, torch.nn.Parameter)
            if self.on_late_gradient is not None:
                self.on_late_gradient(self.buckets[number], name)
            count = self._counts.get(parameter, 0) + 1
            if count > self.passes:
                raise ValueError(
                    f"{name} got gradients from {count} backward passes in one step, but backward_passes_per_step "
                    f"is {self.passes}; call step() in between, or raise backward_passes_per_step"
                )
            self._counts[parameter] = count
            if count == self.passes:
                self._missing[number] -= 1
                while self._started < len(self.buckets) and self._missing[self._started] == 0:
                    self._start_next()

        return hook


def zero_bucket(bucket: Bucket) -> None:
    """Set the gradients of a bucket to zero, as views of its flat buffer."""
    bucket.exchange.flat.zero_()
    for parameter, view in zip(bucket.parameters, bucket.exchange.views, strict=True):
        if parameter.grad is not view:
            parameter.grad = view
