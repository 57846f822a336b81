"""Which wire format a bucket should have: measured speeds of the link and of the codecs, one rule for all ranks."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from horovod_gq.collectives import Collectives
from horovod_gq.exchange import Exchange

PROBE_BYTES = (1024, 2**20)
"""Sizes of the two messages whose times give latency and bandwidth of the link."""
PROBE_REPEATS = 5


@dataclass(frozen=True)
class Speeds:
    """What the workers measured; the same numbers on all of them."""

    latency_seconds: float
    """Of one sum."""
    seconds_per_byte: float
    """Of a payload byte in a sum."""
    codec_seconds_per_value: Mapping[str, float]
    """By format: encode and decode."""


def choose(speeds: Speeds, num_values: int, num_bytes: Mapping[str, int]) -> str:
    """Return the format with the least time for a bucket: codec plus link, as if nothing overlapped.

    `num_bytes` is the bucket's payload by format; the first of equal formats wins. The latency is the same for
    all of them, and does not decide.
    """
    return min(
        num_bytes,
        key=lambda name: (
            speeds.codec_seconds_per_value[name] * num_values + speeds.seconds_per_byte * num_bytes[name]
        ),
    )


def measure_link(collectives: Collectives, device: torch.device) -> tuple[float, float]:
    """Return (latency in seconds, seconds per byte) of sums, on this worker (a collective)."""
    times = []
    for num_bytes in PROBE_BYTES:
        message = torch.zeros(num_bytes // 4, device=device)
        name = f"probe.{num_bytes}"
        samples = [_seconds(device, partial(_sum, collectives, message, name)) for _ in range(PROBE_REPEATS)]
        # The first one negotiates the name.
        times.append(statistics.median(samples[1:]))
    per_byte = max(0.0, (times[1] - times[0]) / (PROBE_BYTES[1] - PROBE_BYTES[0]))
    return times[0], per_byte


def measure_codec(exchange: Exchange, device: torch.device) -> float:
    """Return the seconds per value that one life of `exchange` takes; its collectives must be `Loopback`.

    Mutates `exchange`, which is good for nothing else afterwards.
    """
    for number, view in enumerate(exchange.views):
        view.normal_(generator=torch.Generator(device).manual_seed(number))

    def step() -> None:
        exchange.start(0)
        exchange.advance(0)
        exchange.finish(0)

    samples = [_seconds(device, step) for _ in range(PROBE_REPEATS)]
    # The first ones calibrate and compile.
    return min(samples[2:]) / exchange.flat.numel()


def agree(speeds: Sequence[float], collectives: Collectives, device: torch.device) -> list[float]:
    """Return the mean over the workers of each number (a collective)."""
    total = collectives.start_sum(torch.tensor(speeds, dtype=torch.float64, device=device), "speeds").wait()
    return [float(value) for value in (total / collectives.workers).tolist()]


class Loopback:
    """Collectives of one process that behave as if every worker had sent the same; they take no time."""

    def __init__(self, workers: int) -> None:
        self.rank, self.workers = 0, workers

    def start_sum(self, tensor: torch.Tensor, name: str) -> "_Done":  # noqa: ARG002
        """Multiply by the number of workers, in place."""
        return _Done(tensor.mul_(self.workers))

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> "_Done":  # noqa: ARG002
        """Return row 0 from every worker."""
        return _Done(tensor[:1].expand_as(tensor).clone())

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> "_Done":  # noqa: ARG002
        """Return the same tensor from every worker."""
        return _Done(torch.stack([tensor] * self.workers))


class _Done:
    def __init__(self, result: torch.Tensor) -> None:
        self._result = result

    def wait(self) -> torch.Tensor:
        """Return the result."""
        return self._result


def _sum(collectives: Collectives, message: torch.Tensor, name: str) -> None:
    collectives.start_sum(message, name).wait()


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
