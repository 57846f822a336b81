"""Records a trace from real training steps of one process: hooks on a replica, no other rank involved."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pipelines.parallel.metering.metered import seconds_now
from pipelines.parallel.patterns import Exchange
from pipelines.parallel.strategies import strategy_of
from pipelines.parallel.traces.codecs import CODEC_WORKERS, Batch, MakeOptimizer, record_codec
from pipelines.parallel.traces.trace import Codec, Trace, typical
from pipelines.provenance import provenance
from pipelines.training import Objective, StepFacts, compute_gradients


def record_trace(
    name: str,
    model: nn.Module,
    batches: Sequence[Batch],
    make_optimizer: MakeOptimizer,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    warmup_steps: int,
    steps: int,
) -> Trace:
    """Record the trace of `model` from real training steps of this process; no other rank is involved.

    Args:
        name: of the model, as registered.
        model: on the device that is to be timed; copied, not changed.
        batches: (images, labels) on that device, used in turn.
        make_optimizer: returns a fresh optimizer for a copy of the model.
        methods: entries of the section `methods` whose codecs are timed, by method; may be empty.
        warmup_steps: steps before the clock counts.
        steps: timed steps; their lower quartile is kept.
    """
    replica = copy.deepcopy(model).train()
    recorder = StepRecorder(replica, make_optimizer(replica))
    for step in range(warmup_steps + steps):
        sample = recorder.step(*batches[step % len(batches)])
        if step >= warmup_steps:
            recorder.samples.append(sample)
    codecs: dict[str, Codec] = {}
    alike: dict[tuple[Exchange, ...], Codec] = {}
    for method, entry in methods.items():
        pattern = strategy_of(dict(entry), f"methods.{method}").pattern(recorder.tensors, CODEC_WORKERS[0])
        # Equal messages have equal codecs, whenever they are sent: with layer-wise updates, say.
        if pattern.exchanges not in alike:
            alike[pattern.exchanges] = record_codec(
                method, entry, model, batches, make_optimizer, warmup_steps, steps
            )
        codecs[method] = replace(alike[pattern.exchanges], entry=dict(entry))
    device = next(model.parameters()).device
    made = {"warmup_steps": warmup_steps, "steps": steps, **provenance(device)}
    return Trace(
        model=name, batch_size=len(batches[0][1]), codecs=codecs, provenance=made, **recorder.summary()
    )


Sample = tuple[list[float], list[float], float, float, float]
"""Of a step: needed and ready by tensor, and the seconds of forward, backward and update."""


class StepRecorder:
    """Trains `model` alone, in place, with hooks that note when a module begins and when a gradient is there.

    It minimises `objective`; None: the mean cross-entropy.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, objective: Objective | None = None
    ) -> None:
        self.model, self.optimizer, self.objective = model, optimizer, objective
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.tensors = tuple((name, tuple(p.shape)) for name, p in named)
        self.device = named[0][1].device
        self._place = {parameter: number for number, (_, parameter) in enumerate(named)}
        self._needed, self._ready = [0.0] * len(named), [0.0] * len(named)
        self._forward_end = 0.0
        self.samples: list[Sample] = []
        """Those of the steps that were kept."""
        for _, parameter in named:
            parameter.register_post_accumulate_grad_hook(self._note_gradient)  # type: ignore[no-untyped-call]
        for module in self.model.modules():
            mine = [self._place[p] for p in module.parameters(recurse=False) if p in self._place]
            if mine:
                module.register_forward_pre_hook(self._make_forward_hook(mine))

    def step(self, images: torch.Tensor, labels: torch.Tensor, facts: StepFacts | None = None) -> Sample:
        """Make one training step; `facts` are those that its objective may need."""
        start = seconds_now(self.device)
        compute_gradients(
            self._forward, self.optimizer, images, labels, objective=self.objective, facts=facts
        )
        middle, end = self._forward_end, seconds_now(self.device)
        self.optimizer.step()
        needed = [max(stamp - start, 0.0) for stamp in self._needed]
        ready = [min(max(stamp - middle, 0.0), end - middle) for stamp in self._ready]
        return needed, ready, middle - start, end - middle, seconds_now(self.device) - end

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images)
        self._forward_end = seconds_now(self.device)
        return logits

    def summary(self) -> dict[str, Any]:
        """Return the fields of a `Trace` that follow from the samples."""
        needed, ready, forward, backward, update = zip(*self.samples, strict=True)
        return {
            "tensors": self.tensors,
            "needed_seconds": tuple(typical(each) for each in zip(*needed, strict=True)),
            "ready_seconds": tuple(typical(each) for each in zip(*ready, strict=True)),
            "forward_seconds": typical(forward),
            "backward_seconds": typical(backward),
            "update_seconds": typical(update),
        }

    def _note_gradient(self, parameter: torch.Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        self._ready[self._place[parameter]] = time.perf_counter()

    def _make_forward_hook(self, mine: list[int]) -> Callable[..., None]:
        def hook(*_: object) -> None:
            now = time.perf_counter()
            for number in mine:
                self._needed[number] = now

        return hook
