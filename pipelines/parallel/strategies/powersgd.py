"""PowerSGD: low-rank gradients by one step of subspace iteration (Vogels 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from pipelines.config import whole
from pipelines.config.validate import MOST_SEED, MOST_WIDTH
from pipelines.parallel.compression.flat_gradients import is_compressed, split
from pipelines.parallel.patterns import Exchange, NamedShape, Pattern, Start, float_sum, numel
from pipelines.parallel.strategies.bases.flat import FlatStrategy
from pipelines.parallel.strategies.bases.gathered import load_tensors
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class PowersgdOptions:
    """Keys of a `methods` entry with `strategy: powersgd`."""

    rank: int
    """Rank r of the approximation; a matrix of n x m values takes r (n + m) (paper: 1, 2, 4)."""
    seed: int
    """Seed of the first Q and of the columns that are drawn anew, equal on all workers."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        whole(self, "rank", most=MOST_WIDTH)
        whole(self, "seed", least=0, most=MOST_SEED)


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
    the last step's (warm start). A column that has become zero, after a zero gradient or one of lower rank than Q,
    would stay zero for ever (M 0 = 0); it is drawn anew for the next step. The small tensors travel in one fp32
    message of their own. The workers must compute alike: each orthogonalizes by itself, and replicas on unlike
    processors could differ in the last bit. Q lies transposed, so that both products read M row by row.
    """

    Options = PowersgdOptions

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:  # noqa: ARG002 - the same for all
        """Sum the small tensors and a status in fp32; beside them all P, then all Q."""
        shapes = [shape for _, shape in tensors]
        small = tuple(number for number, shape in enumerate(shapes) if not is_compressed(shape))
        large = tuple(number for number, shape in enumerate(shapes) if is_compressed(shape))
        sizes = [(shapes[n][0], numel(shapes[n]) // shapes[n][0]) for n in large]
        ranks = [min(self.options.rank, *size) for size in sizes]
        factors = [sum(r * size[side] for size, r in zip(sizes, ranks, strict=True)) for side in (0, 1)]
        status_too = sum(numel(shapes[n]) for n in small) + 1
        exchanges = (
            Exchange(tensors=small, rounds=(float_sum(status_too),)),
            Exchange(tensors=large, rounds=tuple(float_sum(count) for count in factors)),
        )
        return Pattern(exchanges=exchanges, start=Start.STEP)

    def prepare(self) -> None:
        """Allocate the residual, P and Q, and draw the first Q."""
        gradients = self.gradients
        rank = self.options.rank
        sizes = [(shape[0], shape.numel() // shape[0]) for shape in gradients.shapes]
        ranks = [min(rank, *size) for size in sizes]
        device = gradients.large.device
        self.residual = torch.zeros_like(gradients.large)
        self.totals, self.results = (
            [part.view(size) for part, size in zip(split(flat, gradients.shapes), sizes, strict=True)]
            for flat in (self.residual, gradients.large)
        )
        p_shapes = [torch.Size((rows, r)) for (rows, _), r in zip(sizes, ranks, strict=True)]
        q_shapes = [torch.Size((r, columns)) for (_, columns), r in zip(sizes, ranks, strict=True)]
        self.p = torch.zeros(sum(shape.numel() for shape in p_shapes), device=device)
        self.step = torch.zeros(1, dtype=torch.int64)
        self.q = torch.zeros(sum(shape.numel() for shape in q_shapes), device=device)
        self._draw_into(self.q)
        self.ps, self.qs = split(self.p, p_shapes), split(self.q, q_shapes)

    def average(self) -> None:
        """Compress, sum and decompress in two rounds."""
        gradients, workers = self.gradients, self.link.workers
        small = self.link.start_sum(gradients.small, "small")
        with self.meter.encoding():
            self.residual.add_(gradients.large)
            for total, p, q in zip(self.totals, self.ps, self.qs, strict=True):
                p.copy_(linear(total, q))
        self.link.start_sum(self.p, "p").wait()
        with self.meter.encoding():
            complete = self._orthonormalize()
            for total, p, q in zip(self.totals, self.ps, self.qs, strict=True):
                torch.mm(p.T, total, out=q)
        self.link.start_sum(self.q, "q").wait()
        with self.meter.decoding():
            self.q.div_(workers)
            for result, p, q in zip(self.results, self.ps, self.qs, strict=True):
                torch.mm(p, q, out=result)
            self.residual.sub_(gradients.large)
            self.step += 1
            if not complete:
                self._refill()
        small.wait()
        gradients.small.div_(workers)

    def _orthonormalize(self) -> bool:
        """Orthonormalize all P, those of equal shape at once; tell whether no column is zero then."""
        by_shape: dict[torch.Size, list[torch.Tensor]] = {}
        for p in self.ps:
            by_shape.setdefault(p.shape, []).append(p)
        complete = True
        for members in by_shape.values():
            stacked = torch.stack(members)
            orthonormalize(stacked)
            complete = complete and bool(stacked.any(dim=1).all())
            torch._foreach_copy_(members, list(stacked.unbind()))
        return complete

    def _refill(self) -> None:
        """Draw those columns of Q anew that are zero, which are those of P and so the same on all workers."""
        fresh = torch.empty_like(self.q)
        self._draw_into(fresh)
        for q, drawn in zip(self.qs, split(fresh, [q.shape for q in self.qs]), strict=True):
            q.copy_(torch.where(q.any(dim=1, keepdim=True), q, drawn))

    def _draw_into(self, target: torch.Tensor) -> None:
        """Fill `target` with normal values that depend on the seed and the step alone."""
        # torch's CPU generator takes the low 32 bits of its seed.
        generator = torch.Generator().manual_seed(self.options.seed + 65_537 * int(self.step))
        target.copy_(torch.randn(target.shape, generator=generator))

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's residual, Q and number of steps (nothing with one worker)."""
        return {key: tensor.clone() for key, tensor in self._tensors().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; raises ValueError where it belongs to another model."""
        load_tensors(state, self._tensors())

    def _tensors(self) -> dict[str, torch.Tensor]:
        if self.link.workers == 1:
            return {}
        return {"residual": self.residual, "q_rows": self.q, "step": self.step}
