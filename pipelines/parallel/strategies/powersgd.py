"""PowerSGD: low-rank gradients by one step of subspace iteration (Vogels 2019)."""

from dataclasses import dataclass
from typing import Any

import torch

from pipelines.config import require
from pipelines.parallel.flat import FlatStrategy, split
from pipelines.parallel.gathered import load_tensors
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class PowersgdOptions:
    """Keys of a `methods` entry with `strategy: powersgd`."""

    rank: int
    """Rank r of the approximation; a matrix of n x m values takes r (n + m) (paper: 1, 2, 4)."""
    seed: int
    """Seed of the first Q, equal on all workers."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        require(self.rank >= 1, "rank", self.rank, "a whole number of at least 1")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")


def orthonormalize(columns: torch.Tensor) -> None:
    """Make the columns of each matrix of `columns` [k, n, r] orthonormal in place, by modified Gram-Schmidt.

    A column that depends on those before it, or is zero, becomes (almost) zero instead of noise.
    """
    for index in range(columns.shape[2]):
        column = columns[:, :, index : index + 1]
        before = torch.linalg.vector_norm(column, dim=1, keepdim=True)
        if index:
            earlier = columns[:, :, :index]
            # Twice is enough (Giraud 2005): one pass leaves a nearly dependent column oblique.
            for _ in range(2):
                column -= earlier @ (earlier.mT @ column)
        norm = torch.linalg.vector_norm(column, dim=1, keepdim=True)
        # What is left of a dependent column is rounding error of about 1e-7 of it.
        independent = norm > 1e-5 * before
        column.mul_(torch.where(independent, 1.0 / norm, 0.0))


@STRATEGIES.register("powersgd")
class Powersgd(FlatStrategy):
    """Sums P = M Q, orthogonalizes, sums Q = M^T P, and applies P Q^T (paper, algorithms 1 and 2).

    M is gradient plus residual as a matrix [first dimension, rest]; the residual keeps M - P Q^T; Q starts from
    the last step's (warm start). The small tensors travel in one fp32 message of their own. The workers must
    compute alike: each orthogonalizes by itself, and replicas on unlike processors could differ in the last bit.
    """

    Options = PowersgdOptions

    def prepare(self) -> None:
        """Allocate the residual, P and Q, and draw the first Q."""
        gradients = self.gradients
        rank = self.options.rank
        sizes = [(shape[0], shape.numel() // shape[0]) for shape in gradients.shapes]
        ranks = [min(rank, *size) for size in sizes]
        self.matrices = [
            tensor.view(size)
            for tensor, size in zip(split(gradients.large, gradients.shapes), sizes, strict=True)
        ]
        device = gradients.large.device
        self.residual = torch.zeros_like(gradients.large)
        p_shapes = [torch.Size((rows, r)) for (rows, _), r in zip(sizes, ranks, strict=True)]
        q_shapes = [torch.Size((columns, r)) for (_, columns), r in zip(sizes, ranks, strict=True)]
        self.p = torch.zeros(sum(shape.numel() for shape in p_shapes), device=device)
        generator = torch.Generator().manual_seed(self.options.seed)
        self.q = torch.randn(sum(shape.numel() for shape in q_shapes), generator=generator).to(device)
        self.ps, self.qs = split(self.p, p_shapes), split(self.q, q_shapes)

    def average(self) -> None:
        """Compress, sum and decompress in two rounds."""
        gradients, workers = self.gradients, self.link.workers
        small = self.link.start_sum(gradients.small, "small")
        with self.meter.encoding():
            gradients.large.add_(self.residual)
            self.residual.copy_(gradients.large)
            for matrix, p, q in zip(self.matrices, self.ps, self.qs, strict=True):
                torch.mm(matrix, q, out=p)
        self.link.start_sum(self.p, "p").wait()
        with self.meter.encoding():
            self._orthonormalize()
            for matrix, p, q in zip(self.matrices, self.ps, self.qs, strict=True):
                torch.mm(matrix.T, p, out=q)
        self.link.start_sum(self.q, "q").wait()
        with self.meter.decoding():
            self.q.div_(workers)
            for matrix, p, q in zip(self.matrices, self.ps, self.qs, strict=True):
                torch.mm(p, q.T, out=matrix)
            self.residual.sub_(gradients.large)
        small.wait()
        gradients.small.div_(workers)

    def _orthonormalize(self) -> None:
        """Orthonormalize all P, those of equal shape at once."""
        by_shape: dict[torch.Size, list[torch.Tensor]] = {}
        for p in self.ps:
            by_shape.setdefault(p.shape, []).append(p)
        for members in by_shape.values():
            stacked = torch.stack(members)
            orthonormalize(stacked)
            torch._foreach_copy_(members, list(stacked.unbind()))

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's residual and Q (nothing with one worker)."""
        return {key: tensor.clone() for key, tensor in self._tensors().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore residual and Q; raises ValueError where they belong to another model or rank."""
        load_tensors(state, self._tensors())

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"residual": self.residual, "q": self.q} if self.link.workers > 1 else {}
