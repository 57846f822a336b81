"""Quantizers of activations, which are not negative: by a basis (LQ-Nets, Direct Quantization) or by steps (LSQ)."""

import torch
from torch import Tensor, nn

from pipelines.models.quantization.basis import (
    code_sums,
    fit_basis,
    levels_of,
    nearest_levels,
    straight_through,
)
from pipelines.models.quantization.weights import LQ_MOMENTUM, START_ITERATIONS, lsq

LEAST_ERROR = (
    1e-6  # of a channel, relative to the largest one: a channel without error would get all the weight
)


def waits_for_data(model: nn.Module) -> bool:
    """Tell whether a quantizer of `model` will be started by the first batch that it is trained on."""
    quantizers = (m for m in model.modules() if isinstance(m, BasisActivations | LsqActivations))
    return any(not bool(quantizer.started) for quantizer in quantizers)


class BasisActivations(nn.Module):
    """Rounds to 2^b levels that are sums of a basis with digits 0 and 1; one basis a layer, of all channels.

    Each training step moves the basis to the weighted least-squares fit of its values, v <- 0.9 v + 0.1 v_new; the
    first one starts it. LQ-Nets weighs all values alike, and so do a few channels of high variance decide. With `fair`
    (Direct Quantization) the sum over channels of the *norms* of their errors is minimised, by reweighting: the weight
    of channel c is 1 / (2 ||e_c||) with its present error e_c. The gradient passes between zero and the top level.
    """

    basis: Tensor
    started: Tensor

    def __init__(self, bits: int, *, fair: bool) -> None:
        super().__init__()
        self.bits, self.fair = bits, fair
        self.register_buffer("basis", torch.exp2(torch.arange(bits, dtype=torch.float32)) / (2**bits - 1))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, maps: Tensor) -> Tensor:
        """Return quantized `maps` [b, c, h, w]; moves the basis in training mode."""
        if self.training:
            self._follow(maps.detach().transpose(0, 1).flatten(1))
        levels, _ = levels_of(self.basis[None], signed=False).sort(1)
        places = nearest_levels(maps.detach().reshape(1, -1), levels)
        quantized = levels[0].index_select(0, places.flatten()).view(maps.shape)
        detached = maps.detach()
        passes = (detached >= 0) & (detached <= self.basis.clamp(min=0).sum())
        return straight_through(maps, quantized, passes)

    def _follow(self, values_cn: Tensor) -> None:
        """Move the basis towards the fit of the values, a row a channel; the first values start it."""
        if not bool(self.started):
            # Levels in equal steps up to twice the mean of what is positive, as LSQ starts, then the fit in turn.
            positive = values_cn[values_cn > 0]
            top = 2 * positive.mean() if len(positive) else values_cn.new_tensor(1.0)
            self.basis = self.basis * top / self.basis.sum()
            for _ in range(START_ITERATIONS):
                self.basis = self.fit(values_cn)
            self.started = torch.ones_like(self.started)
        self.basis = LQ_MOMENTUM * self.basis + (1 - LQ_MOMENTUM) * self.fit(values_cn)

    def fit(self, values_cn: Tensor) -> Tensor:
        """Return the basis [b] with the least weighted squared error for the codes that the present one gives."""
        levels, order = levels_of(self.basis[None], signed=False).sort(1)
        counts, sums = code_sums(values_cn, nearest_levels(values_cn, levels), self.bits)
        if self.fair:
            # Of x - s, by what is known of the values with level s: the sum of x^2 - 2 s x + s^2.
            squares = values_cn.square().sum(1, dtype=torch.float64)
            squares = squares + (levels.double() * (levels.double() * counts - 2 * sums)).sum(1)
            errors = squares.clamp(min=0).sqrt()
            weights = 0.5 / errors.clamp(min=float(LEAST_ERROR * errors.max().clamp(min=1e-30)))
            counts, sums = weights[:, None] * counts, weights[:, None] * sums
        by_code = order[0].argsort()
        counts, sums = (of.sum(0, True)[:, by_code] for of in (counts, sums))
        return fit_basis(counts, sums, self.bits, signed=False)[0].to(self.basis)


class LsqActivations(nn.Module):
    """LSQ's quantizer: 2^b - 1 steps of a learnable size from zero on; the first training step starts it."""

    started: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.highest = 2**bits - 1
        self.step_size = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, maps: Tensor) -> Tensor:
        """Return quantized `maps` [b, c, h, w]."""
        if self.training and not bool(self.started):
            with torch.no_grad():
                self.step_size.copy_((2 * maps.abs().mean() / self.highest**0.5).clamp(min=1e-6))
            self.started = torch.ones_like(self.started)
        # The paper scales by the number of features of a layer, one image's.
        return lsq(maps, self.step_size, 0, self.highest, maps[0].numel())
