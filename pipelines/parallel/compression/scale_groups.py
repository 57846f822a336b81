"""Groups of consecutive values of a flat vector that share a scale: whole tensors, or buckets of a fixed size."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch

from pipelines.parallel.compression.flat_gradients import split

SMALLEST_SCALE = 1e-35
"""Scales below count as zero: their inverse would overflow fp32."""


class ScaleGroups(Protocol):
    """How a flat vector, fp32 [n], falls into groups."""

    count: int

    def norms(self, vector: torch.Tensor, order: float) -> torch.Tensor:
        """Return the norm of each group, fp32 [count]; `order` 1, 2 or infinity."""
        ...

    def scale_(self, vector: torch.Tensor, factors: torch.Tensor) -> None:
        """Multiply each group of `vector` by its factor of [count], in place."""
        ...


class TensorGroups:
    """A group for each of the tensors that lie one after another in the vector."""

    def __init__(self, shapes: Sequence[torch.Size]) -> None:
        self.shapes = [torch.Size([shape.numel()]) for shape in shapes]
        self.count = len(shapes)

    def norms(self, vector: torch.Tensor, order: float) -> torch.Tensor:
        """Return the norm of each tensor."""
        if self.count == 0:
            return vector.new_zeros(0)
        tensors = split(vector, self.shapes)
        if order == math.inf:
            return torch.stack([_largest_magnitude(*torch.aminmax(tensor)) for tensor in tensors])
        return torch.stack(list(torch._foreach_norm(tensors, order)))

    def scale_(self, vector: torch.Tensor, factors: torch.Tensor) -> None:
        """Multiply each tensor by its factor, in place."""
        if self.count:
            torch._foreach_mul_(split(vector, self.shapes), list(factors.unbind()))


class BucketGroups:
    """Groups of `size` values; the last one has what is left."""

    def __init__(self, num_values: int, size: int) -> None:
        self.size = size
        self.whole = num_values // size * size
        self.count = -(-num_values // size)

    def norms(self, vector: torch.Tensor, order: float) -> torch.Tensor:
        """Return the norm of each bucket."""
        norms = _row_norms(vector[: self.whole].view(-1, self.size), order)
        if self.whole == vector.numel():
            return norms
        return torch.cat([norms, _row_norms(vector[self.whole :].view(1, -1), order)])

    def scale_(self, vector: torch.Tensor, factors: torch.Tensor) -> None:
        """Multiply each bucket by its factor, in place."""
        rows = vector[: self.whole].view(-1, self.size)
        rows.mul_(factors[: rows.shape[0], None])
        if self.whole < vector.numel():
            vector[self.whole :].mul_(factors[-1])


def _largest_magnitude(smallest: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Return the norm of order infinity; on a CPU `aminmax` finds both several times faster than `vector_norm`."""
    return torch.maximum(-smallest, largest)


def _row_norms(rows: torch.Tensor, order: float) -> torch.Tensor:
    if order == math.inf and len(rows):
        return _largest_magnitude(*torch.aminmax(rows, dim=1))
    norms: torch.Tensor = torch.linalg.vector_norm(rows, order, dim=1)
    return norms


def inverse_or_zero(scales: torch.Tensor) -> torch.Tensor:
    """Return 1 / scales, and 0 for scales that are (almost) zero; NaN stays NaN."""
    return torch.where(scales < SMALLEST_SCALE, 0.0, 1.0 / scales)
