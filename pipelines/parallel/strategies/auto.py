"""A policy that chooses the wire format of each bucket from measured exchanges."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.backend import HorovodCollectives
from horovod_gq.buckets import Bucket, build_buckets
from horovod_gq.collectives import Collectives
from horovod_gq.config import UNCOMPRESSED, WIRE_WIDTHS
from horovod_gq.exchange import Exchange, PlainExchange, QuantizedExchange
from horovod_gq.reducer import GradientReducer
from horovod_gq.timing import Timings
from horovod_gq.updates import SynchronousUpdate
from pipelines.config import require
from pipelines.parallel.bucketed import check_width
from pipelines.parallel.half import HalfExchange
from pipelines.parallel.metered import CostMeter, MeteredCollectives
from pipelines.parallel.policy import Cost, agree, choose, fit, measure
from pipelines.parallel.strategy import STRATEGIES, StepCost, Strategy

NONE, HALF = "none", "fp16"


@dataclass(frozen=True, kw_only=True)
class AutoOptions:
    """Keys of a `methods` entry with `strategy: auto`."""

    wire_bits: tuple[int, ...]
    """Widths of GQ that may be chosen, beside fp32 and fp16."""
    measured_steps: int
    """First steps, in fp32, after which the formats are timed and the choice is made."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        allowed = f"a list of {', '.join(map(str, WIRE_WIDTHS))}"
        known = set(self.wire_bits) <= set(WIRE_WIDTHS)
        require(known and bool(self.wire_bits), "wire_bits", list(self.wire_bits), allowed)
        require(
            self.measured_steps >= 1, "measured_steps", self.measured_steps, "a whole number of at least 1"
        )


@dataclass(frozen=True)
class Group:
    """Parameters that travel together, in one format."""

    names: list[str]
    parameters: list[nn.Parameter]
    formats: list[str]
    """What may be chosen, the least lossy first."""
    num_values: int


@STRATEGIES.register("auto")
class Auto(Strategy):
    """Chooses for every bucket among fp32, fp16 and GQ: the least time of codec and link together.

    After the first steps real exchanges of a small and a larger bucket are timed in every format (a link's speed
    alone would not do: Gloo sums fp16 far more slowly than its bytes say); the workers average the times, so that
    all choose alike. Overlap with the backward pass is left out. The bucket of small tensors stays in fp32. With
    one worker nothing is exchanged.
    """

    Options = AutoOptions

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        scope: str = "",
        collectives: Collectives | None = None,
    ) -> torch.optim.Optimizer:
        """Lay the gradients out in flat buckets, all in fp32 at first."""
        self.optimizer = optimizer
        self.device = next(model.parameters()).device
        self.meter, self.timings = CostMeter(self.device), Timings(enabled=True)
        self.link = MeteredCollectives(collectives or HorovodCollectives(), self.meter, f"{scope}auto.")
        self.steps = 0
        self.costs: dict[str, Cost] = {}
        if self.link.workers > 1:
            for wire_bits in self.options.wire_bits:
                check_width(wire_bits, self.link.workers, "allreduce")
            self.config = GQConfig(wire_bits=self.options.wire_bits[0])
            self.groups = self._group(model)
            self.choices = [NONE] * len(self.groups)
            self.reducer: GradientReducer | None = None
            self._install()
            # The gradients must stay views of the buckets, or each would be copied once more.
            setattr(optimizer, "zero_grad", self._zero_grad)  # noqa: B010
        return optimizer

    def wait(self) -> None:
        """Wait for the averaged gradients."""
        if self.link.workers > 1:
            self.synchronous.synchronize()

    def update(self) -> None:
        """Step; after the last measured step choose the formats of the steps to come."""
        if self.link.workers == 1:
            self.optimizer.step()
            return
        self.synchronous.step()
        self.steps += 1
        if self.steps == self.options.measured_steps:
            self._choose()

    def step_cost(self) -> StepCost:
        """Return and reset the meter and the timings of the buckets."""
        cost = self.meter.take()
        encode, decode = self.timings.encode_seconds, self.timings.decode_seconds
        self.timings.reset()
        return replace(
            cost,
            encode_seconds=cost.encode_seconds + encode,
            decode_seconds=cost.decode_seconds + decode,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the choice, residuals and scales (nothing with one worker)."""
        if self.link.workers == 1:
            return {}
        tensors: dict[str, Any] = {}
        for bucket in self.buckets:
            tensors.update(bucket.exchange.state_dict())
        return {"steps": self.steps, "choices": list(self.choices), "tensors": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the choice, residuals and scales; raises ValueError where they belong to another model."""
        if self.link.workers == 1:
            return super().load_state_dict(state)
        if len(state["choices"]) != len(self.groups):
            raise ValueError(f"the state has {len(state['choices'])} buckets, expected {len(self.groups)}")
        self.steps, self.choices = state["steps"], list(state["choices"])
        self._install()
        for bucket in self.buckets:
            if bucket.wire_bits != UNCOMPRESSED and state["tensors"]:
                bucket.exchange.load_state(state["tensors"])
        return None

    def _zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - gradients must stay views
        self.synchronous.zero_grad()

    def _group(self, model: nn.Module) -> list[Group]:
        """Fill buckets as GQ's fast path does; the buckets themselves are built for each choice."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        widths = sorted(self.options.wire_bits, reverse=True)
        every = [NONE, HALF, *(f"gq{wire_bits}" for wire_bits in widths)]
        return [
            Group(
                names=bucket.names,
                parameters=bucket.parameters,
                formats=[NONE] if bucket.wire_bits == UNCOMPRESSED else every,
                num_values=sum(parameter.numel() for parameter in bucket.parameters),
            )
            for bucket in build_buckets(named, self.config, self.link, self.timings)
        ]

    def _exchange(
        self, group: Group, chosen: str, collectives: Collectives, timings: Timings, name: str
    ) -> Exchange:
        """Build the exchange of a bucket in a format."""
        tensors = [(n, tuple(p.shape)) for n, p in zip(group.names, group.parameters, strict=True)]
        if chosen == NONE:
            return PlainExchange(name, tensors, self.config, collectives, self.device, 1)
        if chosen == HALF:
            return HalfExchange(name, tensors, collectives, self.device, timings)
        width = int(chosen.removeprefix("gq"))
        return QuantizedExchange(name, tensors, self.config, width, collectives, self.device, 1, timings)

    def _install(self) -> None:
        """Build the buckets of the present choice; the gradients move into them."""
        if self.reducer is not None:
            self.reducer.remove_hooks()
        self.buckets = []
        for number, (group, chosen) in enumerate(zip(self.groups, self.choices, strict=True)):
            width = int(chosen.removeprefix("gq")) if chosen.startswith("gq") else UNCOMPRESSED
            exchange = self._exchange(group, chosen, self.link, self.timings, f"{number}.{chosen}")
            self.buckets.append(Bucket(group.names, group.parameters, width, exchange))
        self.reducer = GradientReducer(self.buckets, self.config, passes=1)
        self.synchronous = SynchronousUpdate(self.reducer, self.optimizer)

    @torch.no_grad()
    def _choose(self) -> None:
        by_size = sorted(
            (group for group in self.groups if len(group.formats) > 1), key=lambda g: g.num_values
        )
        if not by_size:
            return
        small = by_size[0]
        # Two sizes give a line. A message four times as large will do: on a slow link each takes its time.
        large = next((group for group in by_size if group.num_values >= 4 * small.num_values), by_size[-1])
        formats = small.formats
        times = [
            self._time(group, chosen, f"probe.{which}.{chosen}")
            for which, group in enumerate((small, large))
            for chosen in formats
        ]
        times = agree(times, self.link, self.device)
        for chosen, few, many in zip(formats, times[: len(formats)], times[len(formats) :], strict=True):
            self.costs[chosen] = fit((small.num_values, few), (large.num_values, many))
        for number, group in enumerate(self.groups):
            if len(group.formats) > 1:
                self.choices[number] = choose(self.costs, group.formats, group.num_values)
        self._install()

    def _time(self, group: Group, chosen: str, name: str) -> float:
        """Return the seconds of an exchange of a bucket's present gradients in a format."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters]
        return measure(self._exchange(group, chosen, self.link, Timings(), name), gradients, self.device)
