"""The matrices of a low-rank bucket, and the blocks in which a step works on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from horovod_gq.exchange import NamedShape

BLOCK_BYTES = 2**19
"""On a CPU a block stays in a core's cache from one operation to the next."""


@dataclass(frozen=True)
class Matrix:
    """A tensor as a matrix, with the rank of its factors."""

    name: str
    shape: tuple[int, ...]
    rows: int
    columns: int
    rank: int

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], rank: int) -> Matrix:
        """View a tensor of at least two dimensions as [first, rest]."""
        rows, columns = shape[0], math.prod(shape[1:])
        return cls(name, shape, rows, columns, min(rank, rows, columns))

    def factor(self, kind: str) -> list[NamedShape]:
        """Names and lengths of the columns of P or Q."""
        length = self.rows if kind == "p" else self.columns
        return [(f"{self.name}/{kind}{index}", (length,)) for index in range(self.rank)]


@dataclass(frozen=True)
class Block:
    """Rows of a large matrix, or several small matrices whole."""

    values: slice
    """Its place in the flat buffer."""
    members: tuple[tuple[int, slice], ...]
    """Numbers of its matrices, and which of their rows."""

    def rows_of(self, matrices: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return views of its rows of the bucket's matrices [rows, columns]."""
        return [matrices[number][rows] for number, rows in self.members]

    def left_of(self, factors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return views [rank, rows] of its part of the left factors [rank, all rows]."""
        return [factors[number][:, rows] for number, rows in self.members]

    def right_of(self, factors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the right factors [rank, columns] of its matrices."""
        return [factors[number] for number, _ in self.members]


def cut(shapes: Sequence[tuple[int, int]], device: torch.device) -> list[Block]:
    """Cut matrices [rows, columns] that lie one after the other in a flat buffer; a GPU takes one block."""
    most = BLOCK_BYTES // 4 if device.type == "cpu" else sum(rows * columns for rows, columns in shapes)
    blocks: list[Block] = []
    members: list[tuple[int, slice]] = []
    start = end = 0
    for number, (num_rows, num_columns) in enumerate(shapes):
        height = max(1, most // num_columns)
        for first in range(0, num_rows, height):
            rows = slice(first, min(first + height, num_rows))
            size = (rows.stop - first) * num_columns
            if members and end - start + size > most:
                blocks.append(Block(slice(start, end), tuple(members)))
                start, members = end, []
            members.append((number, rows))
            end += size
    return [*blocks, Block(slice(start, end), tuple(members))]
