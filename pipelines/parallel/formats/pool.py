"""Buckets that change their wire format between steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.buckets import Bucket
from horovod_gq.collectives import Collectives
from horovod_gq.exchange import Exchange, PlainExchange, QuantizedExchange
from horovod_gq.lowrank import LowRankExchange
from horovod_gq.timing import Timings
from pipelines.parallel.formats.forms import HALF, NONE, form_of
from pipelines.parallel.formats.fp16 import Fp16Exchange

Place = tuple[int, str]
"""An exchange's group, by number, and its format."""


@dataclass(frozen=True)
class Group:
    """Parameters that travel together, in one format."""

    names: list[str]
    parameters: list[nn.Parameter]
    formats: list[str]
    """What may be chosen, the least lossy first."""
    num_values: int


class FormatPool:
    """The exchanges of all groups, each built at its first use and kept, with its residual, until `keep` frees it.

    Args:
        groups: parameters that travel together.
        configs: settings of GQ, by format.
        link: what the exchanges send through.
        timings: adds up what they encode and decode.
    """

    def __init__(
        self, groups: Sequence[Group], configs: Mapping[str, GQConfig], link: Collectives, timings: Timings
    ) -> None:
        self.groups, self.configs, self.link, self.timings = groups, configs, link, timings
        self._exchanges: dict[Place, Exchange] = {}

    def build(self, group: Group, chosen: str, name: str, timings: Timings) -> Exchange:
        """Return a new exchange, outside the pool; `name` is that of its messages."""
        tensors = [(n, tuple(p.shape)) for n, p in zip(group.names, group.parameters, strict=True)]
        device = group.parameters[0].device
        if chosen == NONE:
            config = next(iter(self.configs.values()))
            return PlainExchange(name, tensors, config, self.link, device, 1)
        if chosen == HALF:
            return Fp16Exchange(name, tensors, self.link, device, timings)
        config = self.configs[chosen]
        if config.form == "lowrank":
            return LowRankExchange(name, tensors, config, self.link, device, 1, timings)
        return QuantizedExchange(name, tensors, config, config.wire_bits, self.link, device, 1, timings)

    def buckets(self, choices: Sequence[str]) -> list[Bucket]:
        """Return one bucket a group, in these formats."""
        found = []
        for place in enumerate(choices):
            number, chosen = place
            group = self.groups[number]
            if place not in self._exchanges:
                self._exchanges[place] = self.build(group, chosen, f"{number}.{chosen}", self.timings)
            width = form_of(chosen, self.configs).wire_bits
            found.append(Bucket(group.names, group.parameters, width, self._exchanges[place]))
        return found

    def residuals(self, plans: Iterable[Sequence[str]]) -> dict[str, torch.Tensor]:
        """Return the sums of the residuals, by tensor name, of all exchanges that none of these plans uses."""
        total: dict[str, torch.Tensor] = {}
        for place in self._unused(plans):
            for name, state in self._exchanges[place].state_dict().items():
                total[name] = total[name] + state["residual"] if name in total else state["residual"]
        return total

    def keep(self, plans: Iterable[Sequence[str]]) -> None:
        """Free all exchanges that none of these plans uses, and their residuals."""
        for place in self._unused(plans):
            del self._exchanges[place]

    def _unused(self, plans: Iterable[Sequence[str]]) -> list[Place]:
        used = {place for plan in plans for place in enumerate(plan)}
        return [place for place in self._exchanges if place not in used]
