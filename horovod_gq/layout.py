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


class BucketLayout:
    """Rows of a bucket, a multiple of `row_multiple` (rows at the end belong to no value and stay zero).

    Args:
        tensors: (name, shape) in the order in which they are laid out.
        row_multiple: the number of rows is rounded up to it.
        row: values in a row, a multiple of 4.
    """

    def __init__(
        self, tensors: Sequence[tuple[str, tuple[int, ...]]], row_multiple: int, row: int = ROW
    ) -> None:
        if not tensors:
            raise ValueError("a bucket needs at least one tensor")
        self.row = row
        slots: list[TensorSlot] = []
        first_row = 0
        for name, shape in tensors:
            numel = int(torch.Size(shape).numel())
            num_rows = -(-numel // row)
            slots.append(TensorSlot(name, tuple(shape), numel, first_row, num_rows))
            first_row += num_rows
        self.slots = tuple(slots)
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
        """int64 [num_rows]: the tensor index of each row; rows at the end count to the last tensor."""
        counts = [slot.num_rows for slot in self.slots]
        counts[-1] += self.num_rows - sum(counts)
        return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(device)

    def numels(self, device: torch.device) -> torch.Tensor:
        """float64 [tensors]: values of each tensor, padding not counted."""
        return torch.tensor([slot.numel for slot in self.slots], dtype=torch.float64, device=device)
