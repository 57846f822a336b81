"""Deep gradient compression (Lin 2018): sparse gradients that keep their momentum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pipelines.config import number, whole
from pipelines.config.validate import MOST_STEPS
from pipelines.errors import UserError
from pipelines.parallel.compression.flat_gradients import split
from pipelines.parallel.compression.momentum_correction import LocalMomentum
from pipelines.parallel.compression.selection import sampled_largest
from pipelines.parallel.compression.sparse import (
    add_payloads,
    check_indices,
    entries_of,
    sparse_bytes,
    sparse_payload,
)
from pipelines.parallel.patterns import numel
from pipelines.parallel.strategies.bases.gathered import GatheredStrategy, load_tensors
from pipelines.parallel.strategy import HOROVOD, STRATEGIES, Channel

SMALLEST_SAMPLE = 1024
"""Values of a tensor that are looked at in any case: a quantile needs some."""
WARMUP_STAGES = 4
"""Densities 1/4, 1/16, 1/64, 1/256 before the final one (paper, section 4.1: sparsity 75 % to 99.6 %)."""


@dataclass(frozen=True, kw_only=True)
class DgcOptions:
    """Keys of a `methods` entry with `strategy: dgc`."""

    density: float
    """Share of each tensor's values that is sent after the warm-up (paper: 0.001); eight bytes each."""
    warmup_steps: int
    """Steps over which the density falls exponentially to `density` (paper: those of four epochs); 0: none."""
    clip_norm: float | None
    """Clip the gradient at this norm; each worker its own at clip_norm / sqrt(N) (section 3.2); null: never."""
    sample_fraction: float
    """Share of a tensor that is sampled to find its threshold (section 5: 0.001 to 0.01)."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "density", "sample_fraction", above=0.0, most=1.0)
        number(self, "clip_norm", above=0.0, most=1e20, null=True)
        whole(self, "warmup_steps", least=0, most=MOST_STEPS)


@STRATEGIES.register("dgc")
class Dgc(GatheredStrategy):
    """Accumulates velocity, not gradients, and sends its largest values (paper, algorithm 1 with section 3).

    Local gradient clipping; momentum correction u = m u + g, v = v + u; the values of v above a sampled threshold
    are sent; momentum factor masking clears u and v where they were. Small tensors send their velocity whole.

    Momentum and weight decay are taken over from the SGD optimizer at `attach`, which keeps the learning rate.
    """

    Options = DgcOptions

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Lay out the gradients; with several workers `optimizer` loses momentum and weight decay to DGC."""
        if not isinstance(optimizer, torch.optim.SGD):
            raise UserError(f"dgc: momentum correction needs SGD, not {type(optimizer).__name__}")
        return super().attach(model, optimizer, channel)

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Eight bytes for each of the values sent, after the warm-up."""
        return sparse_bytes(sum(entries_of(numel(shape), self.options.density) for shape in large))

    def prepare(self) -> None:
        """Allocate u, fp32 of all tensors, and v, fp32 of the large ones."""
        gradients = self.gradients
        check_indices(gradients.large.numel())
        self.momentum = LocalMomentum(self.optimizer, gradients)
        self.accumulated = torch.zeros_like(gradients.large)
        self.magnitudes = torch.empty_like(gradients.large)
        self.steps = 0

    def density(self) -> float:
        """Return the density of the present step."""
        if self.steps >= self.options.warmup_steps:
            return float(self.options.density)
        stage = 1 + WARMUP_STAGES * self.steps // self.options.warmup_steps
        return float(max(self.options.density, 0.25**stage))

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Clip, correct, accumulate, select, mask; overwrites `large` and the small gradients."""
        flat = self.gradients.flat
        if self.options.clip_norm is not None:
            bound = self.options.clip_norm / self.link.workers**0.5
            flat.mul_((bound / torch.linalg.vector_norm(flat)).clamp(max=1.0))
        self.momentum.correct()
        self.accumulated.add_(large)
        indices, num_entries = self._select(self.density())
        values = self.accumulated[indices]
        self.accumulated.index_fill_(0, indices, 0.0)
        self.momentum.large_velocity.index_fill_(0, indices, 0.0)
        self.steps += 1
        return sparse_payload(values, indices, num_entries)

    def _select(self, density: float) -> tuple[torch.Tensor, int]:
        """Return the flat indices to send, and the number of entries that the message has room for."""
        torch.abs(self.accumulated, out=self.magnitudes)
        chosen = [torch.empty(0, dtype=torch.int64, device=self.magnitudes.device)]
        start = num_entries = 0
        for tensor in split(self.magnitudes, self.gradients.shapes):
            count = entries_of(tensor.numel(), density)
            sample = max(SMALLEST_SAMPLE, int(tensor.numel() * self.options.sample_fraction))
            stride = max(1, tensor.numel() // sample)
            chosen.append(sampled_largest(tensor.view(-1), count, stride) + start)
            start += tensor.numel()
            num_entries += count
        return torch.cat(chosen), num_entries

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average the sparse vectors of all ranks."""
        add_payloads(payloads, large)

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's u and v and the number of steps (nothing with one worker)."""
        if self.link.workers == 1:
            return {}
        tensors = {key: tensor.clone() for key, tensor in self._tensors().items()}
        return {**tensors, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore u, v and the number of steps; raises ValueError where they belong to another model."""
        tensors = dict(state)
        steps = tensors.pop("steps", 0)
        load_tensors(tensors, self._tensors() if self.link.workers > 1 else {})
        if self.link.workers > 1:
            self.steps = steps

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"velocity": self.momentum.velocity, "accumulated": self.accumulated}
