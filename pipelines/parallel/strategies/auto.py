"""A policy that chooses the wire format of each bucket: measured exchanges make the plans, real steps judge them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Bucket, check_parameters, group_parameters
from horovod_gq.config import UNCOMPRESSED
from horovod_gq.reducer import GradientReducer
from horovod_gq.timing import Timings
from horovod_gq.updates import SynchronousUpdate
from pipelines.parallel.formats.costs import agree, choose, worth_trying
from pipelines.parallel.formats.forms import HALF, NONE, configs_of, format_names, plan_pattern
from pipelines.parallel.formats.guard import Guard
from pipelines.parallel.formats.options import AutoOptions
from pipelines.parallel.formats.pool import FormatPool, Group
from pipelines.parallel.formats.probe import time_formats
from pipelines.parallel.formats.trial import Trial
from pipelines.parallel.metering.metered import CostMeter, StepCost, seconds_now
from pipelines.parallel.patterns import NamedShape, Pattern
from pipelines.parallel.strategy import HOROVOD, STRATEGIES, Channel, Strategy


@STRATEGIES.register("auto")
class Auto(Strategy):
    """Chooses for every bucket among fp32, fp16, GQ and low rank, so that the training step is the shortest.

    After the first steps real exchanges of a small and a larger bucket are timed in every format (a link's speed
    alone would not do: Gloo sums fp16 far more slowly than its bytes say). Formats that cannot make the shortest step,
    whatever hides, are not tried (`costs.worth_trying`). Of the others, lossy ones make a few steps each, which show
    what they do not deliver; those beyond the bound are out (`Guard`). The rest make plans: each format for all
    buckets, and the cheapest of each bucket. Exchanges timed one by one know nothing of what overlaps with the backward
    pass, so the plans take turns on real training steps (`Trial`), and the shortest step wins. The workers average the
    times, so that all choose alike. Until a plan drops out, its buffers and residuals wait for its next turn; then its
    residuals are sent with the next gradients. The bucket of small tensors stays in fp32. With one worker nothing is
    exchanged. A run that is resumed before the choice was made begins anew.
    """

    Options = AutoOptions

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return what the present choice sends; before there is one, fp32 buckets."""
        return plan_pattern(tensors, workers, self._configs(workers), self.choices)

    def alternatives(self, tensors: Sequence[NamedShape], workers: int) -> list[Pattern]:
        """Return the pattern of each format for all buckets, or of the choice where it was made."""
        if self.choices:
            return [self.pattern(tensors, workers)]
        configs = self._configs(workers)
        return [
            plan_pattern(tensors, workers, configs, [chosen] * len(tensors)) for chosen in self._formats()
        ]

    def _configs(self, workers: int) -> dict[str, GQConfig]:
        """Return GQ's settings by format."""
        return configs_of(self.options.wire_bits, self.options.factor_ranks, workers)

    def _formats(self) -> list[str]:
        """Return what may be chosen for a bucket, the least lossy first."""
        return format_names(self.options.wire_bits, self.options.factor_ranks)

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
            self.configs = self._configs(self.link.workers)
            self.groups = self._group(model)
            self.pool = FormatPool(self.groups, self.configs, self.link, self.timings)
            self.plans: list[list[str]] = []
            self.guard: Guard | None = None
            self.trial: Trial | None = None
            self.settled = False
            self.choices = [NONE] * len(self.groups)
            self.buckets: list[Bucket] = []
            self.unsent: dict[str, torch.Tensor] = {}
            self.step_start: float | None = None
            self.waited_before = 0.0
            self.compute_seconds: list[float] = []
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
        elif self.guard is not None:
            self._observe(self.guard)
        else:
            self._note_computing()
            if self.steps >= self.options.measured_steps:
                self._begin_guard()

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
        self.steps, self.settled = state["steps"], state["settled"]
        self.trial = self.guard = None
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
        self.waited_before = self.meter.communication_seconds
        self.synchronous.zero_grad()
        if self.unsent:
            for bucket in self.buckets:
                for name, parameter in zip(bucket.names, bucket.parameters, strict=True):
                    if name in self.unsent:
                        owed = self.unsent[name]
                        parameter.grad = owed.clone() if parameter.grad is None else parameter.grad.add_(owed)
            self.unsent = {}

    def _group(self, model: nn.Module) -> list[Group]:
        """Fill buckets as GQ's fast path does; the buckets themselves are built for each choice."""
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        check_parameters(named)
        config = next(iter(self.configs.values()))
        return [
            Group(
                names=[name for name, _ in members],
                parameters=[parameter for _, parameter in members],
                formats=[NONE] if form.wire_bits == UNCOMPRESSED else self._formats(),
                num_values=sum(parameter.numel() for _, parameter in members),
            )
            for form, members in group_parameters(named, config, DEFAULT_BUCKET_BYTES)
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

    def _note_computing(self) -> None:
        """Note what the step that has just ended took beside waiting."""
        if self.step_start is not None:
            waited = self.meter.communication_seconds - self.waited_before
            self.compute_seconds.append(seconds_now(self.device) - self.step_start - waited)

    @property
    def _free(self) -> list[Group]:
        return [group for group in self.groups if len(group.formats) > 1]

    def _uniform(self, chosen: str) -> list[str]:
        """Return the plan with one format for all buckets that have a choice."""
        return [chosen if len(group.formats) > 1 else NONE for group in self.groups]

    def _begin_guard(self) -> None:
        """Time single exchanges, leave out what cannot win, and let the lossy formats show their errors."""
        if not self._free:
            self.settled = True
            return
        self.costs, codecs = time_formats(self._free, self.pool, self.link, self.device)
        least = min(self.compute_seconds, default=0.0)
        (computing,) = agree([least], self.link, self.device)
        sizes = [group.num_values for group in self._free]
        self.tried = worth_trying(self.costs, codecs, sizes, computing)
        lossy = [name for name in self.tried if name not in (NONE, HALF)]
        self.guard = Guard(lossy, self._free, self.options.max_error)
        self._follow_guard(self.guard)

    @torch.no_grad()
    def _observe(self, guard: Guard) -> None:
        """Note the step that has just ended; when the format has made all of its own, go on to the next one."""
        if not guard.record():
            return
        free = (bucket for bucket in self.buckets if bucket.wire_bits != UNCOMPRESSED)
        states = {name: state for bucket in free for name, state in bucket.exchange.state_dict().items()}
        guard.judge({name: state["residual"] for name, state in states.items()}, self.link)
        self._follow_guard(guard)

    def _follow_guard(self, guard: Guard) -> None:
        if guard.current is None:
            self._begin_trial([name for name in self.tried if guard.allows(name)] or [NONE])
            return
        self.choices = self._uniform(guard.current)
        self._install()

    def _begin_trial(self, formats: Sequence[str]) -> None:
        """Make the plans and let the first one have its turn."""
        cheapest = self._cheapest(formats)
        self.plans = [self._uniform(chosen) for chosen in formats]
        if cheapest not in self.plans:
            # Before the plan that is as lossy as its lossiest bucket.
            free = [c for c, group in zip(cheapest, self.groups, strict=True) if len(group.formats) > 1]
            self.plans.insert(max(formats.index(chosen) for chosen in free), cheapest)
        options = self.options
        self.trial = Trial(len(self.plans), options.trial_rounds, options.trial_steps, options.trial_seconds)
        self.settled = self.trial.over
        self._follow(self.trial)
        self._free_all_but(self.plans)

    def _judge(self, trial: Trial) -> None:
        """Take the time of the step that has just ended, and go on to the next plan or to the choice."""
        if self.step_start is None:
            return
        round_over = trial.record(seconds_now(self.device) - self.step_start)
        if round_over:
            mine = [*trial.scores(), *trial.errors(), trial.spent]
            *agreed, spent = agree(mine, self.link, self.device)
            count = len(trial.left)
            trial.go_on(agreed[:count], spent, agreed[count:])
        self.settled = trial.over
        self._follow(trial)
        if round_over:
            self._free_all_but([self.plans[number] for number in trial.left])

    def _cheapest(self, formats: Sequence[str]) -> list[str]:
        """Return the cheapest format of every bucket by exchanges timed one by one."""
        return [
            choose(self.costs, formats, group.num_values) if len(group.formats) > 1 else NONE
            for group in self.groups
        ]

    def _free_all_but(self, plans: Sequence[Sequence[str]]) -> None:
        """Free the exchanges that none of these plans uses; their residuals go with the next gradients."""
        self.unsent = self._unsent_without(plans)
        self.pool.keep(plans)

    def _follow(self, trial: Trial) -> None:
        if self.choices != self.plans[trial.plan]:
            self.choices = list(self.plans[trial.plan])
            self._install()
