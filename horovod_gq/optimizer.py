"""The fast path: an optimizer wrapper with flat buckets, sent while backward still runs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from horovod_gq.averaging import IntervalUpdate
from horovod_gq.backend import HorovodCollectives
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Bucket, build_buckets
from horovod_gq.collectives import Collectives, check_agreement
from horovod_gq.config import UNCOMPRESSED, GQConfig, check_choice
from horovod_gq.hierarchy import Hosts
from horovod_gq.reducer import GradientReducer
from horovod_gq.state import check_config, check_tensors
from horovod_gq.timing import Timings
from horovod_gq.updates import LayerwiseUpdate, LocalUpdate, StaleUpdate, SynchronousUpdate, Update

UPDATES = ("synchronous", "layerwise")
SIMPLE = ("synchronous", 1, 0)
"""Update, interval and staleness of the usual mode."""

_instances = itertools.count()


class DistributedOptimizer(torch.optim.Optimizer):
    """Wrap an optimizer so that `step()` applies gradients averaged over the ranks through GQ.

    With one worker nothing is exchanged or quantized, as with Horovod.

    Use like the wrapped optimizer, with learning rate schedulers and grad scalers (see nonfinite="propagate").
    Call it on every rank, after the parameters have been made equal (hvd.broadcast_parameters). While it
    lives, `p.grad` is a view of a flat bucket (not with an averaging interval); that of a tensor which fills a bucket
    alone is None after `zero_grad()` and the backward pass's own until its average is there.

    Args:
        optimizer: any torch optimizer that updates each parameter by itself; its state is shared, not copied.
        model: owner of the parameters; gives their names, and with update="layerwise" the modules to wait in.
        config: settings of GQ; or give its fields as keywords, `wire_bits=4`.
        update: "synchronous", or "layerwise": each bucket is applied when its sum is there, and the next forward
            pass waits per module; same bits. Parameters are then current after `flush()`, in a forward pass,
            and in `state_dict()` of model and optimizer.
        averaging_interval: H > 1 averages the change of the parameters every H local steps instead.
        staleness: s > 0 applies the sums of a step s steps later, on all ranks alike.
        backward_passes_per_step: passes whose gradients add up (they are summed, as in Horovod).
        bucket_bytes: fp32 bytes of one bucket.
        collectives: communication library; None is Horovod.
        hosts: the workers by host (`Hosts.of_horovod()`); sums inside a host are then fp32, and GQ's exchange is one of
            the hosts. For the synchronous update of every step.

    Raises:
        ValueError: a setting is out of range or does not go with another one, the width cannot carry the
            workers, or the ranks were given different settings or models (on every rank).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module,
        config: GQConfig | None = None,
        *,
        update: str = "synchronous",
        averaging_interval: int = 1,
        staleness: int = 0,
        backward_passes_per_step: int = 1,
        bucket_bytes: int = DEFAULT_BUCKET_BYTES,
        collectives: Collectives | None = None,
        hosts: Hosts | None = None,
        **fields: Any,
    ) -> None:
        if config is not None and fields:
            raise ValueError(f"give either config or its fields, not both: {', '.join(sorted(fields))}")
        check_modes(update, averaging_interval, staleness, backward_passes_per_step, bucket_bytes)
        if hosts is not None and (update, averaging_interval, staleness) != SIMPLE:
            raise ValueError(
                "hosts need update='synchronous', averaging_interval=1 and staleness=0; "
                f"got {update!r}, {averaging_interval} and {staleness}"
            )
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self._inner = optimizer
        self._share()
        self.config = config if config is not None else GQConfig(**fields)
        self.timings = Timings()
        self._model, self._collectives, self._prefix = model, collectives, f"gq.{next(_instances)}"
        self._hosts = hosts
        self._modes = (update, averaging_interval, staleness, backward_passes_per_step, bucket_bytes)
        # A rank that joins an elastic run would wait for those long past this: `follow_workers` compares then.
        self._build(compare=os.environ.get("HOROVOD_ELASTIC") != "1")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Average and update, in the way that the modes say.

        Raises:
            NonFiniteGradientError: on every rank, before the update, when a gradient is not finite on any.
            ValueError: a closure is given; GQ sends every gradient once.
        """
        if closure is not None:
            raise ValueError("step(closure) would compute gradients that were never sent; call step() alone")
        return self._update.step()

    def synchronize(self) -> None:
        """Wait for the averaged gradients, so that they can be clipped or unscaled before `step()`."""
        self._update.synchronize()

    @contextmanager
    def skip_synchronize(self) -> Iterator[None]:
        """Accept the block that Horovod needs: `step()` never synchronizes twice anyway."""
        yield

    def flush(self) -> None:
        """Apply every update that is still under way (layerwise, staleness, interval)."""
        self._update.flush()

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - gradients must stay views
        """Prepare the gradients for the next backward pass: views of the buckets, whatever `set_to_none` says."""
        self._update.zero_grad()

    def wire_bytes_per_step(self) -> int:
        """Bytes of payload that this rank hands to the collectives in a steady-state exchange, headers included."""
        return sum(bucket.exchange.bytes_per_step for bucket in self.buckets)

    def collectives_per_step(self) -> int:
        """Return the number of collectives in a steady-state exchange."""
        return sum(bucket.exchange.collectives_per_step for bucket in self.buckets)

    def state_dict(self) -> dict[str, Any]:
        """State of the wrapped optimizer with, under "gq", residuals and scales of this rank.

        Raises:
            ValueError: with staleness or an interval, when `flush()` must be called on every rank first.
        """
        self._update.settle()
        tensors: dict[str, Any] = {}
        for bucket in self.buckets:
            tensors.update(bucket.exchange.state_dict())
        return {**self._inner.state_dict(), "gq": {"config": asdict(self.config), "tensors": tensors}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from `state_dict()` of the same rank, bit for bit; a state without "gq" starts calibration.

        Raises:
            ValueError: the GQ state belongs to other settings, names or shapes; nothing has been changed then.
        """
        state = dict(state_dict)
        gq = state.pop("gq", None)
        if gq is not None:
            check_config(gq, self.config)
            quantized = [bucket for bucket in self.buckets if bucket.wire_bits != UNCOMPRESSED]
            expected = {
                name: (tuple(parameter.shape), bucket.wire_bits)
                for bucket in quantized
                for name, parameter in zip(bucket.names, bucket.parameters, strict=True)
            }
            check_tensors(gq["tensors"], expected)
        self._inner.load_state_dict(state)
        self._share()
        if gq is not None and gq["tensors"]:
            for bucket in self.buckets:
                bucket.exchange.load_state(gq["tensors"])
        if isinstance(self._update, IntervalUpdate):
            self._update.anchor()

    def follow_workers(self) -> None:
        """Go on with the workers that Horovod has now (call it on all): see `horovod_gq.elastic`.

        Residuals are kept, times new over old number of workers; levels and steps start anew, with an fp32 step.
        """
        if self._modes[:3] != SIMPLE or self._hosts is not None:
            raise ValueError(
                "an elastic run needs update='synchronous', averaging_interval=1, staleness=0 and no hosts"
            )
        owed = {
            name: entry for bucket in self.buckets for name, entry in bucket.exchange.state_dict().items()
        }
        before = self._workers
        if self._reducer is not None:
            self._reducer.remove_hooks()
        self._build(compare=True)
        for bucket in self.buckets:
            fresh = bucket.exchange.state_dict()
            for name in fresh.keys() & owed.keys():
                fresh[name]["residual"] = owed[name]["residual"] * (self._workers / before)
            bucket.exchange.load_state(fresh)

    def _build(self, *, compare: bool) -> None:
        """Make buckets and hooks for the present workers; `compare` the settings with theirs (a collective)."""
        update, interval, staleness, passes, bucket_bytes = self._modes
        collectives = self._collectives if self._collectives is not None else HorovodCollectives()
        self._workers = collectives.workers
        named = self._trained(self._model)
        shapes = [(name, tuple(parameter.shape)) for name, parameter in named]
        if compare:
            check_agreement(
                collectives, self.config.digest(collectives.workers, self._modes, shapes), self._prefix
            )
        self.buckets: list[Bucket] = []
        self._update: Update = LocalUpdate(self._inner)
        self._reducer: GradientReducer | None = None
        if collectives.workers == 1:
            return
        self.buckets = build_buckets(
            named,
            self.config,
            collectives,
            self.timings,
            bucket_bytes=bucket_bytes,
            num_slots=1 + staleness,
            prefix=self._prefix,
            hosts=self._hosts,
        )
        self._update = self._make_update(self._model, update, interval, staleness, passes)

    def _trained(self, model: nn.Module) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of `model`, by name, that this optimizer updates."""
        mine = {p for group in self.param_groups for p in group["params"]}
        return [(n, p) for n, p in model.named_parameters() if p in mine and p.requires_grad]

    def _share(self) -> None:
        self.param_groups, self.state = self._inner.param_groups, self._inner.state

    def _make_update(
        self, model: nn.Module, update: str, averaging_interval: int, staleness: int, passes: int
    ) -> Update:
        if averaging_interval > 1:
            return IntervalUpdate(self.buckets, self._inner, averaging_interval)
        every_hook = update == "layerwise" or self._hosts is not None
        self._reducer = reducer = GradientReducer(self.buckets, self.config, passes, every_hook=every_hook)
        if staleness:
            return StaleUpdate(reducer, self._inner, staleness)
        if update == "layerwise":
            return LayerwiseUpdate(reducer, self._inner, model)
        return SynchronousUpdate(reducer, self._inner)


def check_modes(update: str, interval: int, staleness: int, passes: int, bucket_bytes: int) -> None:
    """Raise a ValueError for modes out of range, or that exclude each other."""
    check_choice("update", update, UPDATES)
    limits = {
        "averaging_interval": (interval, 1),
        "staleness": (staleness, 0),
        "backward_passes_per_step": (passes, 1),
        "bucket_bytes": (bucket_bytes, 4),
    }
    for key, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"{key} is {value}; it must be at least {least}")
    chosen = {
        'update="layerwise"': update == "layerwise",
        f"averaging_interval={interval}": interval > 1,
        f"staleness={staleness}": staleness > 0,
    }
    active = [name for name, is_active in chosen.items() if is_active]
    if len(active) > 1:
        raise ValueError(f"{' and '.join(active)} exclude each other; choose one")
