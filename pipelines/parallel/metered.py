"""A Horovod compression that measures another one: seconds to encode and decode, bytes on the wire."""

import time
from typing import Any, Protocol

import torch

from pipelines.parallel.strategy import StepCost


class Compression(Protocol):
    """What `hvd.DistributedOptimizer` asks of its `compression` argument."""

    def compress(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Return the tensor to be summed and a context that stays on this rank."""

    def decompress(self, tensor: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Turn the sum back into a gradient."""


def seconds_now(device: torch.device) -> float:
    """Return a monotonic time stamp in seconds after all work queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class MeteredCompression:
    """Wraps a compression; every strategy that goes through the stock optimizer is measured alike."""

    def __init__(self, inner: Compression) -> None:
        self.inner = inner
        self._encode_seconds = 0.0
        self._decode_seconds = 0.0
        self._wire_bytes = 0

    def compress(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Compress `tensor` with the inner compression, on the clock."""
        start = seconds_now(tensor.device)
        compressed, ctx = self.inner.compress(tensor)
        self._encode_seconds += seconds_now(tensor.device) - start
        self._wire_bytes += compressed.numel() * compressed.element_size()
        return compressed, ctx

    def decompress(self, tensor: torch.Tensor, ctx: Any) -> torch.Tensor:
        """Decompress `tensor` with the inner compression, on the clock."""
        start = seconds_now(tensor.device)
        result = self.inner.decompress(tensor, ctx)
        self._decode_seconds += seconds_now(tensor.device) - start
        return result

    def take_cost(self) -> StepCost:
        """Return what was measured since the last call, and start anew."""
        cost = StepCost(
            encode_seconds=self._encode_seconds,
            decode_seconds=self._decode_seconds,
            wire_bytes=self._wire_bytes,
        )
        self._encode_seconds = self._decode_seconds = 0.0
        self._wire_bytes = 0
        return cost
