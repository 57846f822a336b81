"""What encode and decode cost, timed on the gradients of real steps.

Codecs run against collectives that answer at once with what N equal workers would have sent (`EchoCollectives`), so
their cost is known for any N, and no other rank is involved.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pipelines.parallel.patterns import Collective
from pipelines.parallel.step import parallel_step
from pipelines.parallel.strategies import strategy_of
from pipelines.parallel.strategy import Channel, Strategy
from pipelines.parallel.traces.echo import EchoCollectives
from pipelines.parallel.traces.trace import Codec, typical
from pipelines.training import training_mode

CODEC_WORKERS = (2, 4)
"""Numbers of workers at which a codec is timed; a line through both gives every other one."""
Batch = tuple[torch.Tensor, torch.Tensor]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


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
    replica = copy.deepcopy(model)
    training_mode(replica)
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
