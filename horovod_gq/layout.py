"""How the tensors of one bucket lie in its flat buffer: rows of 128 (or 16) values, each row of one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

ROW = 128
"""Values in a row: a multiple of every vector width, and small beside a weight tensor (padding is sent)."""

NARROW_ROW = 16
"""Values in a row of a bucket of short vectors, whose last rows of 128 would mostly be padding."""


@dataclass(frozen=True)
class TensorSlot:
    """Place of one tensor: `num_rows` rows from `first_row`; the last row is padded with zeros."""

    name: str
    shape: tuple[int, ...]
    numel: int
    first_row: int
    num_rows: int
    units: range
    """Its parts that have a scale each."""


class BucketLayout:
    """Rows of a bucket, a multiple of `row_multiple` (rows at the end belong to no value and stay zero).

    Args:
        tensors: (name, shape) in the order in which they are laid out.
        row_multiple: the number of rows is rounded up to it.
        row: values in a row, a multiple of 4.
        scale_group: values of a unit, which has one scale, a multiple of `row`; None is a whole tensor.
    """

    def __init__(
        self,
        tensors: Sequence[tuple[str, tuple[int, ...]]],
        row_multiple: int,
        row: int = ROW,
        scale_group: int | None = None,
    ) -> None:
        if not tensors:
            raise ValueError("a bucket needs at least one tensor")
        self.row = row
        slots: list[TensorSlot] = []
        first_row = 0
        unit_numels: list[int] = []
        unit_rows: list[int] = []
        for name, shape in tensors:
            numel = int(torch.Size(shape).numel())
            num_rows = -(-numel // row)
            size = scale_group or max(1, numel)
            sizes = [min(size, numel - start) for start in range(0, numel, size)] or [0]
            units = range(len(unit_numels), len(unit_numels) + len(sizes))
            slots.append(TensorSlot(name, tuple(shape), numel, first_row, num_rows, units))
            first_row += num_rows
            unit_numels += sizes
            unit_rows += [-(-part // row) for part in sizes]
        self.slots, self.num_units = tuple(slots), len(unit_numels)
        self._unit_numels, self._unit_rows = unit_numels, unit_rows
        self.num_rows = -(-first_row // row_multiple) * row_multiple

    @property
    def num_values(self) -> int:
        """Values of the flat buffer, padding included."""
        return self.num_rows * self.row

    def view(self, flat: torch.Tensor, slot: TensorSlot) -> torch.Tensor:
        """Return the tensor of `slot` inside `flat` [num_rows, row], in its own shape; shares memory."""
        start = slot.first_row * self.row
        return flat.view(-1)[start : start + slot.numel].view(slot.shape)

    def row_owners(self, device: torch.device) -> torch.Tensor:
        """int64 [num_rows]: the unit of each row; rows at the end count to the last unit."""
        counts = list(self._unit_rows)
        counts[-1] += self.num_rows - sum(counts)
        return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(device)

    def numels(self, device: torch.device) -> torch.Tensor:
        """float64 [units]: values of each unit, padding not counted."""
        return torch.tensor(self._unit_numels, dtype=torch.float64, device=device)
