"""Where a layer gets quantized weights from: learnable codes and levels, or float weights that are rounded."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pipelines.models.quantization.basis import (
    all_codes,
    decode,
    greedy_basis,
    nearest_codes,
    refit,
    straight_through,
)

START_ITERATIONS = 20  # of codes and basis in turn; the error falls by less than a percent after ten
LQ_MOMENTUM = 0.9  # LQ-Nets, section 3.3: v <- 0.9 v + 0.1 v_new


class WeightSource(nn.Module, ABC):
    """Gives a quantized weight of `shape`; each of its first dimension's rows has its own levels or all share them."""

    free: str
    """The tensor that the codes replace in an exported file."""

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.shape = weight.shape

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the quantized weight, differentiable in the parameters."""

    @abstractmethod
    def code_numbers(self) -> Tensor:
        """Return the code of each weight, int64 [rows, weights of a row], below 2^bits."""

    @abstractmethod
    def take_codes(self, numbers: Tensor) -> None:
        """Take over codes from `code_numbers`, in place; levels are in the other parameters."""


class DirectWeights(WeightSource):
    """Direct Quantization: codes and levels are the parameters, there is no float weight behind them.

    Per row a basis v of b values, per weight b code variables H_k: w = sum over k of v_k sign(H_k). The gradient G of w
    moves v_k by the sum of G sign(H_k) and H_k by v_k G where |H_k| <= 1 (straight-through). They start at the
    least-squares fit of `weight`; a code variable starts the nearer to zero the less its sign matters.
    """

    free = "codes"

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__(weight, bits)
        rows = weight.detach().flatten(1)
        basis = fitted_basis(rows, bits)
        # The largest value first, so that the rest after the first digits is what the next one decides on.
        basis = basis.gather(1, basis.abs().argsort(1, descending=True))
        numbers = nearest_codes(rows, basis, signed=True)
        signs = all_codes(bits, signed=True).to(rows)[numbers]
        rest, variables = rows, []
        for digit in range(bits):
            value = basis[:, digit : digit + 1]
            certainty = (rest / value.abs().clamp(min=1e-12)).abs().clamp(0.05, 1.0)
            variables.append(signs[..., digit] * certainty)
            rest = rest - value * signs[..., digit]
        self.basis = nn.Parameter(basis)
        self.codes = nn.Parameter(torch.stack(variables))

    def forward(self) -> Tensor:
        """See WeightSource."""
        signs = _Sign.apply(self.codes)  # type: ignore[no-untyped-call]
        return torch.einsum("rb,brn->rn", self.basis, signs).reshape(self.shape)

    def code_numbers(self) -> Tensor:
        """See WeightSource."""
        digits = (self.codes.detach() >= 0).long()
        return (digits << torch.arange(self.bits, device=digits.device)[:, None, None]).sum(0)

    def take_codes(self, numbers: Tensor) -> None:
        """See WeightSource; code variables become -1 and 1."""
        signs = all_codes(self.bits, signed=True).to(self.codes)[numbers]
        with torch.no_grad():
            self.codes.copy_(signs.permute(2, 0, 1))


class BasisWeights(WeightSource):
    """LQ-Nets: float weights, rounded to the nearest level; each training step moves the basis to its fit.

    The gradient passes the rounding unchanged.
    """

    free = "latent"
    basis: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__(weight, bits)
        rows = weight.detach().flatten(1)
        self.latent = nn.Parameter(rows.clone())
        self.register_buffer("basis", fitted_basis(rows, bits))

    def forward(self) -> Tensor:
        """See WeightSource; moves the basis in training mode."""
        rows = self.latent.detach()
        if self.training:
            new = refit(rows, self.basis, signed=True)
            self.basis = LQ_MOMENTUM * self.basis + (1 - LQ_MOMENTUM) * new
        quantized = decode(nearest_codes(rows, self.basis, signed=True), self.basis, signed=True)
        return straight_through(self.latent, quantized).reshape(self.shape)

    def code_numbers(self) -> Tensor:
        """See WeightSource."""
        return nearest_codes(self.latent.detach(), self.basis, signed=True)

    def take_codes(self, numbers: Tensor) -> None:
        """See WeightSource; the float weights become their levels."""
        with torch.no_grad():
            self.latent.copy_(decode(numbers, self.basis, signed=True))


class LsqWeights(WeightSource):
    """LSQ (Esser et al. 2020, arXiv:1902.08153): float weights in steps of a learnable size, one a layer.

    Codes are -2^(b-1) to 2^(b-1) - 1; one bit, which the paper does not have, takes the levels -s and s.
    """

    free = "latent"

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__(weight, bits)
        rows = weight.detach().flatten(1)
        self.latent = nn.Parameter(rows.clone())
        self.lowest: int = -(2 ** (bits - 1))
        self.highest: int = max(1, 2 ** (bits - 1) - 1)
        # Section 2.1: the step starts at 2 mean |w| / sqrt(Q_P).
        start = rows.abs().mean() * (1 if bits == 1 else 2 / self.highest**0.5)
        self.step_size = nn.Parameter(start.clamp(min=1e-6))

    def forward(self) -> Tensor:
        """See WeightSource."""
        if self.bits == 1:
            return self._signs().reshape(self.shape)
        quantized = lsq(self.latent, self.step_size, self.lowest, self.highest, self.latent.numel())
        return quantized.reshape(self.shape)

    def _signs(self) -> Tensor:
        step = scaled_gradient(self.step_size, (self.latent.numel() * self.highest) ** -0.5)
        signs = torch.where(self.latent.detach() < 0, -1.0, 1.0)
        inside = self.latent.clamp(-1, 1)
        return step * signs + (inside - inside.detach())

    def code_numbers(self) -> Tensor:
        """See WeightSource."""
        latent = self.latent.detach()
        if self.bits == 1:
            return (latent >= 0).long()
        steps: Tensor = (latent / self.step_size.detach()).clamp(self.lowest, self.highest)
        return steps.round().long() - self.lowest

    def take_codes(self, numbers: Tensor) -> None:
        """See WeightSource; the float weights become their levels."""
        steps = 2 * numbers - 1 if self.bits == 1 else numbers + self.lowest
        with torch.no_grad():
            self.latent.copy_(steps * self.step_size)


def fitted_basis(rows: Tensor, bits: int) -> Tensor:
    """Return the basis [r, b] that a greedy start and `START_ITERATIONS` of least squares give for float [r, n]."""
    basis = greedy_basis(rows, bits)
    for _ in range(START_ITERATIONS):
        basis = refit(rows, basis, signed=True)
    return basis


def scaled_gradient(value: Tensor, factor: float) -> Tensor:
    """Return `value` with its gradient times `factor`."""
    return value * factor + (value - value * factor).detach()


def lsq(values: Tensor, step_size: Tensor, lowest: int, highest: int, num_values: int) -> Tensor:
    """Return values in steps of `step_size` with the gradients of LSQ's equations 3 to 5.

    The gradient of the step is scaled by 1 / sqrt(num_values x highest), section 2.2.
    """
    step = scaled_gradient(step_size, (num_values * highest) ** -0.5)
    steps = (values / step).clamp(lowest, highest)
    return straight_through(steps, steps.round()) * step


class _Sign(torch.autograd.Function):
    """-1 or 1; the gradient passes where the magnitude is at most 1."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        return torch.where(codes < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (codes,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.where(codes.abs() <= 1, gradient, 0.0)
