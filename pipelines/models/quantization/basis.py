"""Levels that are sums of basis values, codes, and their least-squares fit (LQ-Nets, Zhang et al. 2018, section 3).

A level is the product of a code of b digits and a basis v of b values: 2^b levels. Digits are -1 and 1 for weights, 0
and 1 for activations. Shape suffixes: r rows with a basis each, n values, b bits, l = 2^b levels.
"""

import torch
from torch import Tensor

MOST_BITS = 4
_RIDGE = 1e-6  # of the mean diagonal: codes that no value takes leave the normal equations singular


def all_codes(bits: int, *, signed: bool) -> Tensor:
    """Return every code, float32 [l, b]: of code number i digit k is bit k of i."""
    digits = torch.arange(2**bits)[:, None].bitwise_right_shift(torch.arange(bits)).bitwise_and(1).float()
    return 2 * digits - 1 if signed else digits


def nearest_codes(values_rn: Tensor, basis_rb: Tensor, *, signed: bool) -> Tensor:
    """Return the number of the code whose level is nearest to each value, int64 [r, n]; see `nearest_levels`."""
    sorted_rl, order_rl = levels_of(basis_rb, signed=signed).sort(1)
    numbers_rn: Tensor = order_rl.gather(1, nearest_levels(values_rn, sorted_rl).long())
    return numbers_rn


def levels_of(basis_rb: Tensor, *, signed: bool) -> Tensor:
    """Return the levels [r, l] in the order of their codes' numbers."""
    levels_rl: Tensor = basis_rb @ all_codes(basis_rb.shape[1], signed=signed).to(basis_rb).T
    return levels_rl


def nearest_levels(values_rn: Tensor, sorted_rl: Tensor) -> Tensor:
    """Return the place of the nearest of the ascending levels for each value, int32 [r, n]; of one row, [r, n] as well.

    Thresholds are the midpoints of the levels; a value on one gets the lower level.
    """
    thresholds_rl = (sorted_rl[:, 1:] + sorted_rl[:, :-1]) / 2
    # At most 15 comparisons, counted in bytes: faster than torch.bucketize, which is no operator of ONNX either.
    places_rn = torch.zeros_like(values_rn, dtype=torch.int8)
    for threshold_r in thresholds_rl.unbind(1):
        places_rn = places_rn + (values_rn > threshold_r[:, None]).to(torch.int8)
    return places_rn.to(torch.int32)


def decode(numbers_rn: Tensor, basis_rb: Tensor, *, signed: bool) -> Tensor:
    """Return the levels of code numbers, [r, n]."""
    values_rn: Tensor = levels_of(basis_rb, signed=signed).gather(1, numbers_rn)
    return values_rn


def fit_basis(counts_rl: Tensor, sums_rl: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Return the basis, float64 [r, b], with the least squared error for given codes: (B^T B)^-1 B^T x.

    Of the values only their number and their sum by code are needed, float [r, l], both weighted alike where values
    have weights.
    """
    codes_lb = all_codes(bits, signed=signed).double().to(counts_rl.device)
    squares = torch.einsum("lb,rl,lc->rbc", codes_lb, counts_rl.double(), codes_lb)
    ridge = _RIDGE * squares.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
    squares = squares + ridge[:, None, None] * torch.eye(bits, dtype=torch.float64, device=squares.device)
    products = torch.einsum("lb,rl->rb", codes_lb, sums_rl.double())
    basis_rb: Tensor = torch.linalg.solve(squares, products)
    return basis_rb.contiguous()


def code_sums(values_rn: Tensor, numbers_rn: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return how many values of each row have each code, and their sum, both float64 [r, l]."""
    num_rows, num_levels = len(values_rn), 2**bits
    offsets = num_levels * torch.arange(num_rows, dtype=numbers_rn.dtype, device=numbers_rn.device)
    flat, length = (numbers_rn + offsets[:, None]).flatten(), num_rows * num_levels
    counts = torch.bincount(flat, minlength=length).double()
    sums = torch.bincount(flat, values_rn.flatten(), length).double()
    return counts.view(num_rows, num_levels), sums.view(num_rows, num_levels)


def refit(values_rn: Tensor, basis_rb: Tensor, *, signed: bool) -> Tensor:
    """Return the least-squares basis for the codes that `basis_rb` gives the values; the error never grows."""
    bits = basis_rb.shape[1]
    numbers = nearest_codes(values_rn, basis_rb, signed=signed)
    return fit_basis(*code_sums(values_rn, numbers, bits), bits, signed=signed).to(values_rn.dtype)


def greedy_basis(values_rn: Tensor, bits: int) -> Tensor:
    """Return a signed basis [r, b] to start from: the mean magnitude, then that of what is left, and so on."""
    rest, basis = values_rn, []
    for _ in range(bits):
        basis.append(rest.abs().mean(1, keepdim=True))
        rest = rest - basis[-1] * torch.where(rest < 0, -1.0, 1.0)
    return torch.cat(basis, 1)


class StraightThrough(torch.autograd.Function):
    """The quantized values, exactly, with the gradient of the values that they stand for, as far as it passes."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, _values: Tensor, quantized: Tensor, passes: Tensor | None
    ) -> Tensor:
        """Return the quantized values."""
        if passes is not None:
            ctx.save_for_backward(passes)
        return quantized.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient for the values, zero where it does not pass."""
        for passes in ctx.saved_tensors:  # type: ignore[attr-defined]
            gradient = gradient * passes
        return gradient, None, None


def straight_through(values: Tensor, quantized: Tensor, passes: Tensor | None = None) -> Tensor:
    """Return `quantized` with the gradient going to `values` (Bengio et al. 2013, arXiv:1308.3432).

    Only where the bool tensor `passes`, of the values' shape, is true; None: everywhere.
    """
    passed: Tensor = StraightThrough.apply(values, quantized.detach(), passes)  # type: ignore[no-untyped-call]
    return passed
