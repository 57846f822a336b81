"""Random-k sparsification with error feedback (Stich 2018, "Sparsified SGD with memory")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.config import number, whole
from pipelines.config.validate import MOST_SEED
from pipelines.parallel.compression.flat_gradients import is_compressed
from pipelines.parallel.compression.sparse import entries_of
from pipelines.parallel.patterns import NamedShape, Pattern, flat, float_sum, numel
from pipelines.parallel.strategies.bases.flat import FlatStrategy
from pipelines.parallel.strategies.bases.gathered import load_tensors
from pipelines.parallel.strategy import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class RandomkOptions:
    """Keys of a `methods` entry with `strategy: randomk`."""

    density: float
    """Share of the values that is sent; four bytes each, for all workers draw the same indices."""
    seed: int
    """Seed of the indices, equal on all workers."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "density", above=0.0, most=1.0)
        whole(self, "seed", least=0, most=MOST_SEED)


@STRATEGIES.register("randomk")
class Randomk(FlatStrategy):
    """Sums k = ceil(density n) values of gradient plus residual, drawn anew in every step; the residual keeps the rest.

    The vector is cut into k equal parts and one value drawn of each: every value has about the same chance, none is
    drawn twice, and nothing of the vector's length is shuffled. Small tensors travel in the same fp32 sum.
    """

    Options = RandomkOptions

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:  # noqa: ARG002 - the same for all
        """One fp32 sum after the backward pass."""
        large = sum(numel(shape) for _, shape in tensors if is_compressed(shape))
        small = sum(numel(shape) for _, shape in tensors if not is_compressed(shape)) + 1
        return flat(tensors, float_sum(small + entries_of(large, self.options.density)))

    def prepare(self) -> None:
        """Allocate the residual, fp32 [n], zero at the start, and the message."""
        gradients = self.gradients
        self.residual = torch.zeros_like(gradients.large)
        num_values, count = self.residual.numel(), entries_of(self.residual.numel(), self.options.density)
        self.message = torch.zeros(gradients.small.numel() + count, device=self.residual.device)
        bounds = torch.arange(count + 1, dtype=torch.float64) * (num_values / max(1, count))
        self.starts = bounds[:-1].ceil().long()
        self.sizes = bounds[1:].ceil().long() - self.starts
        self.step = torch.zeros(1, dtype=torch.int64)

    def average(self) -> None:
        """Select, sum, and put the averages where they came from."""
        gradients, small = self.gradients, self.gradients.small.numel()
        with self.meter.encoding():
            self.residual.add_(gradients.large)
            indices = self._draw()
            self.message[:small] = gradients.small
            self.message[small:] = self.residual[indices]
            self.residual.index_fill_(0, indices, 0.0)
        self.link.start_sum(self.message, "message").wait()
        with self.meter.decoding():
            self.message.div_(self.link.workers)
            gradients.small.copy_(self.message[:small])
            gradients.large.zero_()
            gradients.large[indices] = self.message[small:]

    def _draw(self) -> torch.Tensor:
        """Return the int64 indices of this step, which depend on the seed and the step alone."""
        # torch's CPU generator takes the low 32 bits of its seed.
        generator = torch.Generator().manual_seed(self.options.seed + 65_537 * int(self.step))
        self.step += 1
        shares = torch.rand(self.sizes.shape, generator=generator, dtype=torch.float64)
        return (self.starts + (shares * self.sizes).long()).to(self.residual.device)

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's residual and the number of steps (nothing with one worker)."""
        return {key: tensor.clone() for key, tensor in self._tensors().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; raises ValueError where it belongs to another model."""
        load_tensors(state, self._tensors())

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"residual": self.residual, "step": self.step} if self.link.workers > 1 else {}
