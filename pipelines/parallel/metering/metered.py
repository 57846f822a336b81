"""What a step costs beside computing: the clocks and the byte counter that every strategy shares."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from horovod_gq.collectives import Collectives, Pending
from pipelines.parallel.patterns import Collective


def seconds_now(device: torch.device) -> float:
    """Return a monotonic time stamp in seconds after all work queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What the last step spent on one worker beside computing."""

    encode_seconds: float
    decode_seconds: float
    communication_seconds: float
    """Seconds that the worker was blocked on collectives: the exposed communication."""
    wire_bytes: int
    """Payload that the worker handed to the collectives, headers and scales included."""
    sent_bytes: float
    """What of it, and of the others' payload, the worker sends (`pipelines.parallel.patterns`)."""


class CostMeter:
    """Adds up seconds and bytes until `take`; `device` is synchronized at both ends of a measured part."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.encode_seconds = self.decode_seconds = self.communication_seconds = 0.0
        self.wire_bytes = 0
        self.sent_bytes = 0.0

    def count(self, tensor: torch.Tensor, collective: Collective, workers: int) -> None:
        """Count a payload handed to a collective of so many workers."""
        payload = tensor.numel() * tensor.element_size()
        self.wire_bytes += payload
        self.sent_bytes += payload * collective.sent_per_byte(workers)

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Add the seconds of the block, less those of the blocks in it, to those of encoding."""
        start, inside = seconds_now(self.device), self._metered_seconds()
        yield
        self.encode_seconds += seconds_now(self.device) - start - (self._metered_seconds() - inside)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Add the seconds of the block, less those of the blocks in it, to those of decoding."""
        start, inside = seconds_now(self.device), self._metered_seconds()
        yield
        self.decode_seconds += seconds_now(self.device) - start - (self._metered_seconds() - inside)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Add the seconds of the block, less those of the blocks in it, to those of communication."""
        start, inside = seconds_now(self.device), self._metered_seconds()
        yield
        self.communication_seconds += seconds_now(self.device) - start - (self._metered_seconds() - inside)

    def _metered_seconds(self) -> float:
        return self.encode_seconds + self.decode_seconds + self.communication_seconds

    def take(self) -> StepCost:
        """Return what was measured since the last call, and start anew."""
        cost = StepCost(
            encode_seconds=self.encode_seconds,
            decode_seconds=self.decode_seconds,
            communication_seconds=self.communication_seconds,
            wire_bytes=self.wire_bytes,
            sent_bytes=self.sent_bytes,
        )
        self.encode_seconds = self.decode_seconds = self.communication_seconds = 0.0
        self.wire_bytes = 0
        self.sent_bytes = 0.0
        return cost


class Compression(Protocol):
    """What `hvd.DistributedOptimizer` asks of its `compression` argument."""

    def compress(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Return the tensor to be summed and a context that stays on this rank."""

    def decompress(self, tensor: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Turn the sum back into a gradient."""


class MeteredCompression:
    """Wraps a compression; every strategy that goes through the stock optimizer is measured alike."""

    def __init__(self, inner: Compression, meter: CostMeter, workers: int) -> None:
        self.inner, self.meter, self.workers = inner, meter, workers

    def compress(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Compress `tensor` with the inner compression, on the clock."""
        with self.meter.encoding():
            compressed, ctx = self.inner.compress(tensor)
        self.meter.count(compressed, Collective.SUM, self.workers)
        return compressed, ctx

    def decompress(self, tensor: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Decompress `tensor` with the inner compression, on the clock."""
        with self.meter.decoding():
            return self.inner.decompress(tensor, ctx)


class MeteredPending:
    """A collective under way; waiting for it is on the clock."""

    def __init__(self, inner: Pending, meter: CostMeter) -> None:
        self._inner, self._meter = inner, meter

    def wait(self) -> torch.Tensor:
        """Block until the result is there and return it."""
        with self._meter.waiting():
            return self._inner.wait()


class MeteredCollectives:
    """Wraps collectives: counts the payload, times the waiting, and puts a scope before every name.

    `counts`: whether the payload is counted; not where it stays inside a host.
    """

    def __init__(self, inner: Collectives, meter: CostMeter, scope: str, *, counts: bool = True) -> None:
        self._inner, self._meter, self._scope, self._counts = inner, meter, scope, counts
        self.rank, self.workers = inner.rank, inner.workers

    def start_sum(self, tensor: torch.Tensor, name: str) -> MeteredPending:
        """Sum over the ranks, in place."""
        self._count(tensor, Collective.SUM)
        return MeteredPending(self._inner.start_sum(tensor, self._scope + name), self._meter)

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> MeteredPending:
        """Send row k of `tensor` [N, ...] to rank k; the result's row k came from rank k."""
        self._count(tensor, Collective.ALL_TO_ALL)
        return MeteredPending(self._inner.start_all_to_all(tensor, self._scope + name), self._meter)

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> MeteredPending:
        """Gather `tensor` of every rank; the result is [N, ...] in the order of the ranks."""
        self._count(tensor, Collective.ALL_GATHER)
        return MeteredPending(self._inner.start_all_gather(tensor, self._scope + name), self._meter)

    def _count(self, tensor: torch.Tensor, collective: Collective) -> None:
        if self._counts:
            self._meter.count(tensor, collective, self.workers)
