"""A policy that chooses the wire format of each bucket: measured exchanges make the plans, real steps judge them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Bucket, assign_buckets, build_buckets
from horovod_gq.config import UNCOMPRESSED, WIRE_WIDTHS
from horovod_gq.reducer import GradientReducer
from horovod_gq.timing import Timings
from horovod_gq.updates import SynchronousUpdate
from pipelines.config import number, require, whole
from pipelines.config.validate import MOST_SECONDS, MOST_STEPS
from pipelines.parallel.formats.costs import agree, choose, fit, measure
from pipelines.parallel.formats.pool import HALF, NONE, FormatPool, Group, config_of, rounds_of
from pipelines.parallel.formats.trial import Trial
from pipelines.parallel.metering.metered import CostMeter, StepCost, seconds_now
from pipelines.parallel.patterns import Exchange, NamedShape, Pattern, Start
from pipelines.parallel.strategy import HOROVOD, STRATEGIES, Channel, Strategy


@dataclass(frozen=True, kw_only=True)
class AutoOptions:
    """Keys of a `methods` entry with `strategy: auto`."""

    wire_bits: tuple[int, ...]
    """Widths of GQ that may be chosen, beside fp32 and fp16."""
    measured_steps: int
    """First steps, in fp32, after which single exchanges are timed in every format."""
    trial_rounds: int
    """Rounds in which the plans then take turns; the slow ones drop out after each."""
    trial_steps: int
    """Training steps that are timed in a plan's turn; every round has twice the turns of the one before."""
    trial_seconds: float
    """Least duration of the first round: short steps have more turns. Long ones have one turn each in it."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        allowed = f"a list of {', '.join(map(str, WIRE_WIDTHS))}"
        known = set(self.wire_bits) <= set(WIRE_WIDTHS)
        require(known and bool(self.wire_bits), "wire_bits", list(self.wire_bits), allowed)
        whole(self, "measured_steps", "trial_steps", most=MOST_STEPS)
        whole(self, "trial_rounds", most=20)  # each has twice the turns of the one before
        number(self, "trial_seconds", least=0.0, most=MOST_SECONDS)


@STRATEGIES.register("auto")
class Auto(Strategy):
    """Chooses for every bucket among fp32, fp16 and GQ, so that the training step is the shortest.

    After the first steps real exchanges of a small and a larger bucket are timed in every format (a link's speed
    alone would not do: Gloo sums fp16 far more slowly than its bytes say). They make one plan, the cheapest format
    of each bucket; each format for all buckets is a plan, too. Exchanges timed one by one know nothing of what
    overlaps with the backward pass, so the plans then take turns on real training steps (`Trial`), and the
    shortest step wins. The workers average the times, so that all choose alike. Until a plan drops out, its buffers
    and residuals wait for its next turn (some twelve times the gradients' memory in the trial); then its residuals
    are sent with the next gradients. The bucket of small tensors stays in fp32. With one worker nothing is exchanged.
    A run that is resumed before the choice was made begins the trial anew.
    """

    Options = AutoOptions

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return what the present choice sends; before there is one, fp32 buckets."""
        return self._pattern_of(tensors, workers, self.choices)

    def alternatives(self, tensors: Sequence[NamedShape], workers: int) -> list[Pattern]:
        """Return the pattern of each format for all buckets, or of the choice where it was made."""
        if self.choices:
            return [self.pattern(tensors, workers)]
        return [self._pattern_of(tensors, workers, [chosen] * len(tensors)) for chosen in self._formats()]

    def _pattern_of(self, tensors: Sequence[NamedShape], workers: int, choices: Sequence[str]) -> Pattern:
        """Return the pattern of fast-path buckets in these formats; that of small tensors stays in fp32."""
        configs = {width: config_of(width, workers) for width in self.options.wire_bits}
        place = {name: number for number, (name, _) in enumerate(tensors)}
        exchanges = []
        for bucket, (form, names) in enumerate(
            assign_buckets(tensors, configs[max(configs)], DEFAULT_BUCKET_BYTES)
        ):
            members = tuple(place[name] for name in names)
            chosen = choices[bucket] if choices and form.wire_bits != UNCOMPRESSED else NONE
            rounds = rounds_of(chosen, [tensors[member] for member in members], workers, configs)
            exchanges.append(Exchange(tensors=members, rounds=rounds))
        return Pattern(exchanges=tuple(exchanges), start=Start.BACKWARD)

    def _formats(self) -> list[str]:
        """Return what may be chosen for a bucket, the least lossy first."""
        return [NONE, HALF, *(f"gq{width}" for width in sorted(self.options.wire_bits, reverse=True))]

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Lay the gradients out in flat buckets, all in fp32 at first."""
        self.optimizer = optimizer
        self.device = next(model.parameters()).device
        self.meter, self.timings = CostMeter(self.device), Timings(enabled=True)
        self.link = channel.metered(self.meter, "auto.")
        self.steps = 0
        self.settled = True
        if self.link.workers > 1:
            self.configs = {
                wire_bits: config_of(wire_bits, self.link.workers) for wire_bits in self.options.wire_bits
            }
            self.groups = self._group(model)
            self.pool = FormatPool(self.groups, self.configs, self.link, self.timings)
            self.plans: list[list[str]] = []
            self.trial: Trial | None = None
            self.settled = False
            self.choices = [NONE] * len(self.groups)
            self.buckets: list[Bucket] = []
            self.unsent: dict[str, torch.Tensor] = {}
            self.step_start: float | None = None
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
        """Step; until the choice is made, time the step and go on to the plan whose turn it is."""
        if self.link.workers == 1:
            self.optimizer.step()
            return
        self.synchronous.step()
        self.steps += 1
        if self.settled:
            return
        if self.trial is not None:
            self._judge(self.trial)
        elif self.steps >= self.options.measured_steps:
            self._begin_trial()

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
        return {
            "steps": self.steps,
            "settled": self.settled,
            "choices": list(self.choices),
            "tensors": tensors,
            "unsent": self._unsent_without([self.choices]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the choice, residuals and scales; raises ValueError where they belong to another model."""
        if self.link.workers == 1:
            return super().load_state_dict(state)
        if len(state["choices"]) != len(self.groups):
            raise ValueError(f"the state has {len(state['choices'])} buckets, expected {len(self.groups)}")
        self.steps, self.settled, self.trial = state["steps"], state["settled"], None
        self.choices = list(state["choices"])
        self.pool.keep([])
        self._install()
        for bucket in self.buckets:
            if bucket.wire_bits != UNCOMPRESSED and state["tensors"]:
                bucket.exchange.load_state(state["tensors"])
        self.unsent = dict(state["unsent"])
        return None

    def _zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - gradients must stay views
        self.step_start = None if self.settled else seconds_now(self.device)
        self.synchronous.zero_grad()
        if self.unsent:
            for bucket in self.buckets:
                for name, view in zip(bucket.names, bucket.exchange.views, strict=True):
                    if name in self.unsent:
                        view.add_(self.unsent[name])
            self.unsent = {}

    def _group(self, model: nn.Module) -> list[Group]:
        """Fill buckets as GQ's fast path does; the buckets themselves are built for each choice."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        widths = sorted(self.options.wire_bits, reverse=True)
        return [
            Group(
                names=bucket.names,
                parameters=bucket.parameters,
                formats=[NONE] if bucket.wire_bits == UNCOMPRESSED else self._formats(),
                num_values=sum(parameter.numel() for parameter in bucket.parameters),
            )
            for bucket in build_buckets(named, self.configs[widths[0]], self.link, self.timings)
        ]

    @torch.no_grad()
    def _install(self) -> None:
        """Let the gradients move into the buckets of the present choice."""
        if self.reducer is not None:
            self.reducer.remove_hooks()
        self.buckets = self.pool.buckets(self.choices)
        self.reducer = GradientReducer(self.buckets, next(iter(self.configs.values())), passes=1)
        self.synchronous = SynchronousUpdate(self.reducer, self.optimizer)

    def _unsent_without(self, plans: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
        """Return what waits to be sent, with the residuals that none of these plans will send."""
        total = dict(self.unsent)
        for name, residual in self.pool.residuals(plans).items():
            total[name] = total[name] + residual if name in total else residual
        return total

    def _begin_trial(self) -> None:
        """Make the plans and let the first one have its turn."""
        free = [group for group in self.groups if len(group.formats) > 1]
        if not free:
            self.settled = True
            return
        formats = free[0].formats
        cheapest = self._cheapest(free, formats)
        uniform = [
            [chosen if len(group.formats) > 1 else NONE for group in self.groups] for chosen in formats
        ]
        self.plans = list(uniform)
        if cheapest not in uniform:
            # Before the plan that is as lossy as its lossiest bucket.
            self.plans.insert(max(formats.index(chosen) for chosen in cheapest), cheapest)
        options = self.options
        self.trial = Trial(len(self.plans), options.trial_rounds, options.trial_steps, options.trial_seconds)
        self._follow(self.trial)

    def _judge(self, trial: Trial) -> None:
        """Take the time of the step that has just ended, and go on to the next plan or to the choice."""
        if self.step_start is None:
            return
        round_over = trial.record(seconds_now(self.device) - self.step_start)
        if round_over:
            *scores, spent = agree([*trial.scores(), trial.spent], self.link, self.device)
            trial.go_on(scores, spent)
        self.settled = trial.over
        self._follow(trial)
        if round_over:
            left = [self.plans[number] for number in trial.left]
            self.unsent = self._unsent_without(left)
            self.pool.keep(left)

    def _follow(self, trial: Trial) -> None:
        if self.choices != self.plans[trial.plan]:
            self.choices = list(self.plans[trial.plan])
            self._install()

    @torch.no_grad()
    def _cheapest(self, free: list[Group], formats: list[str]) -> list[str]:
        """Return the cheapest format of every bucket by exchanges timed one by one (a collective)."""
        by_size = sorted(free, key=lambda group: group.num_values)
        small = by_size[0]
        # Two sizes give a line. A message four times as large will do: on a slow link each takes its time.
        large = next((group for group in by_size if group.num_values >= 4 * small.num_values), by_size[-1])
        times = [
            self._time(group, chosen, f"probe.{which}.{chosen}")
            for which, group in enumerate((small, large))
            for chosen in formats
        ]
        times = agree(times, self.link, self.device)
        costs = {
            chosen: fit((small.num_values, few), (large.num_values, many))
            for chosen, few, many in zip(formats, times[: len(formats)], times[len(formats) :], strict=True)
        }
        return [
            choose(costs, formats, group.num_values) if len(group.formats) > 1 else NONE
            for group in self.groups
        ]

    def _time(self, group: Group, chosen: str, name: str) -> float:
        """Return the seconds of an exchange of a bucket's present gradients in a format."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters]
        return measure(self.pool.build(group, chosen, name, Timings()), gradients, self.device)
