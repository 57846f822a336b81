"""Buckets that change their wire format, and their size, between steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.buckets import Bucket, NamedParameter, check_parameters, group_parameters
from horovod_gq.collectives import Collectives
from horovod_gq.config import UNCOMPRESSED
from horovod_gq.exchange import Exchange, PlainExchange, QuantizedExchange
from horovod_gq.lowrank import LowRankExchange
from horovod_gq.timing import Timings
from pipelines.parallel.formats.forms import HALF, NONE, form_of
from pipelines.parallel.formats.fp16 import Fp16Exchange
from pipelines.parallel.formats.plans import Plan

Place = tuple[int, int, str]
"""An exchange's size of buckets, the number of its group among those of this size, and its format."""


@dataclass(frozen=True)
class Group:
    """Parameters that travel together, in one format."""

    names: list[str]
    parameters: list[nn.Parameter]
    small: bool
    """Whether they are small tensors, which share buckets of their own."""

    @property
    def num_values(self) -> int:
        """Values of all its parameters."""
        return sum(parameter.numel() for parameter in self.parameters)


class FormatPool:
    """The exchanges of all groups, each built at its first use and kept, with its residual, until `keep` frees it.

    Args:
        named: the parameters whose gradients travel; a ValueError says which cannot.
        configs: settings of GQ, by format.
        link: what the exchanges send through.
        timings: adds up what they encode and decode.
    """

    def __init__(
        self,
        named: Sequence[NamedParameter],
        configs: Mapping[str, GQConfig],
        link: Collectives,
        timings: Timings,
    ) -> None:
        check_parameters(named)
        self.configs, self.link, self.timings = configs, link, timings
        self._named = named
        self._groups: dict[int, list[Group]] = {}
        self._exchanges: dict[Place, Exchange] = {}

    def groups(self, bucket_bytes: int) -> list[Group]:
        """Return what travels together in buckets of this size, filled as the plugin's optimizer fills them."""
        if bucket_bytes not in self._groups:
            filled = group_parameters(self._named, next(iter(self.configs.values())), bucket_bytes)
            self._groups[bucket_bytes] = [
                Group([n for n, _ in members], [p for _, p in members], small=form.wire_bits == UNCOMPRESSED)
                for form, members in filled
            ]
        return self._groups[bucket_bytes]

    def free(self, bucket_bytes: int) -> list[Group]:
        """Return the groups whose format is chosen: those of the tensors that are not small."""
        return [group for group in self.groups(bucket_bytes) if not group.small]

    def lossy(self, plan: Plan) -> list[Group]:
        """Return the groups that a plan sends by GQ or low rank."""
        groups = self.groups(plan.bucket_bytes)
        return [
            group for group, chosen in zip(groups, plan.formats, strict=True) if chosen not in (NONE, HALF)
        ]

    def build(self, group: Group, chosen: str, name: str, timings: Timings) -> Exchange:
        """Return a new exchange, outside the pool; `name` is that of its messages."""
        tensors = [(n, tuple(p.shape)) for n, p in zip(group.names, group.parameters, strict=True)]
        device = group.parameters[0].device
        if chosen == NONE:
            config = next(iter(self.configs.values()))
            return PlainExchange(name, tensors, config, self.link, device, 1)
        if chosen == HALF:
            return Fp16Exchange(name, tensors, self.link, device, timings)
        config, form = self.configs[chosen], form_of(chosen, self.configs, small=group.small)
        if form.lowrank:
            return LowRankExchange(name, tensors, config, self.link, device, 1, timings)
        return QuantizedExchange(
            name, tensors, config, form.wire_bits, self.link, device, 1, timings, row=form.row
        )

    def buckets(self, plan: Plan) -> list[Bucket]:
        """Return one bucket a group, in the plan's formats."""
        found = []
        for number, (group, chosen) in enumerate(
            zip(self.groups(plan.bucket_bytes), plan.formats, strict=True)
        ):
            place = (plan.bucket_bytes, number, chosen)
            if place not in self._exchanges:
                name = ".".join(map(str, place))
                self._exchanges[place] = self.build(group, chosen, name, self.timings)
            width = form_of(chosen, self.configs, small=group.small).wire_bits
            found.append(Bucket(group.names, group.parameters, width, self._exchanges[place]))
        return found

    def states(self, plan: Plan) -> dict[str, dict[str, Any]]:
        """Return residuals and scales of a plan's exchanges, by tensor name."""
        tensors: dict[str, dict[str, Any]] = {}
        for bucket in self.buckets(plan):
            tensors.update(bucket.exchange.state_dict())
        return tensors

    def residuals(self, plans: Iterable[Plan]) -> dict[str, torch.Tensor]:
        """Return the sums of the residuals, by tensor name, of all exchanges that none of these plans uses."""
        total: dict[str, torch.Tensor] = {}
        for place in self._unused(plans):
            for name, state in self._exchanges[place].state_dict().items():
                total[name] = total[name] + state["residual"] if name in total else state["residual"]
        return total

    def keep(self, plans: Iterable[Plan]) -> None:
        """Free all exchanges that none of these plans uses, and their residuals."""
        for place in self._unused(plans):
            del self._exchanges[place]

    def _unused(self, plans: Iterable[Plan]) -> list[Place]:
        used = {
            (plan.bucket_bytes, number, chosen)
            for plan in plans
            for number, chosen in enumerate(plan.formats)
        }
        return [place for place in self._exchanges if place not in used]
