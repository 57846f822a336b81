"""Opt-in timing of encode and decode."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Timings:
    """Seconds spent encoding and decoding since the last reset; costs nothing while disabled.

    On CUDA both ends of a measured part are synchronized, which slows the step: enable it to measure only.
    """

    def __init__(self, enabled: bool = False) -> None:
        self.enabled = enabled
        self.encode_seconds = 0.0
        self.decode_seconds = 0.0

    def reset(self) -> None:
        """Set both sums to zero."""
        self.encode_seconds = self.decode_seconds = 0.0

    @contextmanager
    def encoding(self, device: torch.device) -> Iterator[None]:
        """Add the time of the block to `encode_seconds`."""
        start = self._now(device)
        yield
        if self.enabled:
            self.encode_seconds += self._now(device) - start

    @contextmanager
    def decoding(self, device: torch.device) -> Iterator[None]:
        """Add the time of the block to `decode_seconds`."""
        start = self._now(device)
        yield
        if self.enabled:
            self.decode_seconds += self._now(device) - start

    def _now(self, device: torch.device) -> float:
        if not self.enabled:
            return 0.0
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()
