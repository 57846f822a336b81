"""Which wire format a bucket should have: measured times of real exchanges, one rule for all ranks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from horovod_gq.collectives import Collectives
from horovod_gq.exchange import Exchange
from horovod_gq.timing import Timings

NUM_WARMUP = 2
"""Exchanges that calibrate, compile and negotiate."""
NUM_TIMED = 6
SURE = 1.25
"""A plan is not tried where its step takes so many times as long as that of another one even if everything hides that
can, and the other's even if nothing does. More than 1, because exchanges and steps timed one by one vary."""


@dataclass(frozen=True)
class Cost:
    """Seconds of an exchange in one format: encode, sum over the link, decode; linear in the bucket's values."""

    fixed_seconds: float
    seconds_per_value: float

    def of(self, num_values: int) -> float:
        """Return the seconds for a bucket."""
        return self.fixed_seconds + self.seconds_per_value * num_values


def fit(small: tuple[int, float], large: tuple[int, float]) -> Cost:
    """Return the line through two measurements (values, seconds).

    Where noise or one single size gives no rising line with a fixed part of at least 0: that through the larger.
    """
    (few, seconds_few), (many, seconds_many) = small, large
    proportional = Cost(0.0, seconds_many / many)
    if many == few:
        return proportional
    slope = (seconds_many - seconds_few) / (many - few)
    fixed = seconds_few - slope * few
    return Cost(fixed, slope) if slope > 0.0 and fixed >= 0.0 else proportional


def choose(costs: Mapping[str, Cost], formats: Sequence[str], num_values: int) -> str:
    """Return the format with the least time for a bucket; the first of equal ones wins."""
    return min(formats, key=lambda name: costs[name].of(num_values))


def worth_trying(
    costs: Mapping[str, Cost], codecs: Mapping[str, Cost], sizes: Sequence[int], compute_seconds: float
) -> list[str]:
    """Return the formats, in the order of `costs`, that may make the shortest step; see `SURE`.

    Args:
        costs: seconds of a whole exchange, by format.
        codecs: what of it the worker itself encodes and decodes.
        sizes: values of each bucket.
        compute_seconds: a step without what it waits for.

    No step is shorter than what the worker computes, codec included, nor than what the link carries, one message at a
    time; and none longer than both one after the other.
    """
    total = sum(sizes)
    longest = {name: compute_seconds + sum(cost.of(size) for size in sizes) for name, cost in costs.items()}
    allowed = SURE * min(longest.values())

    def shortest(name: str) -> float:
        codec = codecs[name].seconds_per_value
        link = costs[name].seconds_per_value - codec
        return max(compute_seconds + codec * total, link * total)

    return [name for name in costs if shortest(name) <= allowed]


def measure(
    exchange: Exchange, gradients: Sequence[torch.Tensor], device: torch.device, timings: Timings
) -> tuple[float, float]:
    """Return the least seconds of an exchange from start to finish, and of its codec, on this worker (a collective).

    The least, because whatever disturbs an exchange (a compilation, another process) only makes it longer. Mutates
    `exchange`, which is good for nothing else afterwards, and its `timings`.
    """
    samples, codecs = [], []
    for _ in range(NUM_WARMUP + NUM_TIMED):
        # Real ones: Gloo needs far longer for fp16 numbers as small as gradients are.
        torch._foreach_copy_(exchange.views, list(gradients))
        timings.reset()
        start = _now(device)
        exchange.start(0)
        exchange.finish(0)
        samples.append(_now(device) - start)
        codecs.append(timings.encode_seconds + timings.decode_seconds)
    return min(samples[NUM_WARMUP:]), min(codecs[NUM_WARMUP:])


def agree(seconds: Sequence[float], collectives: Collectives, device: torch.device) -> list[float]:
    """Return the mean over the workers of each number (a collective)."""
    mine = torch.tensor(seconds, dtype=torch.float64, device=device)
    total = collectives.start_sum(mine, "agree").wait()
    return [float(value) for value in (total / collectives.workers).tolist()]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
