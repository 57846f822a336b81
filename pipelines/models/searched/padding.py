"""Windows that never run out of pixels: a map of n pixels and a stride s leave ceil(n / s), whatever the kernel.

The padding is what that takes, the odd pixel of it behind: the rule "SAME" of TensorFlow, by which the published
searches build their networks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels to put before and behind a map of `side` pixels."""
    total = max(0, (same_side(side, stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


def same_side(side: int, stride: int) -> int:
    """Return the side of what a window leaves of a map of `side` pixels."""
    return -(-side // stride)


class SamePool(nn.Module):
    """Pooling of maps [b, c, side, side], `max` or `avg`, in which padding does not count."""

    counts: Tensor

    def __init__(self, side: int, kernel: int, stride: int, kind: str) -> None:
        super().__init__()
        before, behind = same_padding(side, kernel, stride)
        self.padding = (before, behind, before, behind)
        self.kernel, self.stride, self.kind = kernel, stride, kind
        shares = functional.avg_pool2d(self._padded(torch.ones(1, 1, side, side), 0.0), kernel, stride)
        self.register_buffer("counts", shares, persistent=False)

    def _padded(self, maps: Tensor, value: float) -> Tensor:
        return functional.pad(maps, self.padding, value=value) if any(self.padding) else maps

    def forward(self, maps: Tensor) -> Tensor:
        """Return the pooled maps."""
        if self.kind == "max":
            return functional.max_pool2d(self._padded(maps, -torch.inf), self.kernel, self.stride)
        return functional.avg_pool2d(self._padded(maps, 0.0), self.kernel, self.stride) / self.counts
