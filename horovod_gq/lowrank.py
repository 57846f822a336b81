"""Low-rank gradients whose factors travel through GQ: `form="lowrank"`.

PowerSGD (Vogels 2019, algorithm 1) sums P = M Q, orthonormalizes it, sums Q = M^T P, and applies P Q^T; M is gradient
plus residual as a matrix [first dimension, rest]. It only ever sums, so P and Q travel as the packed words of
`QuantizedExchange`, by either exchange, each column with a delayed scale of its own. Q starts from the last step's
(warm start), orthonormalized, so that all columns of P keep their magnitude; a column that has become zero is replaced
by a fixed one. Processors may differ in the last bits of that start: it shapes what they sum, not what they apply.

A rank's residual is M - P S^T, S its own share of the averaged Q: what its message said, rounding included. The mean
of these residuals is that of PowerSGD's, M - P Q^T with the averaged Q. But there a rank also keeps by how much its
gradients differ from the mean, which is never sent: a random walk that outgrows the mean and coarsens the scales.

Replicas stay bit-identical on unlike processors: see `horovod_gq.factors`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from horovod_gq import scale as scales
from horovod_gq.collectives import Collectives
from horovod_gq.config import GQConfig, num_levels
from horovod_gq.exchange import NamedShape
from horovod_gq.factors import MIN_EXPONENT, Factor, product_bits
from horovod_gq.layout import NARROW_ROW, BucketLayout
from horovod_gq.matrices import Matrix, cut
from horovod_gq.packing import num_planes, num_words
from horovod_gq.timing import Timings


def saves_bytes(name: str, shape: tuple[int, ...], config: GQConfig) -> bool:
    """Tell whether the factors of a tensor need fewer bytes than its values through GQ, headers included.

    As with two workers, so that what is chosen does not depend on how many there are.
    """
    matrix = Matrix.of(name, shape, config.factor_rank)
    plain = BucketLayout([(name, shape)], num_planes(config.wire_bits, 2), scale_group=config.scale_group)
    columns = matrix.factor("p") + matrix.factor("q")
    factors = BucketLayout(columns, num_planes(config.factor_bits, 2), NARROW_ROW)
    words = num_words(factors.num_values, config.factor_bits, 2)
    words += len(columns) * scales.header_words(config.factor_bits)
    full_words = num_words(plain.num_values, config.wire_bits, 2)
    return words < full_words + plain.num_units * scales.header_words(config.wire_bits)


@dataclass(frozen=True)
class Work:
    """What a step computes in a block of one slot: views of the buffers, made once."""

    values: slice
    """Place of the block in the flat buffer."""
    total: torch.Tensor
    """Gradient plus residual, flat."""
    left: list[tuple[torch.Tensor, ...]]
    """Of every matrix M (its rows in the block), Q^T and where P^T goes."""
    product: list[tuple[torch.Tensor, ...]]
    """P, Q^T and where P Q^T goes."""
    kept: list[tuple[torch.Tensor, ...]]
    """M, P and S^T: what was to be sent, and this rank's share of what was."""


class LowRankExchange:
    """A bucket of matrices; see `horovod_gq.exchange.Exchange`. Two sums a step (or twice two collectives).

    Args: as for `QuantizedExchange`; `config.factor_rank` and `config.factor_bits` say what travels.
    """

    def __init__(
        self,
        name: str,
        tensors: Sequence[NamedShape],
        config: GQConfig,
        collectives: Collectives,
        device: torch.device,
        num_slots: int,
        timings: Timings,
    ) -> None:
        num_levels(config.factor_bits, collectives.workers, config.exchange, "factor_bits")
        self._config, self._timings, self._device = config, timings, device
        self._matrices = [Matrix.of(tensor, shape, config.factor_rank) for tensor, shape in tensors]
        self.flat = torch.zeros(sum(m.rows * m.columns for m in self._matrices), device=device)
        parts = zip(self._split(self.flat), self._matrices, strict=True)
        self.views = [part.view(matrix.shape) for part, matrix in parts]
        self._inputs = [torch.zeros_like(self.flat) for _ in range(num_slots)]
        """By slot: gradient plus residual while the message is under way, and the residual afterwards."""
        self._last_slot = num_slots - 1
        # P = M Q of a random Q is far smaller than with the next one, so its scale is calibrated once more.
        warmup_steps = config.warmup_steps + 1
        factor_config = replace(
            config, residual_limit=math.inf, clip_factor=None, scale_group=None, warmup_steps=warmup_steps
        )
        arguments = (config.factor_bits, collectives, device, num_slots, timings)
        basis_config = replace(factor_config, error_feedback=False)  # P needs none: it only spans the space
        self._p = Factor(f"{name}.p", "p", self._matrices, basis_config, *arguments)
        self._q = Factor(f"{name}.q", "q", self._matrices, factor_config, *arguments)
        self._share = torch.zeros_like(self._q.values)
        """S of every matrix, in the unit of Q."""
        self._said = [torch.zeros_like(self._q.exchange.flat) for _ in range(num_slots)]
        """By slot, while Q is under way: what this rank's message says, in the layout of the exchange."""
        self._fresh = self._draw()
        self._q.values.copy_(self._fresh)
        self._work = [self._lay_out(total) for total in self._inputs]
        self._bases: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """By slot, while Q is under way: P as integers fp64 [R, rows of all], and their units fp64 [R, matrices]."""
        self.bytes_per_step = self._p.exchange.bytes_per_step + self._q.exchange.bytes_per_step
        self.collectives_per_step = (
            self._p.exchange.collectives_per_step + self._q.exchange.collectives_per_step
        )

    def start(self, slot: int, gradients: torch.Tensor | None = None) -> None:
        """Take over the gradients, compute P and start its first collective."""
        new = self.flat if gradients is None else gradients
        with self._computing(self._timings.encoding):
            for work in self._work[slot]:
                work.total.add_(new[work.values])
                for matrix, q, out in work.left:
                    torch.mm(q, matrix.T, out=out)  # P and Q lie transposed: all three are read row by row
        self._last_slot = slot
        self._p.exchange.start(slot)

    def advance(self, slot: int) -> None:
        """Wait for a collective and start the next one; nothing where the last one is under way."""
        if slot in self._bases:
            self._q.exchange.advance(slot)
            self._note_loss(slot)
        elif not self._p.exchange.at_last(slot):
            self._p.exchange.advance(slot)
        else:
            self._p.exchange.finish(slot)
            with self._computing(self._timings.encoding):
                self._project(slot)
            self._q.exchange.start(slot)
            self._note_loss(slot)

    def finish(self, slot: int) -> None:
        """Wait and write the average into `flat`."""
        while slot not in self._bases:
            self.advance(slot)
        self.advance(slot)
        self._q.exchange.finish(slot)
        with self._computing(self._timings.decoding):
            self._reconstruct(slot)

    @contextmanager
    def _computing(self, clock: Callable[[torch.device], AbstractContextManager[None]]) -> Iterator[None]:
        """Compute in fp32, whatever the autocast of a forward pass from which an update is made; on the clock."""
        with clock(self._device), torch.autocast(self._device.type, enabled=False), torch.no_grad():
            yield

    def _project(self, slot: int) -> None:
        """Orthonormalize P, keep it as integers, and write Q = M^T P to be sent."""
        space = self._p.space
        basis = space.orthonormalize(self._p.gather(self._p.exchange.flat).double())
        units = space.ceilings(basis) / 2.0 ** product_bits(space.rank)[0]
        whole = space.round(basis, units)
        self._bases[slot] = (whole, units)
        self._p.values.copy_(whole * space.spread(units))
        totals = self._split(self._inputs[slot])
        for p, total, out in zip(self._p.factors, totals, self._q.columns, strict=True):
            torch.mm(p, total, out=out)
        self._said[slot].copy_(self._q.exchange.flat)

    def _note_loss(self, slot: int) -> None:
        """Take what the message could not say off what this rank wanted to."""
        self._said[slot].sub_(self._q.exchange.take_loss())

    def _reconstruct(self, slot: int) -> None:
        """Write P Q^T to `flat`, what this rank has still to say to the residual, and the next Q."""
        space, columns = self._q.space, self._q.gather(self._q.exchange.flat)
        whole_p, units = self._bases.pop(slot)
        # One unit for all columns of a matrix: then every sum of products is an integer times this unit.
        common = (space.ceilings(columns) * units).amax(0, keepdim=True).expand(space.rank, -1)
        common = (common / 2.0 ** product_bits(space.rank)[1]).clamp(min=2.0**MIN_EXPONENT)
        per_unit = space.spread((units / common).float())
        scaled = columns * per_unit  # exact, by powers of two
        torch.round(scaled, out=self._q.values)
        # The average that is applied is rounded, so every rank's share is, by as much.
        torch.mul(self._q.gather(self._said[slot]), per_unit, out=self._share)
        self._share.add_(self._q.values.sub(scaled))
        self._p.values.copy_(whole_p * self._p.space.spread(common))
        for work in self._work[slot]:
            for p, q, out in work.product:
                torch.mm(p, q, out=out)
            if self._config.error_feedback:
                for total, p, share in work.kept:
                    total.addmm_(p, share, alpha=-1.0)
            else:
                work.total.zero_()
        self._set_start(*space.orthonormalize_nearly(columns.double()))

    def failures(self) -> list[str]:
        """Names of the tensors that are not finite on some rank; their residuals and columns are dropped."""
        failed = {n.rsplit("/", 1)[0] for f in (self._p, self._q) for n in f.exchange.failures()}
        if failed:
            for total in self._inputs:
                for part, matrix in zip(self._split(total), self._matrices, strict=True):
                    if matrix.name in failed:
                        part.zero_()
            for part, matrix in zip(self._q.factors, self._matrices, strict=True):
                if matrix.name in failed:
                    part.zero_()
            space, columns = self._q.space, self._q.values.double()
            self._set_start(columns, space.ceilings(columns) > 2.0**MIN_EXPONENT)
        return [matrix.name for matrix in self._matrices if matrix.name in failed]

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by tensor name: residuals of the slots in the order of their use, Q, scales of the columns."""
        order = [(self._last_slot + 1 + n) % len(self._inputs) for n in range(len(self._inputs))]
        p_state, q_state = self._p.exchange.state_dict(), self._q.exchange.state_dict()
        state: dict[str, dict[str, Any]] = {}
        for number, matrix in enumerate(self._matrices):
            residuals = [self._split(self._inputs[slot])[number].view(matrix.shape) for slot in order]
            names = [name for kind in ("p", "q") for name, _ in matrix.factor(kind)]
            entries = {**p_state, **q_state}
            state[matrix.name] = {
                "residual": residuals[0].clone(),
                "later_residuals": [residual.clone() for residual in residuals[1:]],
                "q": self._q.factors[number].clone(),
                "wire_bits": self._config.factor_bits,
                "columns": {name: entries[name] for name in names},
            }
        return state

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Take over a state that has been checked."""
        order = [(self._last_slot + 1 + n) % len(self._inputs) for n in range(len(self._inputs))]
        columns: dict[str, dict[str, Any]] = {}
        for number, matrix in enumerate(self._matrices):
            entry = tensors[matrix.name]
            residuals = [entry["residual"], *entry["later_residuals"]]
            for slot, residual in zip(order, residuals, strict=True):
                part = self._split(self._inputs[slot])[number]
                part.copy_(residual.reshape(part.shape))
            self._q.factors[number].copy_(entry["q"])
            columns.update(entry["columns"])
        self._p.exchange.load_state(columns)
        self._q.exchange.load_state(columns)

    def _split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the matrices [rows, columns] that lie in `flat`."""
        parts = torch.split(flat, [m.rows * m.columns for m in self._matrices])
        return [part.view(m.rows, m.columns) for part, m in zip(parts, self._matrices, strict=True)]

    def _lay_out(self, total: torch.Tensor) -> list[Work]:
        """Return the work on the blocks of a slot's `total`."""
        matrices, averages = self._split(total), self._split(self.flat)
        sent, p, q = self._p.columns, self._p.factors, self._q.factors
        shares = self._q.parts(self._share)
        work = []
        for block in cut([(m.rows, m.columns) for m in self._matrices], self._device):
            parts, left = block.rows_of(matrices), [part.T for part in block.left_of(p)]
            work.append(
                Work(
                    block.values,
                    total[block.values],
                    list(zip(parts, block.right_of(q), block.left_of(sent), strict=True)),
                    list(zip(left, block.right_of(q), block.rows_of(averages), strict=True)),
                    list(zip(parts, left, block.right_of(shares), strict=True)),
                )
            )
        return work

    def _set_start(self, columns: torch.Tensor, usable: torch.Tensor) -> None:
        """Take fp64 columns as the next Q, fixed ones in place of those that are not `usable`, bool [R, matrices]."""
        self._q.values.copy_(torch.where(self._q.space.spread(usable), columns, self._fresh))

    def _draw(self) -> torch.Tensor:
        """Random columns fp64 [R, columns of all], alike on every rank and processor, of length about 1."""
        fresh = torch.zeros(self._q.space.present.shape, dtype=torch.float64)
        for part, matrix in zip(self._q.parts(fresh), self._matrices, strict=True):
            digest = hashlib.sha256(f"{self._config.seed}/{matrix.name}/q".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            drawn = torch.randint(-128, 128, part.shape, generator=generator).double() + 0.5
            part.copy_(drawn / 2.0 ** round(math.log2(74.0 * math.sqrt(matrix.columns))))
        return fresh.to(self._device)
