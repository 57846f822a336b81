"""When the gradients of a bucket are all there."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch

from horovod_gq.buckets import Bucket


class Arrivals:
    """Hooks on the parameters of a bucket that say when its last gradient of a step has come in.

    In the first step a hook on every parameter counts. From then on one is enough, on the parameter that came last:
    the backward pass adds each gradient in place to its view of the flat buffer, and the version counter of that
    memory (`torch.Tensor._version`), which all views share, says how many have been added. Where the number is
    another one (another order, a gradient elsewhere) the bucket waits for the end of the backward pass, and the next
    step counts by all hooks again.

    Args:
        bucket: whose gradients are waited for.
        passes: backward passes whose gradients add up.
        every: keep all hooks; needed where `flat` changes before the step ends, or `on_gradient` must see all.
        on_gradient: called with the name of every parameter whose gradient has come in, as far as hooks see them.
        on_complete: called when the bucket is complete.
    """

    def __init__(
        self,
        bucket: Bucket,
        passes: int,
        *,
        every: bool,
        on_gradient: Callable[[Bucket, str], None],
        on_complete: Callable[[], None],
    ) -> None:
        self.complete = False
        """Whether the bucket may be sent."""
        self._bucket, self._passes, self._every = bucket, passes, every
        self._on_gradient, self._on_complete = on_gradient, on_complete
        self._all = range(len(bucket.parameters))
        self._last: int | None = None
        self._hooks: dict[int, Any] = {}
        weakref.finalize(self, _remove, self._hooks).atexit = False
        self._counts: dict[int, int] = {}
        self._done = 0
        self._sent_version: int | None = None
        self.begin()

    @property
    def began(self) -> bool:
        """Whether a gradient has been seen in this step."""
        return bool(self._counts)

    def begin(self) -> None:
        """Begin a step, by one hook if the last step's one or all hooks found the bucket complete."""
        if self.complete and not self._every and self._last is not None:
            self._watch([self._last])
        else:
            self._watch(self._all)
        self.complete = False
        self._done = 0
        self._sent_version = None
        self._counts.clear()

    def mark(self) -> None:
        """Take the flat buffer as it is now for what gradients are added to."""
        self._first_version = self._bucket.exchange.flat._version

    def note_sent(self) -> None:
        """Remember the flat buffer as it was sent."""
        self._sent_version = self._bucket.exchange.flat._version

    def check_late(self) -> None:
        """Raise a ValueError where a gradient came in after the bucket had been sent, which one hook cannot see."""
        late = self._sent_version != self._bucket.exchange.flat._version
        if self.complete and late and len(self._hooks) < len(self._all):
            raise ValueError(
                f"a gradient of {self._bucket.names[0]}, ... came in after its bucket was sent; change gradients in "
                "place after synchronize() only, by no other hook, and use no parameter in a second backward pass"
            )

    def remove_hooks(self) -> None:
        """Detach from the parameters."""
        self._watch(())

    def _watch(self, places: Iterable[int]) -> None:
        wanted = set(places)
        for place in self._hooks.keys() - wanted:
            self._hooks.pop(place).remove()
        for place in wanted - self._hooks.keys():
            parameter = self._bucket.parameters[place]
            hook = self._make_hook(place)
            self._hooks[place] = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def _make_hook(self, place: int) -> Callable[[torch.Tensor], None]:
        # Python does not see what a tensor's hook holds: a hook that held this, and so its tensor, would never go.
        this = weakref.ref(self)

        def hook(_: torch.Tensor) -> None:
            arrivals = this()
            if arrivals is not None:
                arrivals._count(place)

        return hook

    def _count(self, place: int) -> None:
        name = self._bucket.names[place]
        self._on_gradient(self._bucket, name)
        count = self._counts[place] = self._counts.get(place, 0) + 1
        if count > self._passes:
            raise ValueError(
                f"{name} got gradients from {count} backward passes in one step, but backward_passes_per_step "
                f"is {self._passes}; call step() in between, or raise backward_passes_per_step"
            )
        if count < self._passes:
            return
        self._done += 1
        if self._all_in():
            self._last = place
            self.complete = True
            self._on_complete()

    def _all_in(self) -> bool:
        if len(self._hooks) == len(self._all):
            return self._done == len(self._all)
        added = self._bucket.exchange.flat._version - self._first_version
        return added == self._passes * len(self._all)


def _remove(hooks: dict[int, Any]) -> None:
    for hook in hooks.values():
        hook.remove()
