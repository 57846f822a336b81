"""A policy that chooses how gradients travel: measured exchanges make the plans, real steps judge them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Bucket
from horovod_gq.config import UNCOMPRESSED
from horovod_gq.reducer import GradientReducer
from horovod_gq.timing import Timings
from horovod_gq.updates import LayerwiseUpdate, SynchronousUpdate
from pipelines.parallel.formats.calls import ModuleCalls
from pipelines.parallel.formats.forms import NONE, configs_of, format_names, small_buckets
from pipelines.parallel.formats.options import AutoOptions
from pipelines.parallel.formats.plans import Plan, plan_pattern, uniform
from pipelines.parallel.formats.policy import Policy, StepTimes
from pipelines.parallel.formats.pool import FormatPool
from pipelines.parallel.metering.metered import CostMeter, StepCost, seconds_now
from pipelines.parallel.patterns import Apply, NamedShape, Pattern
from pipelines.parallel.strategy import HOROVOD, STRATEGIES, Channel, Strategy


@STRATEGIES.register("auto")
class Auto(Strategy):
    """Chooses for every bucket among fp32, fp16, GQ and low rank, their size, and whether a step ends with all updates.

    What is tried when is the `Policy`'s. Until a plan drops out, its buffers and residuals wait for its next turn; then
    its residuals are sent with the next gradients, so that nothing is lost. With one worker nothing is exchanged. A run
    that is resumed before the choice was made begins anew.
    """

    Options = AutoOptions
    plan: Plan | None = None
    """What is sent now; None before there are workers to send it to."""

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return what the present choice sends; before there is one, fp32 buckets."""
        if self.plan is None:
            return self._uniform_pattern(NONE, tensors, workers)
        return plan_pattern(tensors, workers, self._configs(workers), self.plan)

    def alternatives(self, tensors: Sequence[NamedShape], workers: int) -> list[Pattern]:
        """Return the pattern of each format for all buckets of the usual size, or of the choice where it was made.

        Each twice: applied at the end of the step, then the same layer by layer.
        """
        if self.plan is not None:
            return [self.pattern(tensors, workers)]
        formats = format_names(self.options.wire_bits, self.options.factor_ranks, self._configs(workers))
        usual = [self._uniform_pattern(chosen, tensors, workers) for chosen in formats]
        return [*usual, *(replace(pattern, apply=Apply.MODULE) for pattern in usual)]

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Lay the gradients out in flat buckets, all in fp32 at first."""
        self.optimizer = optimizer
        self._model = model
        self.device = next(model.parameters()).device
        self.meter, self.timings = CostMeter(self.device), Timings(enabled=True)
        self.link = channel.metered(self.meter, "auto.")
        self.steps = 0
        if self.link.workers > 1:
            named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
            self.pool = FormatPool(named, self._configs(self.link.workers), self.link, self.timings)
            self.policy = Policy(self.pool, self.options, self.device)
            self.settled = self.policy.settled
            self.buckets: list[Bucket] = []
            self.unsent: dict[str, torch.Tensor] = {}
            self.step_start: float | None = None
            self.waited_before = 0.0
            self.arrivals: dict[str, float] = {}
            self.calls: ModuleCalls | None = None
            self.reducer: GradientReducer | None = None
            self.applying: SynchronousUpdate | LayerwiseUpdate
            self._install(self.policy.plan)
            # The gradients must stay views of the buckets, or each would be copied once more.
            setattr(optimizer, "zero_grad", self._zero_grad)  # noqa: B010
        return optimizer

    def wait(self) -> None:
        """Wait for the averaged gradients, unless they are applied layer by layer."""
        if self.link.workers > 1 and isinstance(self.applying, SynchronousUpdate):
            self.applying.synchronize()

    def update(self) -> None:
        """Step; until the choice is made, time the step and go on to the plan whose turn it is."""
        if self.link.workers == 1:
            self.optimizer.step()
            return
        self.applying.step()
        self.steps += 1
        if self.settled:
            return
        self.policy.record(self._times())
        self.settled = self.policy.settled
        self._follow_policy()

    def flush(self) -> None:
        """Apply the layers' updates that are still under way."""
        if self.link.workers > 1:
            self.applying.flush()

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
        assert self.plan is not None
        self.applying.settle()
        return {
            "steps": self.steps,
            "settled": self.settled,
            "bucket_bytes": self.plan.bucket_bytes,
            "choices": list(self.plan.formats),
            "layerwise": self.plan.layerwise,
            "tensors": self.pool.states(self.plan),
            "unsent": self._unsent_without([self.plan]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the choice, residuals and scales; raises ValueError where they belong to another model."""
        if self.link.workers == 1:
            return super().load_state_dict(state)
        plan = Plan(state["bucket_bytes"], tuple(state["choices"]), state.get("layerwise", False))
        expected = len(self.pool.groups(plan.bucket_bytes))
        if len(plan.formats) != expected:
            raise ValueError(f"the state has {len(plan.formats)} buckets, expected {expected}")
        self.steps, self.settled = state["steps"], state["settled"]
        self.policy = Policy(self.pool, self.options, self.device)
        if self.settled:
            self.policy.settle(plan)
        self.pool.keep([])
        self._install(plan)
        for bucket in self.buckets:
            if bucket.wire_bits != UNCOMPRESSED and state["tensors"]:
                bucket.exchange.load_state(state["tensors"])
        self.unsent = dict(state["unsent"])
        return None

    def _configs(self, workers: int) -> dict[str, GQConfig]:
        """Return GQ's settings by format."""
        options = self.options
        return configs_of(options.wire_bits, options.factor_ranks, workers, options.small_bits)

    def _uniform_pattern(self, chosen: str, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return the pattern of one format for all buckets of the usual size."""
        configs = self._configs(workers)
        small = small_buckets(tensors, configs, DEFAULT_BUCKET_BYTES)
        plan = uniform(chosen, small, DEFAULT_BUCKET_BYTES, self.options.small_bits)
        return plan_pattern(tensors, workers, configs, plan)

    def _zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - gradients must stay views
        self.step_start = None if self.settled else seconds_now(self.device)
        self.waited_before = self.meter.communication_seconds
        self.arrivals = {}
        if self.calls is not None:
            self.calls.begin()
        self.applying.zero_grad()
        if self.unsent:
            for bucket in self.buckets:
                for name, parameter in zip(bucket.names, bucket.parameters, strict=True):
                    if name in self.unsent:
                        owed = self.unsent[name]
                        parameter.grad = owed.clone() if parameter.grad is None else parameter.grad.add_(owed)
            self.unsent = {}

    def _times(self) -> StepTimes | None:
        """Return what was measured of the step that has just ended; None without a call of `zero_grad` before it."""
        if self.step_start is None:
            return None
        seconds = seconds_now(self.device) - self.step_start
        waited = self.meter.communication_seconds - self.waited_before
        called = self.calls is not None and self.calls.complete
        return StepTimes(seconds, seconds - waited, self.arrivals, called)

    def _note_arrival(self, bucket: Bucket, name: str) -> None:  # noqa: ARG002 - the reducer tells both
        if self.step_start is not None:
            self.arrivals[name] = seconds_now(self.device) - self.step_start
        if self.calls is not None:
            self.calls.note_gradient(name)

    def _follow_policy(self) -> None:
        """Move on to the policy's plan, and free what has no turn any more; the next gradients take its residuals."""
        changes = self.policy.plan != self.plan or self.policy.watches_arrivals != self.watches
        if changes:
            self.flush()
        kept = self.policy.kept
        if kept is not None:
            self.unsent = self._unsent_without(kept)
            self.pool.keep(kept)
        if changes:
            self._install(self.policy.plan)

    @torch.no_grad()
    def _install(self, plan: Plan) -> None:
        """Let the gradients move into the buckets of a plan."""
        if self.reducer is not None:
            self.reducer.remove_hooks()
            if isinstance(self.applying, LayerwiseUpdate):
                self.applying.remove_hooks()
        self.plan, self.choices = plan, list(plan.formats)
        self.bucket_bytes, self.layerwise = plan.bucket_bytes, plan.layerwise
        self.buckets = self.pool.buckets(plan)
        self.watches = self.policy.watches_arrivals
        config = next(iter(self.pool.configs.values()))
        every_hook = self.watches or plan.layerwise
        self.reducer = GradientReducer(self.buckets, config, passes=1, every_hook=every_hook)
        if self.calls is not None:
            self.calls.remove_hooks()
        self.calls = ModuleCalls(self._model) if self.watches else None
        if self.watches:
            self.reducer.on_gradient = self._note_arrival
        if plan.layerwise:
            self.reducer.zero_gradients()  # it takes them to be zero before its first step
            self.applying = LayerwiseUpdate(self.reducer, self.optimizer, self._model)
        else:
            self.applying = SynchronousUpdate(self.reducer, self.optimizer)

    def _unsent_without(self, plans: Sequence[Plan]) -> dict[str, torch.Tensor]:
        """Return what waits to be sent, with the residuals that none of these plans will send."""
        total = dict(self.unsent)
        for name, residual in self.pool.residuals(plans).items():
            total[name] = total[name] + residual if name in total else residual
        return total
