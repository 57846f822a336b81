"""Arithmetic on low-rank factors with the same bits on every processor.

Every rank computes the averaged gradient P Q^T by itself, from sums that all ranks have alike. Matrix products and
sums in floating point differ between processors (order, fused multiply-add), so replicas would drift apart. Sums of
products of integers are exact in floating point, whatever their order: so columns are rounded to integers of few bits
before they are multiplied. All else is elementwise, one operation a pass, which IEEE 754 rounds alike everywhere.

`columns` are the factors of all matrices of a bucket side by side: [R, values], R the largest rank; a matrix of lower
rank has zero columns at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from horovod_gq.exchange import QuantizedExchange
from horovod_gq.layout import NARROW_ROW
from horovod_gq.matrices import Matrix

GRAM_BITS = 15
"""Bits of a column for the Gram matrix: products of 30 bits, whose sum over 2^22 values is exact in fp64."""
MIN_EXPONENT, MAX_EXPONENT = -100, 100
"""Range of the powers of two by which columns are scaled; what is below vanishes (and stays in the residual)."""
DEPENDENT = 1e-8
"""A column whose square is less than this share of what it was before orthogonalization counts as dependent."""
EXACT_BITS = 24
"""Significant bits of fp32: integers up to 2^24 are exact."""


def product_bits(rank: int) -> tuple[int, int]:
    """Bits of P and of Q with which every value of P Q^T is an integer of at most 2^24: exact in any order."""
    left = EXACT_BITS - (rank - 1).bit_length()
    return left // 2, left - left // 2


class FactorSpace:
    """The columns of the factors of several matrices, one segment a matrix.

    Args:
        lengths: values of a column, by matrix.
        ranks: columns, by matrix.
        device: where they live.
    """

    def __init__(self, lengths: Sequence[int], ranks: Sequence[int], device: torch.device) -> None:
        self.rank, self.num_matrices, self._lengths = max(ranks), len(lengths), list(lengths)
        counts = torch.tensor(lengths)
        self._owners = torch.repeat_interleave(torch.arange(len(lengths)), counts).to(device)
        rows = torch.arange(self.rank)[:, None] < torch.tensor(ranks)
        self.present = rows.to(device)[:, self._owners]
        """bool [R, values]: whether the matrix has that column."""
        exponents = range(MIN_EXPONENT, MAX_EXPONENT + 1)
        self._powers = torch.tensor([2.0**e for e in exponents], dtype=torch.float64, device=device)

    def ceilings(self, columns: torch.Tensor) -> torch.Tensor:
        """Return fp64 [R, matrices]: the smallest power of two that no magnitude of the column exceeds."""
        largest = columns.new_zeros(self.rank, self.num_matrices)
        largest.scatter_reduce_(1, self._owners.expand(self.rank, -1), columns.abs(), "amax")
        return self._powers[torch.bucketize(largest.double(), self._powers).clamp_(max=len(self._powers) - 1)]

    def spread(self, per_matrix: torch.Tensor) -> torch.Tensor:
        """Return [R, values] from [R, matrices]."""
        return per_matrix.index_select(1, self._owners)

    def round(self, columns: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        """Return `columns` in whole `units` [R, matrices] (powers of two): fp64 integers."""
        return torch.round(columns / self.spread(units))

    def orthonormalize(self, columns: torch.Tensor) -> torch.Tensor:
        """Return fp64 orthonormal columns that span those given, fp64 [R, values]; dependent columns become zero.

        Gram-Schmidt in the coordinates of the Gram matrix, which is exact.
        """
        whole = self.round(columns, self.ceilings(columns) / 2.0**GRAM_BITS)
        gram = torch.stack([self._segment_sums(whole * row) for row in whole])  # [R, R, matrices]
        coordinates = orthonormal_coordinates(gram)
        result = torch.zeros_like(whole)
        for source in range(self.rank):
            result += self.spread(coordinates[:, source]) * whole[source]
        return result

    def orthonormalize_nearly(self, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Do the same by matrix products: faster for long columns, but the last bits depend on the processor.

        Returns the columns, and bool [R, matrices]: which of them were independent.
        """
        parts = self.split(columns)
        gram = columns.new_empty(len(parts), self.rank, self.rank)
        for part, products in zip(parts, gram, strict=True):
            torch.mm(part, part.T, out=products)
        coordinates = orthonormal_coordinates(gram.permute(1, 2, 0).contiguous())
        result = torch.empty_like(columns)
        for part, own, out in zip(parts, coordinates.permute(2, 0, 1), self.split(result), strict=True):
            torch.mm(own, part, out=out)
        return result, torch.diagonal(coordinates).T > 0

    def split(self, columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the columns of every matrix, [R, length]; views."""
        return torch.split(columns, self._lengths, dim=1)

    def _segment_sums(self, columns: torch.Tensor) -> torch.Tensor:
        sums = columns.new_zeros(self.rank, self.num_matrices)
        return sums.index_add_(1, self._owners, columns)


def orthonormal_coordinates(gram: torch.Tensor) -> torch.Tensor:
    """Return fp64 [R, R, matrices]: row k holds the coordinates of basis vector k, zero if column k is dependent.

    Args:
        gram: fp64 [R, R, matrices], the inner products of the columns of each matrix.
    """
    rest = gram.clone()  # the inner products of what the columns have outside the basis so far
    basis = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)[:, :, None].repeat(1, 1, gram.shape[2])
    for index in range(len(gram)):
        square = rest[index, index]
        independent = square > DEPENDENT * gram[index, index]
        scale = torch.where(independent, 1.0 / torch.sqrt(square), 0.0)
        basis[index] *= scale
        overlap = rest[index] * scale  # [R, matrices], with the new basis vector
        later = overlap[index + 1 :, None]
        basis[index + 1 :] -= later * basis[index]
        rest[index + 1 :] -= later * overlap
    return basis


class Factor:
    """P or Q of all matrices of a bucket, with what carries it."""

    def __init__(self, name: str, kind: str, matrices: Sequence[Matrix], *arguments: Any) -> None:
        config, wire_bits, collectives, device, num_slots, timings = arguments
        named = [column for matrix in matrices for column in matrix.factor(kind)]
        self.exchange = QuantizedExchange(
            name, named, config, wire_bits, collectives, device, num_slots, timings, row=NARROW_ROW
        )
        self._lengths = [matrix.rows if kind == "p" else matrix.columns for matrix in matrices]
        self._ranks = [matrix.rank for matrix in matrices]
        self.space = FactorSpace(self._lengths, self._ranks, device)
        self.values = torch.zeros(self.space.present.shape, device=device)
        """What is multiplied: of P for the moment, of Q from the end of a step to the start of the next."""
        self.factors = self.parts(self.values)
        """By matrix, [rank, length]; views of `values`."""
        places = torch.arange(self.exchange.flat.numel()).view_as(self.exchange.flat)
        self._places = torch.zeros(self.space.present.shape, dtype=torch.int64)
        for place, found in zip(self.parts(self._places), self._columns_of(places), strict=True):
            place.copy_(found)
        self._places = self._places.view(-1).to(device)
        self.columns = self._columns_of(self.exchange.flat)
        """By matrix: its columns in the bucket of the exchange, [rank, length]."""

    def gather(self, flat: torch.Tensor) -> torch.Tensor:
        """Return what lies in `flat`, laid out as the exchange's, as fp32 [R, values]."""
        gathered = torch.index_select(flat.view(-1), 0, self._places).view_as(self.values)
        return torch.where(self.space.present, gathered, 0.0)

    def _columns_of(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return views of `flat`, laid out as the exchange's: the columns of every matrix, [rank, length]."""
        slots, first = self.exchange.codec.layout.slots, 0
        found = []
        for rank, length in zip(self._ranks, self._lengths, strict=True):
            slot = slots[first]
            size, start = slot.num_rows * NARROW_ROW, slot.first_row * NARROW_ROW
            found.append(flat.view(-1)[start : start + rank * size].view(rank, size)[:, :length])
            first += rank
        return found

    def parts(self, columns: torch.Tensor) -> list[torch.Tensor]:
        """Split [R, values] into the matrices' own columns [rank, length]; they share memory."""
        return [part[:rank] for part, rank in zip(self.space.split(columns), self._ranks, strict=True)]
