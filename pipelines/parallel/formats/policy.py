"""What `auto` does next: measured exchanges leave out what cannot win, the guard what is too lossy, trials decide."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from pipelines.parallel.formats.costs import agree, choose, worth_trying
from pipelines.parallel.formats.forms import HALF, NONE, format_names
from pipelines.parallel.formats.guard import Guard
from pipelines.parallel.formats.options import AutoOptions
from pipelines.parallel.formats.plans import Plan, lossiest, small_format, uniform
from pipelines.parallel.formats.pool import FormatPool
from pipelines.parallel.formats.probe import time_formats
from pipelines.parallel.formats.sizes import SIZES, Sizes
from pipelines.parallel.formats.trial import Trial


class StepTimes(NamedTuple):
    """What was measured of a step."""

    seconds: float
    """From `zero_grad` to the end of the update."""
    computing: float
    """What of it the worker did not wait for others."""
    arrivals: Mapping[str, float]
    """When the gradient of each parameter was there, by name; where that is not measured, empty."""
    modules_called: bool = False
    """Whether all of them are of parameters of modules that the forward pass had called; see `ModuleCalls`."""


class Policy:
    """Chooses a plan in the course of a run; all workers choose alike.

    Tell it of each step with `record`, in which all workers take part. `plan` is that of the next step.

    1. The first steps, in fp32, show when gradients arrive. Then exchanges are timed one by one (`probe`), and formats
       that cannot make the shortest step, whatever hides, are left out (`costs.worth_trying`).
    2. The lossy ones of the others make some steps each, which show what they do not deliver (`Guard`).
    3. Those within the bound take turns on real steps, each for all buckets, and the cheapest of each bucket (`Trial`).
    4. The winner takes turns with itself in buckets of other sizes, where these may hide more (`Sizes`).
    5. That winner takes turns with itself updating layer by layer, which hides a part of the wait in the next forward
       pass and changes no bit, but costs an optimizer step a bucket. Only where parameters are used by calling their
       modules, for that is where such an update waits.

    Args:
        pool: what travels together, and the exchanges.
        options: of the strategy.
        device: of the gradients.
    """

    def __init__(self, pool: FormatPool, options: AutoOptions, device: torch.device) -> None:
        self._pool, self._options, self._device = pool, options, device
        self.plan = self.uniform(NONE)
        self.kept: list[Plan] | None = None
        """The plans that may still have a turn; None: any."""
        self.settled = not pool.free(DEFAULT_BUCKET_BYTES)
        """Whether the plan is chosen."""
        self._formats = format_names(options.wire_bits, options.factor_ranks, pool.configs)
        self._steps = 0
        self._timed: list[StepTimes] = []
        self.guard: Guard | None = None
        self.trial: Trial | None = None
        self.plans: list[Plan] = []
        """Those of the trial."""
        self._refinements = [self._sizes_of, self._updates_of]
        """What the winner of a trial is compared with next."""
        self._may_be_layerwise = False

    @property
    def watches_arrivals(self) -> bool:
        """Whether it asks when each gradient arrives."""
        return not self.settled and self.guard is None and self.trial is None

    def settle(self, plan: Plan) -> None:
        """Take a choice that was made before."""
        self.plan, self.kept, self.settled = plan, [plan], True

    def uniform(self, chosen: str, bucket_bytes: int = DEFAULT_BUCKET_BYTES) -> Plan:
        """Return the plan with one format for all buckets that have a choice."""
        small = (group.small for group in self._pool.groups(bucket_bytes))
        return uniform(chosen, small, bucket_bytes, self._options.small_bits)

    def record(self, step: StepTimes | None) -> None:
        """Go on after a step of `plan`, whose averages the gradients hold (a collective); None: it was not timed."""
        if self.trial is not None:
            if step is not None:
                self._judge(self.trial, step.seconds)
        elif self.guard is not None:
            self._observe(self.guard)
        else:
            self._steps += 1
            if step is not None:
                self._timed.append(step)
            if self._steps >= self._options.measured_steps:
                self._begin_guard()

    def _begin_guard(self) -> None:
        """Time single exchanges, leave out what cannot win, and let the lossy formats show their errors."""
        self._costs, codecs = time_formats(self._pool, self._formats, self._device)
        fastest = min(self._timed, key=lambda step: step.computing, default=StepTimes(0.0, 0.0, {}))
        groups = self._pool.groups(DEFAULT_BUCKET_BYTES)
        names = [name for group in groups for name in group.names]
        # A parameter without gradient is sent when the backward pass is over.
        mine = [fastest.arrivals.get(name, fastest.computing) for name in names]
        bypassed = float(not all(step.modules_called for step in self._timed))
        numbers = agree([fastest.computing, bypassed, *mine], self._pool.link, self._device)
        computing, bypassed, *arrivals = numbers
        self._may_be_layerwise = bypassed == 0.0
        self._sizes = Sizes(self._pool, dict(zip(names, arrivals, strict=True)), self._costs, codecs)
        sizes = [group.num_values for group in groups if not group.small]
        self._tried = worth_trying(self._costs, codecs, sizes, computing)
        lossy = [name for name in self._tried if name not in (NONE, HALF)]
        groups = self._pool.lossy(self.uniform(lossy[0])) if lossy else []
        self.guard = Guard(lossy, groups, self._options.max_error)
        self._follow_guard(self.guard)

    @torch.no_grad()
    def _observe(self, guard: Guard) -> None:
        """Note the step that has just ended; when the format has made all of its own, go on to the next one."""
        if not guard.record():
            return
        states = self._pool.states(self.plan)
        guard.judge({name: state["residual"] for name, state in states.items()}, self._pool.link)
        self._follow_guard(guard)

    def _follow_guard(self, guard: Guard) -> None:
        if guard.current is not None:
            self.plan = self.uniform(guard.current)
            return
        self._compare(self._plans_of([name for name in self._tried if guard.allows(name)] or [NONE]))

    def _plans_of(self, formats: Sequence[str]) -> list[Plan]:
        """Return the plans of these formats, the least lossy first."""
        plans = [self.uniform(chosen) for chosen in formats]
        cheapest = self.cheapest(formats)
        if cheapest not in plans:
            # Before the plan that is as lossy as its lossiest bucket.
            plans.insert(lossiest(cheapest, formats), cheapest)
        return plans

    def cheapest(self, formats: Sequence[str], bucket_bytes: int = DEFAULT_BUCKET_BYTES) -> Plan:
        """Return the plan with the cheapest format of every bucket, by exchanges timed one by one."""
        groups = self._pool.groups(bucket_bytes)
        best = [choose(self._costs, formats, group.num_values) for group in groups]
        free = [chosen for chosen, group in zip(best, groups, strict=True) if not group.small]
        lossy = next((chosen for chosen in free if chosen not in (NONE, HALF)), NONE)
        own = small_format(lossy, self._options.small_bits)
        members = (own if group.small else chosen for chosen, group in zip(best, groups, strict=True))
        return Plan(bucket_bytes, tuple(members))

    def _sizes_of(self, plan: Plan) -> list[Plan]:
        """Return the winner of the formats in buckets of the usual size, and of others that may hide more."""
        groups = self._pool.groups(plan.bucket_bytes)
        used = {chosen for chosen, group in zip(plan.formats, groups, strict=True) if not group.small}
        formats = [chosen for chosen in self._tried if chosen in used] or [NONE]
        plans = {tuple(tuple(group.names) for group in groups): plan}
        for size in SIZES:
            members = tuple(tuple(group.names) for group in self._pool.groups(size))
            other = self.uniform(formats[0], size) if len(formats) == 1 else self.cheapest(formats, size)
            plans.setdefault(members, other)
        return self._sizes.worth_trying(list(plans.values()))

    def _updates_of(self, plan: Plan) -> list[Plan]:
        """Return the winner of the sizes, and the same updating layer by layer where the model lets it."""
        return [plan, plan._replace(layerwise=True)] if self._may_be_layerwise else [plan]

    def _compare(self, plans: Sequence[Plan]) -> None:
        """Let these plans take turns, the least lossy first."""
        options = self._options
        self.plans, self.kept = list(plans), list(plans)
        self.trial = Trial(len(plans), options.trial_rounds, options.trial_steps, options.trial_seconds)
        self._follow(self.trial)

    def _judge(self, trial: Trial, seconds: float) -> None:
        """Take the time of the step that has just ended, and go on to the next plan or to the choice."""
        if trial.record(seconds):
            mine = [*trial.scores(), *trial.errors(), trial.spent]
            *agreed, spent = agree(mine, self._pool.link, self._device)
            count = len(trial.left)
            trial.go_on(agreed[:count], spent, agreed[count:])
            self.kept = [self.plans[number] for number in trial.left]
        self._follow(trial)

    def _follow(self, trial: Trial) -> None:
        self.plan = self.plans[trial.plan]
        if not trial.over:
            return
        if self._refinements:
            self._compare(self._refinements.pop(0)(self.plan))
        else:
            self.settled = True
