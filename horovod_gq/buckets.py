"""Group parameters into buckets: one collective (or two) for many tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from horovod_gq.collectives import Collectives
from horovod_gq.config import UNCOMPRESSED, GQConfig, num_levels
from horovod_gq.exchange import Exchange, PlainExchange, QuantizedExchange
from horovod_gq.hierarchy import HierarchicalExchange, Hosts
from horovod_gq.layout import NARROW_ROW, ROW
from horovod_gq.lowrank import LowRankExchange, saves_bytes
from horovod_gq.timing import Timings

DEFAULT_BUCKET_BYTES = 2 * 2**20
"""fp32 bytes of a bucket: small enough to overlap and to update layer by layer, and few collectives."""

NamedParameter = tuple[str, torch.nn.Parameter]


@dataclass
class Bucket:
    """Parameters that travel together; `exchange.views` are their places in the flat buffer, in this order."""

    names: list[str]
    parameters: list[torch.nn.Parameter]
    wire_bits: int
    exchange: Exchange

    @property
    def whole(self) -> bool:
        """Whether one tensor fills the flat buffer: its gradient is encoded where the backward pass has left it."""
        return len(self.parameters) == 1 and self.parameters[0].numel() == self.exchange.flat.numel()

    def start(self, slot: int) -> None:
        """Encode the gradients and start their first collective; a missing one counts as zero."""
        gradient = self.parameters[0].grad if self.whole else None
        if gradient is not None and gradient.layout is torch.strided and gradient.is_contiguous():
            self.exchange.start(slot, gradient.view_as(self.exchange.flat))
            return
        self.collect_gradients()
        self.exchange.start(slot)

    def collect_gradients(self) -> None:
        """Make every gradient the view of the flat buffer that it should be, copying where it is not.

        A parameter without gradient counts as zero, as on ranks that did not use it.
        """
        for parameter, view in zip(self.parameters, self.exchange.views, strict=True):
            gradient = parameter.grad
            if gradient is view:
                continue
            if gradient is None:
                view.zero_()
            else:
                view.copy_(gradient)
            parameter.grad = view

    def zero(self) -> None:
        """Prepare the gradients for a backward pass: zero, as views of the flat buffer, or none where `whole`."""
        if self.whole:
            self.parameters[0].grad = None
            return
        self.exchange.flat.zero_()
        for parameter, view in zip(self.parameters, self.exchange.views, strict=True):
            if parameter.grad is not view:
                parameter.grad = view

    def finish(self, slot: int) -> list[str]:
        """Wait for the average and make every gradient the view of it; NaN where it is not finite on some rank.

        Returns the names of those. ValueError where a message did not count every rank.
        """
        self.exchange.finish(slot)
        failed = self.exchange.failures()
        members = zip(self.names, self.parameters, self.exchange.views, strict=True)
        for name, parameter, view in members:
            if parameter.grad is not view:
                parameter.grad = view
            if name in failed:
                view.fill_(float("nan"))
        return failed


def check_parameters(named: Sequence[NamedParameter]) -> None:
    """Raise a ValueError for parameters that the flat buckets cannot hold."""
    if not named:
        raise ValueError("the model has no trainable parameters")
    devices = {parameter.device for _, parameter in named}
    if len(devices) > 1:
        raise ValueError(f"the parameters lie on {len(devices)} devices; one device per rank is supported")
    for name, parameter in named:
        if parameter.dtype != torch.float32:
            raise ValueError(
                f"{name} is {parameter.dtype}; the fast path needs torch.float32 parameters (use autocast for "
                "mixed precision)"
            )


class Form(NamedTuple):
    """How the parameters of a bucket travel."""

    wire_bits: int
    """Of a value, or with low rank of a value of a factor; `UNCOMPRESSED` is fp32."""
    lowrank: bool = False
    row: int = ROW
    """Values in a row; fewer for small tensors, of which padding would be a good part."""


def form_of(name: str, shape: tuple[int, ...], config: GQConfig) -> Form:
    """Return how a tensor travels: an override says so, or low rank saves bytes, or by `config.width_of`."""
    width = config.width_of(name, shape)
    if width == UNCOMPRESSED or config.override_of(name) is not None:
        return Form(width)
    if config.is_small(shape):
        return Form(width, row=NARROW_ROW)
    if config.form == "lowrank" and saves_bytes(name, shape, config):
        return Form(config.factor_bits, lowrank=True)
    return Form(width)


def group_parameters(
    named: Sequence[NamedParameter], config: GQConfig, bucket_bytes: int
) -> list[tuple[Form, list[NamedParameter]]]:
    """Return form and parameters of every bucket, in the order in which the buckets are sent.

    They are filled in the reverse order of the parameters, which is about the order of their gradients. One
    bucket holds tensors of one form, and at most `bucket_bytes` of fp32 unless a single tensor is larger.
    The order of the buckets is that of their last tensor, so that launching in order does not wait.
    """
    shapes = [(name, tuple(parameter.shape)) for name, parameter in named]
    parameters = dict(named)
    return [
        (form, [(name, parameters[name]) for name in names])
        for form, names in assign_buckets(shapes, config, bucket_bytes)
    ]


def assign_buckets(
    shapes: Sequence[tuple[str, tuple[int, ...]]], config: GQConfig, bucket_bytes: int
) -> list[tuple[Form, list[str]]]:
    """Return form and tensor names of every bucket, for tensors known by name and shape; see `group_parameters`."""
    groups: list[tuple[Form, list[str]]] = []
    open_groups: dict[Form, list[str]] = {}
    sizes: dict[Form, int] = {}
    for name, shape in reversed(shapes):
        form = form_of(name, shape, config)
        num_bytes = math.prod(shape) * 4
        if form in open_groups and sizes[form] + num_bytes > bucket_bytes:
            groups.append((form, open_groups.pop(form)))
        if form not in open_groups:
            open_groups[form], sizes[form] = [], 0
        open_groups[form].append(name)
        sizes[form] += num_bytes
    order = {name: position for position, (name, _) in enumerate(reversed(shapes))}
    groups += open_groups.items()
    groups.sort(key=lambda group: order[group[1][-1]])
    return groups


def build_buckets(
    named: Sequence[NamedParameter],
    config: GQConfig,
    collectives: Collectives,
    timings: Timings,
    *,
    bucket_bytes: int = DEFAULT_BUCKET_BYTES,
    num_slots: int = 1,
    prefix: str = "gq",
    hosts: Hosts | None = None,
) -> list[Bucket]:
    """Make the buckets of `group_parameters`; ValueError for parameters or workers that they cannot hold.

    With `hosts` they travel between those, as `horovod_gq.hierarchy` says, and `collectives` are not used.
    """
    check_parameters(named)
    link = collectives if hosts is None else hosts.between
    if config.small_bits != UNCOMPRESSED:
        num_levels(config.small_bits, link.workers, config.exchange, "small_bits")
    return [
        _make_bucket(f"{prefix}.{number}", form, members, config, link, timings, num_slots, hosts)
        for number, (form, members) in enumerate(group_parameters(named, config, bucket_bytes))
    ]


def _make_bucket(
    name: str,
    form: Form,
    members: list[NamedParameter],
    config: GQConfig,
    collectives: Collectives,
    timings: Timings,
    num_slots: int,
    hosts: Hosts | None,
) -> Bucket:
    shapes = [(member, tuple(parameter.shape)) for member, parameter in members]
    device = members[0][1].device
    exchange: Exchange
    width = form.wire_bits
    if form.lowrank:
        exchange = LowRankExchange(name, shapes, config, collectives, device, num_slots, timings)
    elif width == UNCOMPRESSED:
        exchange = PlainExchange(name, shapes, config, collectives, device, num_slots)
    else:
        exchange = QuantizedExchange(
            name, shapes, config, width, collectives, device, num_slots, timings, row=form.row
        )
    if hosts is not None:
        exchange = HierarchicalExchange(name, shapes, exchange, hosts, num_slots)
    return Bucket([n for n, _ in members], [p for _, p in members], width, exchange)


def advance_all(buckets: Sequence[Bucket], slot: int) -> None:
    """Start the further collectives of all buckets, one of each in turn."""
    for _ in range(max(bucket.exchange.collectives_per_step for bucket in buckets) - 1):
        for bucket in buckets:
            bucket.exchange.advance(slot)
