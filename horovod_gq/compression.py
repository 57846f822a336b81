"""GQ as `compression=` of the stock `hvd.DistributedOptimizer`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch

from horovod_gq.backend import HorovodCollectives, horovod_world
from horovod_gq.buckets import (
    DEFAULT_BUCKET_BYTES,
    NamedParameter,
    check_parameters,
    form_of,
    group_parameters,
)
from horovod_gq.collectives import Collectives
from horovod_gq.config import UNCOMPRESSED, WIRE_WIDTHS, GQConfig, num_levels
from horovod_gq.dense import DENSE
from horovod_gq.grouped import Group, GroupMember, build_groups, finish_groups, horovod_groups
from horovod_gq.single import SingleTensor, Staging, single_bytes
from horovod_gq.state import check_config, check_tensors
from horovod_gq.timing import Timings


class NonFiniteGradientError(ValueError):
    """A gradient is inf or NaN on some rank; raised on every rank before the optimizer step."""

    def __init__(self, names: Iterable[str]) -> None:
        listed = ", ".join(names)
        super().__init__(
            f"gradient of {listed} is not finite on at least one rank; lower the learning rate, or with a grad "
            'scaler set nonfinite="propagate"'
        )


Carried = SingleTensor | GroupMember
"""How the gradient of one parameter travels."""


class GQ:
    """Gradient quantization for Horovod's stock optimizer.

    ::

        compression = GQ(...).bind(model)
        hvd.DistributedOptimizer(..., compression=compression, op=hvd.Sum, groups=compression.groups)

    Pass `op=hvd.Sum`: without `groups` `decompress` divides by the number of workers, and every other reduction is
    detected at the first step. With `groups=compression.groups` the gradients travel in the flat buckets of the
    fast path; without it every tensor is encoded and summed by itself, with a warning. Create one instance per
    optimizer, with equal settings on all ranks.

    Args:
        config: all settings; or give its fields as keywords, `GQ(wire_bits=4)`.
        workers: number of ranks; None asks Horovod at the first gradient.
        bucket_bytes: fp32 bytes of one bucket; used with `groups`.
        collectives: what the buckets are sent through; None is Horovod (its global process set).
        fields: see `GQConfig`.

    Raises:
        ValueError: a setting is out of range, or the width cannot carry `workers`.
    """

    def __init__(
        self,
        config: GQConfig | None = None,
        *,
        workers: int | None = None,
        bucket_bytes: int = DEFAULT_BUCKET_BYTES,
        collectives: Collectives | None = None,
        **fields: Any,
    ) -> None:
        self.config = config if config is not None else GQConfig(**fields)
        if config is not None and fields:
            raise ValueError(f"give either config or its fields, not both: {', '.join(sorted(fields))}")
        if self.config.exchange != "allreduce":
            raise ValueError(
                f"exchange={self.config.exchange!r} needs more than the one sum that hvd.DistributedOptimizer makes;"
                ' use horovod_gq.DistributedOptimizer, or exchange="allreduce"'
            )
        if bucket_bytes < 4:
            raise ValueError(f"bucket_bytes is {bucket_bytes}; it must be at least 4")
        self.timings = Timings()
        self._bucket_bytes, self._collectives = bucket_bytes, collectives
        self._loaded: dict[str, dict[str, Any]] = {}
        self._world: tuple[int, int] | None = None
        if workers is not None:
            self._check_widths(workers)
        self._workers = workers
        self._take(())

    def bind(self, parameters: torch.nn.Module | Iterable[NamedParameter]) -> GQ:
        """Learn the names of the parameters (a module, or (name, parameter) pairs); return self.

        Raises:
            ValueError: two parameters share a name, or none is given.
        """
        pairs = parameters.named_parameters() if isinstance(parameters, torch.nn.Module) else parameters
        named = [(name, parameter) for name, parameter in pairs if parameter.requires_grad]
        if not named or len({name for name, _ in named}) < len(named):
            raise ValueError(f"bind needs uniquely named trainable parameters, got {len(named)} of them")
        self._take(named)
        return self

    @property
    def groups(self) -> list[list[torch.nn.Parameter]]:
        """Lists of parameters for `groups=` of `hvd.DistributedOptimizer`.

        Reading them makes the gradients travel in buckets. A list is a part of a bucket. Parameters of other types than
        fp32 are in none; they travel by themselves.

        Raises:
            ValueError: `bind` has not been called, a step has been made, or the parameters lie on several devices.
        """
        if not self._named:
            raise ValueError("call GQ(...).bind(model) before reading groups")
        if self._carried and not self._groups:
            raise ValueError(
                "read compression.groups before the first step, for groups= of hvd.DistributedOptimizer"
            )
        self._grouped[:] = [(n, p) for n, p in self._named if p.dtype == torch.float32]
        if not self._grouped:
            return []
        check_parameters(self._grouped)
        return horovod_groups(group_parameters(self._grouped, self.config, self._bucket_bytes))

    @property
    def workers(self) -> int:
        """Number of ranks that are summed."""
        return self._workers if self._workers is not None else self._resolve_world()[1]

    def compress(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Carried]:
        """Return the message for the gradient of a bound parameter, and what `decompress` needs.

        Mutates the residual of the tensor. An int32 message in the steady state; fp32 in warm-up steps; tensors
        that travel uncompressed pass through in their own dtype after the first step. With `groups` the message
        is a placeholder of one value, and the last gradient of a bucket starts the bucket's own collective.

        Raises:
            ValueError: the tensor is no gradient of a bound parameter.
        """
        name = self._find(tensor)
        if not self._carried:
            self._build()
        carried = self._carried[name]
        message = carried.compress(tensor)
        self._pending += 1
        return message, carried

    def decompress(self, tensor: torch.Tensor, ctx: Carried) -> torch.Tensor:
        """Return the average gradient over the ranks, in the shape and dtype of the compressed one.

        The result of a quantized tensor is a view of a buffer that the next step overwrites. With `groups` the
        views are filled when the last tensor of the step is decompressed.

        Raises:
            ValueError: wrong reduction, or ranks with different settings.
            NonFiniteGradientError: after the last tensor of the step, when a gradient is not finite on any rank.
        """
        averaged = ctx.decompress(tensor)
        if isinstance(ctx, SingleTensor):
            self._suspects.append(ctx)
        self._pending -= 1
        if self._pending == 0:
            self._finish_step()
        return averaged

    def wire_bytes_per_step(self) -> int:
        """Bytes of payload that this rank hands to the collectives in a steady-state step, headers included."""
        if self._grouped and not self._carried:
            self._build()
        grouped = {name for name, _ in self._grouped}
        singles = [(name, parameter) for name, parameter in self._named if name not in grouped]
        # At the other widths a message is as long for any number.
        workers = self._resolve_world()[1] if DENSE in self._widths() else 1
        total = sum(group.bytes_per_step for group in self._groups)
        return total + sum(single_bytes(name, p, self.config, workers) for name, p in singles)

    def state_dict(self) -> dict[str, Any]:
        """Residuals and scales by parameter name, with the settings they belong to. Tensors are copies.

        The same with and without `groups`: a run may change between them.
        """
        tensors: dict[str, Any] = {}
        for carried in self._carried.values():
            if isinstance(carried, SingleTensor):
                tensors.update(carried.state_dict())
        for group in self._groups:
            tensors.update(group.bucket.exchange.state_dict())
        return {"config": asdict(self.config), "tensors": tensors or dict(self._loaded)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`, bit for bit. Call after `bind`, on every rank with its own state.

        Raises:
            ValueError: other settings, names or shapes than those of this instance.
        """
        check_config(state, self.config)
        widths = {name: form_of(name, tuple(p.shape), self.config).wire_bits for name, p in self._named}
        expected = {
            name: (tuple(parameter.shape), widths[name])
            for name, parameter in self._named
            if widths[name] != UNCOMPRESSED
        }
        check_tensors(state["tensors"], expected)
        self._loaded = dict(state["tensors"])
        self._load()

    def _take(self, named: Iterable[NamedParameter]) -> None:
        self._named: list[NamedParameter] = list(named)
        self._order = list(self._named)
        self._grouped: list[NamedParameter] = []
        self._groups: list[Group] = []
        self._carried: dict[str, Carried] = {}
        self._suspects: list[SingleTensor] = []
        self._pending = self._next = 0

    def _build(self) -> None:
        rank, workers = self._resolve_world()
        staging = Staging()
        if self._grouped:
            collectives = self._collectives if self._collectives is not None else HorovodCollectives()
            self._groups = build_groups(
                self._grouped, self.config, collectives, self.timings, self._bucket_bytes
            )
        elif self.config.form != "full":
            raise ValueError(
                f"form={self.config.form!r} needs buckets; pass groups=compression.groups to hvd.DistributedOptimizer"
            )
        elif rank == 0 and len(self._named) > 1:
            warnings.warn(
                f"GQ encodes and sums {len(self._named)} tensors one by one, which makes steps longer; pass "
                "groups=compression.groups to hvd.DistributedOptimizer to send them in buckets",
                stacklevel=3,
            )
        for group in self._groups:
            members = [GroupMember(group, place) for place in range(len(group.bucket.names))]
            self._carried.update(zip(group.bucket.names, members, strict=True))
        for name, parameter in self._named:
            if name not in self._carried:
                self._carried[name] = SingleTensor(
                    name,
                    parameter,
                    self.config,
                    rank=rank,
                    workers=workers,
                    staging=staging,
                    timings=self.timings,
                )
        self._load()

    def _load(self) -> None:
        for carried in self._carried.values():
            if isinstance(carried, SingleTensor):
                carried.load_state(self._loaded)
        for group in self._groups:
            if self._loaded:
                group.bucket.exchange.load_state(self._loaded)

    def _resolve_world(self) -> tuple[int, int]:
        if self._world is None:
            self._world = horovod_world()
            if self._workers not in (None, self._world[1]):
                raise ValueError(f"workers is {self._workers}, but Horovod runs {self._world[1]} workers")
            self._check_widths(self._world[1])
        return self._world

    def _check_widths(self, workers: int) -> None:
        for wire_bits in sorted(self._widths() & set(WIRE_WIDTHS)):
            num_levels(wire_bits, workers)

    def _widths(self) -> set[int]:
        config = self.config
        return {config.wire_bits, config.small_bits, *(bits for _, bits in config.overrides)}

    def _find(self, gradient: torch.Tensor) -> str:
        """Find whose gradient it is; gradients come in nearly the order of the last step, which is remembered."""
        if self._pending == 0:
            self._next = 0
        count = len(self._order)
        if self._next < count and self._order[self._next][1].grad is gradient:
            self._next += 1
            return self._order[self._next - 1][0]
        for offset in range(count):
            position = (self._next + offset) % count
            if self._order[position][1].grad is gradient:
                found = self._order.pop(position)
                if position < self._next:
                    self._next -= 1
                self._order.insert(self._next, found)
                self._next += 1
                return found[0]
        raise ValueError(
            f"a gradient of shape {tuple(gradient.shape)} belongs to no bound parameter; call "
            "GQ(...).bind(model) with the parameters that the optimizer trains (dense gradients only)"
        )

    @torch.no_grad()
    def _finish_step(self) -> None:
        """Wait for the buckets and check all tensors of the step at once, after the last one was decoded."""
        suspects, self._suspects = self._suspects, []
        names = finish_groups(self._groups) + [name for carried in suspects for name in carried.failures()]
        if names and self.config.nonfinite == "raise":
            raise NonFiniteGradientError(names)
