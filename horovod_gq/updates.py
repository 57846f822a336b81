"""When the averaged gradients are applied: at once, late by some steps, or bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from horovod_gq.buckets import Bucket
from horovod_gq.compression import NonFiniteGradientError
from horovod_gq.reducer import GradientReducer


class Update(Protocol):
    """The part of a step behind the backward pass."""

    def synchronize(self) -> None:
        """Make the averaged gradients available in `p.grad`."""
        ...

    def step(self) -> Any:
        """Update the parameters."""
        ...

    def flush(self) -> None:
        """Apply everything that is still under way."""
        ...

    def settle(self) -> None:
        """Make the state complete for a checkpoint; ValueError where that takes all ranks."""
        ...

    def zero_grad(self) -> None:
        """Prepare the gradients for the next backward pass."""
        ...


class LocalUpdate:
    """One worker: the wrapped optimizer alone."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def synchronize(self) -> None:
        """Do nothing."""

    def step(self) -> Any:
        """Step."""
        return self._optimizer.step()

    def flush(self) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad()


class SynchronousUpdate:
    """All sums are waited for, then the optimizer steps."""

    def __init__(self, reducer: GradientReducer, optimizer: torch.optim.Optimizer) -> None:
        self._reducer, self._optimizer = reducer, optimizer
        self._synchronized = False

    def synchronize(self) -> None:
        """Make the averaged gradients available in `p.grad`."""
        self._reducer.start_rest()
        self._reducer.finish(0)
        self._synchronized = True

    def step(self) -> Any:
        """Synchronize unless that was done by hand, then step."""
        if not self._synchronized:
            self.synchronize()
        self._synchronized = False
        return self._optimizer.step()

    def flush(self) -> None:
        """Do nothing: nothing stays under way."""

    def settle(self) -> None:
        """Do nothing: nothing stays under way."""

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        if self._reducer.in_backward():
            raise ValueError("zero_grad() was called between backward() and step(); call step() first")
        # A grad scaler that found inf skips the step which would have reset this.
        self._synchronized = False
        self._reducer.zero_gradients()


class StaleUpdate:
    """Stale synchronous parallel: the sum of step t is applied in step t + s, on all ranks alike.

    A fixed delay of s steps is the deterministic form of "up to s steps late" (Ho 2013): replicas stay
    bit-identical, and communication has s whole steps to finish.
    """

    def __init__(self, reducer: GradientReducer, optimizer: torch.optim.Optimizer, staleness: int) -> None:
        self._reducer, self._optimizer, self._staleness = reducer, optimizer, staleness
        self._under_way: list[int] = []

    def synchronize(self) -> None:
        """Refuse: the gradients of this step are applied later.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "with staleness > 0 no step has its own sums; use staleness=0 to read or clip gradients"
        )

    def step(self) -> Any:
        """Send this step's gradients, then apply those of s steps ago, once there are any."""
        self._reducer.start_rest()
        self._under_way.append(self._reducer.slot)
        self._reducer.slot = (self._reducer.slot + 1) % (self._staleness + 1)
        if len(self._under_way) <= self._staleness:
            self._reducer.zero_gradients()
            return None
        return self._apply_oldest()

    def flush(self) -> None:
        """Apply all sums that are still under way, oldest first, each with an optimizer step."""
        while self._under_way:
            self._apply_oldest()

    def settle(self) -> None:
        """Refuse while sums are under way: applying them must happen on every rank."""
        if self._under_way:
            raise ValueError("sums of earlier steps are under way; call flush() on every rank first")

    def zero_grad(self) -> None:
        """Do nothing: a step leaves its gradients at zero."""

    def _apply_oldest(self) -> Any:
        self._reducer.finish(self._under_way.pop(0))
        result = self._optimizer.step()
        self._reducer.zero_gradients()
        return result


def used_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return what the forward pass of `module` itself may use: where it has parameters of its own, those below, too.

    nn.MultiheadAttention, for one, never calls its `out_proj`, and uses the weight.
    """
    has_own = any(True for _ in module.parameters(recurse=False))
    return list(module.parameters()) if has_own else []


class LayerwiseUpdate:
    """Independent layer updates: a bucket is applied just before the forward pass of a module that needs it.

    `step()` returns while sums are under way; the next forward pass waits per module (as ByteScheduler, Peng
    2019, does). Every bucket is updated with the hyperparameters that were in force when `step()` was called,
    so the result is bit-identical to the synchronous update.
    """

    def __init__(self, reducer: GradientReducer, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        self._reducer, self._optimizer = reducer, optimizer
        self._under_way: dict[int, Bucket] = {}
        self._hyperparameters: list[dict[str, Any]] = []
        self._bucket_of = {p: n for n, bucket in enumerate(reducer.buckets) for p in bucket.parameters}
        self._members = [
            [
                [p for p in group["params"] if self._bucket_of.get(p) == number]
                for group in optimizer.param_groups
            ]
            for number in range(len(reducer.buckets))
        ]
        """By bucket and group of the optimizer, the parameters."""
        self._synchronized = False
        reducer.on_gradient = self._refuse_late_gradient
        self._hooks: list[Any] = [
            model.register_state_dict_pre_hook(lambda *_: self.flush())  # type: ignore[no-untyped-call]
        ]
        for module in model.modules():
            needed = {self._bucket_of[p] for p in used_parameters(module) if p in self._bucket_of}
            if needed:
                self._hooks.append(module.register_forward_pre_hook(self._make_hook(sorted(needed))))

    def synchronize(self) -> None:
        """Make the averaged gradients available in `p.grad`, waiting for all of them (for clipping, say)."""
        self.flush()
        self._reducer.start_rest()
        self._reducer.finish(0)
        self._synchronized = True

    def step(self) -> Any:
        """Send what backward has not sent; the updates follow. After `synchronize` the step is made at once."""
        if self._synchronized:
            self._synchronized = False
            result = self._optimizer.step()
            self._reducer.zero_gradients()
            return result
        self.flush()
        self._reducer.start_rest()
        self._reducer.advance(0)
        self._under_way = dict(enumerate(self._reducer.buckets))
        self._hyperparameters = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self._optimizer.param_groups
        ]
        return None

    def flush(self) -> None:
        """Wait for and apply all buckets."""
        for number in list(self._under_way):
            self._apply(number)

    def settle(self) -> None:
        """Wait for and apply all buckets; no rank needs another one for it."""
        self.flush()

    def zero_grad(self) -> None:
        """Do nothing: a bucket's gradients are zeroed when they have been applied."""

    def remove_hooks(self) -> None:
        """Apply all buckets and detach from the modules."""
        self.flush()
        for hook in self._hooks:
            hook.remove()

    def _apply(self, number: int) -> None:
        bucket = self._under_way.pop(number, None)
        if bucket is None:
            return
        with torch.no_grad():
            names = self._reducer.finish_bucket(bucket, 0)
            if names:
                raise NonFiniteGradientError(names)
            with self._restricted_to(self._members[number]):
                self._optimizer.step()
            bucket.zero()

    @contextmanager
    def _restricted_to(self, members: list[list[nn.Parameter]]) -> Iterator[None]:
        """Let the optimizer see these parameters only, by group, with the remembered hyperparameters."""
        groups = self._optimizer.param_groups
        saved = [dict(group) for group in groups]
        try:
            for group, mine, remembered in zip(groups, members, self._hyperparameters, strict=True):
                group.update(remembered, params=mine)
            yield
        finally:
            for group, before in zip(groups, saved, strict=True):
                group.update(before)

    def _make_hook(self, numbers: list[int]) -> Any:
        def hook(*_: object) -> None:
            if self._under_way:
                for number in numbers:
                    self._apply(number)

        return hook

    def _refuse_late_gradient(self, bucket: Bucket, name: str) -> None:
        if any(pending is bucket for pending in self._under_way.values()):
            raise ValueError(
                f"{name} was used in a forward pass before its update, outside the module that owns it; "
                'use update="synchronous" for this model'
            )
