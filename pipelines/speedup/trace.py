"""Traces: what the parts of a model's training step cost on one worker, and what its compressors cost beside them.

A trace is what the simulator needs of a model and a machine. It is recorded from real steps of one process, without
any exchange: `record_trace`. Codecs run on the gradients of those steps against collectives that answer at once with
what N equal workers would have sent (`EchoCollectives`), so their cost is known for any N.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipelines.parallel.metering.metered import seconds_now
from pipelines.parallel.patterns import Collective, Exchange, NamedShape
from pipelines.parallel.step import parallel_step
from pipelines.parallel.strategies import strategy_of
from pipelines.parallel.strategy import Channel, Strategy
from pipelines.provenance import provenance
from pipelines.results import read_json
from pipelines.speedup.compact import write_compact_json
from pipelines.speedup.echo import EchoCollectives

CODEC_WORKERS = (2, 4)
"""Numbers of workers at which a codec is timed; a line through both gives every other one."""
TENSOR_COLUMNS = ("tensors", "needed_seconds", "ready_seconds")
"""Fields of a trace with an entry for every tensor; in the file a tensor has a line."""
Batch = tuple[torch.Tensor, torch.Tensor]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Codec:
    """What a method costs the main thread in an exchange, in seconds for N workers: fixed + N * per_worker."""

    entry: Mapping[str, Any]
    """The method's entry of the section `methods`."""
    encode_fixed: float
    encode_per_worker: float
    decode_fixed: float
    decode_per_worker: float

    def encode_seconds(self, workers: int) -> float:
        """Return the seconds of encoding."""
        return self.encode_fixed + self.encode_per_worker * workers

    def decode_seconds(self, workers: int) -> float:
        """Return the seconds of decoding."""
        return self.decode_fixed + self.decode_per_worker * workers

    def scaled(self, factor: float) -> "Codec":
        """Return the codec of a machine on which it takes so many times as long."""
        times = {key: factor * value for key, value in vars(self).items() if key != "entry"}
        return Codec(entry=self.entry, **times)


def typical(samples: Sequence[float]) -> float:
    """Return the lower quartile: whatever disturbs a step, another process or a page fault, only lengthens it."""
    return float(np.quantile(samples, 0.25))


FREE = Codec(
    entry={},
    encode_fixed=0.0,
    encode_per_worker=0.0,
    decode_fixed=0.0,
    decode_per_worker=0.0,
)
"""A codec that costs nothing."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One training step of a model on one worker, in seconds; the lower quartile over the recorded steps."""

    model: str
    batch_size: int
    tensors: tuple[NamedShape, ...]
    """Trainable tensors, in the order of `named_parameters`."""
    needed_seconds: tuple[float, ...]
    """From the start of the forward pass to the module that owns the tensor."""
    ready_seconds: tuple[float, ...]
    """From the start of the backward pass to the tensor's gradient."""
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    codecs: Mapping[str, Codec]
    """By method."""
    provenance: Mapping[str, Any]
    """Where and by what it was recorded."""

    @property
    def step_seconds(self) -> float:
        """A step without any exchange."""
        return self.forward_seconds + self.backward_seconds + self.update_seconds

    def scaled_to(self, step_seconds: float, *, codecs: bool = True) -> "Trace":
        """Return the trace of a machine, or a batch size, with which a step takes so long.

        `codecs`: whether they become slower in proportion, too, as on a slower machine; not so with a larger batch.
        """
        factor = step_seconds / self.step_seconds
        code = factor if codecs else 1.0
        return replace(
            self,
            needed_seconds=tuple(factor * value for value in self.needed_seconds),
            ready_seconds=tuple(factor * value for value in self.ready_seconds),
            forward_seconds=factor * self.forward_seconds,
            backward_seconds=factor * self.backward_seconds,
            update_seconds=factor * self.update_seconds,
            codecs={method: codec.scaled(code) for method, codec in self.codecs.items()},
        )

    def write(self, path: Path) -> None:
        """Write the trace as JSON, in tenths of a microsecond."""
        times = zip(self.tensors, self.needed_seconds, self.ready_seconds, strict=True)
        tensors = [
            {
                "name": name,
                "shape": shape,
                "needed_seconds": round(needed, 7),
                "ready_seconds": round(ready, 7),
            }
            for (name, shape), needed, ready in times
        ]
        values = {key: value for key, value in asdict(self).items() if key not in TENSOR_COLUMNS}
        write_compact_json(path, {**values, "tensors": tensors})

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """Read what `write` wrote; UserError where the file is missing or no JSON."""
        values = read_json(path)
        tensors = values.pop("tensors")
        codecs = {method: Codec(**codec) for method, codec in values.pop("codecs").items()}
        return cls(
            **values,
            codecs=codecs,
            tensors=tuple((tensor["name"], tuple(tensor["shape"])) for tensor in tensors),
            needed_seconds=tuple(tensor["needed_seconds"] for tensor in tensors),
            ready_seconds=tuple(tensor["ready_seconds"] for tensor in tensors),
        )


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
    recorder = StepRecorder(model, batches, make_optimizer)
    recorder.record(warmup_steps, steps)
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


class StepRecorder:
    """A replica that trains alone, with hooks that note when a module begins and when a gradient is there."""

    def __init__(self, model: nn.Module, batches: Sequence[Batch], make_optimizer: MakeOptimizer) -> None:
        self.model = copy.deepcopy(model).train()
        self.batches, self.optimizer = batches, make_optimizer(self.model)
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        self.tensors = tuple((name, tuple(p.shape)) for name, p in named)
        self.device = named[0][1].device
        self._place = {parameter: number for number, (_, parameter) in enumerate(named)}
        self._needed, self._ready = [0.0] * len(named), [0.0] * len(named)
        self._samples: list[tuple[list[float], list[float], float, float, float]] = []
        for _, parameter in named:
            parameter.register_post_accumulate_grad_hook(self._note_gradient)  # type: ignore[no-untyped-call]
        for module in self.model.modules():
            mine = [self._place[p] for p in module.parameters(recurse=False) if p in self._place]
            if mine:
                module.register_forward_pre_hook(self._make_forward_hook(mine))

    def record(self, warmup_steps: int, steps: int) -> None:
        """Make the steps; those after the warm-up are samples."""
        for step in range(warmup_steps + steps):
            sample = self.step(step)
            if step >= warmup_steps:
                self._samples.append(sample)

    def step(self, number: int) -> tuple[list[float], list[float], float, float, float]:
        """Make one training step; return needed, ready, and the seconds of forward, backward and update."""
        images, labels = self.batches[number % len(self.batches)]
        start = seconds_now(self.device)
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(images), labels)
        middle = seconds_now(self.device)
        loss.backward()  # type: ignore[no-untyped-call]
        end = seconds_now(self.device)
        self.optimizer.step()
        needed = [max(stamp - start, 0.0) for stamp in self._needed]
        ready = [min(max(stamp - middle, 0.0), end - middle) for stamp in self._ready]
        return needed, ready, middle - start, end - middle, seconds_now(self.device) - end

    def summary(self) -> dict[str, Any]:
        """Return the fields of a `Trace` that follow from the samples."""
        needed, ready, forward, backward, update = zip(*self._samples, strict=True)
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


def record_codec(
    method: str,
    entry: Mapping[str, Any],
    model: nn.Module,
    batches: Sequence[Batch],
    make_optimizer: MakeOptimizer,
    warmup_steps: int,
    steps: int,
) -> Codec:
    """Time encode and decode of a method on this process, for two numbers of workers where that makes a difference."""

    def time_at(workers: int) -> tuple[float, float]:
        strategy = strategy_of(dict(entry), f"methods.{method}")
        return _time_codec(strategy, workers, model, batches, make_optimizer, warmup_steps, steps)

    few, many = CODEC_WORKERS
    encode, decode = time_at(few)
    tensors = [(name, tuple(p.shape)) for name, p in model.named_parameters() if p.requires_grad]
    pattern = strategy_of(dict(entry), f"methods.{method}").pattern(tensors, few)
    encode_slope = decode_slope = 0.0
    if any(m.collective is not Collective.SUM for each in pattern.exchanges for m in each.rounds):
        # What is summed on the way is decoded once; other messages come from every worker.
        more_encode, more_decode = time_at(many)
        encode_slope = max(0.0, (more_encode - encode) / (many - few))
        decode_slope = max(0.0, (more_decode - decode) / (many - few))
    return Codec(
        entry=dict(entry),
        encode_fixed=max(0.0, encode - few * encode_slope),
        encode_per_worker=encode_slope,
        decode_fixed=max(0.0, decode - few * decode_slope),
        decode_per_worker=decode_slope,
    )


def _time_codec(
    strategy: Strategy,
    workers: int,
    model: nn.Module,
    batches: Sequence[Batch],
    make_optimizer: MakeOptimizer,
    warmup_steps: int,
    steps: int,
) -> tuple[float, float]:
    """Return the typical seconds of encode and decode per exchange."""
    replica = copy.deepcopy(model).train()
    optimizer = strategy.attach(
        replica, make_optimizer(replica), Channel(collectives=EchoCollectives(workers))
    )
    samples = []
    for turn in range(warmup_steps + steps):
        strategy.step_cost()
        for number in range(strategy.steps_per_exchange):
            images, labels = batches[number % len(batches)]
            parallel_step(replica, optimizer, strategy, images, labels, last=False)
        if turn == warmup_steps + steps - 1:
            strategy.flush()
        cost = strategy.step_cost()
        if turn >= warmup_steps:
            samples.append((cost.encode_seconds, cost.decode_seconds))
    encode, decode = (typical(column) for column in zip(*samples, strict=True))
    return encode, decode
