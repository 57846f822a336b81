"""Group parameters into buckets: one collective (or two) for many tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from horovod_gq.collectives import Collectives
from horovod_gq.config import UNCOMPRESSED, GQConfig
from horovod_gq.exchange import Exchange, PlainExchange, QuantizedExchange
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


def build_buckets(
    named: Sequence[NamedParameter],
    config: GQConfig,
    collectives: Collectives,
    timings: Timings,
    *,
    bucket_bytes: int = DEFAULT_BUCKET_BYTES,
    num_slots: int = 1,
    prefix: str = "gq",
) -> list[Bucket]:
    """Fill buckets in the reverse order of the parameters, which is about the order of their gradients.

    One bucket holds tensors of one width, and at most `bucket_bytes` unless a single tensor is larger.
    The order of the buckets is that of their last tensor, so that launching in order does not wait.
    """
    check_parameters(named)
    shapes = [(name, tuple(parameter.shape)) for name, parameter in named]
    parameter_of = dict(named)
    return [
        _make_bucket(
            f"{prefix}.{number}",
            width,
            [(name, parameter_of[name]) for name in names],
            config,
            collectives,
            timings,
            num_slots,
        )
        for number, (width, names) in enumerate(assign_buckets(shapes, config, bucket_bytes))
    ]


def assign_buckets(
    shapes: Sequence[tuple[str, tuple[int, ...]]], config: GQConfig, bucket_bytes: int
) -> list[tuple[int, list[str]]]:
    """Return width and tensor names of each bucket that `build_buckets` makes of tensors with these shapes."""
    groups: list[tuple[int, list[str]]] = []
    open_groups: dict[int, list[str]] = {}
    sizes: dict[int, int] = {}
    for name, shape in reversed(shapes):
        width = config.width_of(name, shape)
        num_bytes = math.prod(shape) * 4
        if width in open_groups and sizes[width] + num_bytes > bucket_bytes:
            groups.append((width, open_groups.pop(width)))
        if width not in open_groups:
            open_groups[width], sizes[width] = [], 0
        open_groups[width].append(name)
        sizes[width] += num_bytes
    order = {name: position for position, (name, _) in enumerate(reversed(shapes))}
    groups += open_groups.items()
    groups.sort(key=lambda group: order[group[1][-1]])
    return groups


def _make_bucket(
    name: str,
    width: int,
    members: list[NamedParameter],
    config: GQConfig,
    collectives: Collectives,
    timings: Timings,
    num_slots: int,
) -> Bucket:
    shapes = [(member, tuple(parameter.shape)) for member, parameter in members]
    device = members[0][1].device
    exchange: Exchange
    if width == UNCOMPRESSED:
        exchange = PlainExchange(name, shapes, config, collectives, device, num_slots)
    else:
        exchange = QuantizedExchange(name, shapes, config, width, collectives, device, num_slots, timings)
    return Bucket([n for n, _ in members], [p for _, p in members], width, exchange)
