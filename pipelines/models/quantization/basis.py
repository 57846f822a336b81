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
    """Return the number of the code whose level is nearest to each value, int64 [r, n].

    Thresholds are the midpoints of the sorted levels; a value on one gets the lower level.
    """
    levels_rl = basis_rb @ all_codes(basis_rb.shape[1], signed=signed).to(basis_rb).T
    sorted_rl, order_rl = levels_rl.sort(1)
    thresholds = (sorted_rl[:, 1:] + sorted_rl[:, :-1]) / 2
    # At most 15 comparisons; torch.searchsorted is no operator of ONNX.
    places_rn = torch.zeros_like(values_rn, dtype=torch.int64)
    for threshold_r in thresholds.unbind(1):
        places_rn = places_rn + (values_rn > threshold_r[:, None])
    numbers_rn: Tensor = order_rl.gather(1, places_rn)
    return numbers_rn


def decode(numbers_rn: Tensor, basis_rb: Tensor, *, signed: bool) -> Tensor:
    """Return the levels of code numbers, [r, n]."""
    levels_rl = basis_rb @ all_codes(basis_rb.shape[1], signed=signed).to(basis_rb).T
    values_rn: Tensor = levels_rl.gather(1, numbers_rn)
    return values_rn


def fit_basis(counts_rl: Tensor, sums_rl: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Return the basis [r, b] with the least squared error for given codes: (B^T B)^-1 B^T x.

    Of the values only their number and their sum by code are needed, float [r, l], both weighted alike where values
    have weights.
    """
    codes_lb = all_codes(bits, signed=signed).double().to(counts_rl.device)
    squares = torch.einsum("lb,rl,lc->rbc", codes_lb, counts_rl.double(), codes_lb)
    ridge = _RIDGE * squares.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
    squares = squares + ridge[:, None, None] * torch.eye(bits, dtype=torch.float64, device=squares.device)
    products = torch.einsum("lb,rl->rb", codes_lb, sums_rl.double())
    basis_rb: Tensor = torch.linalg.solve(squares, products)
    return basis_rb.to(sums_rl.dtype).contiguous()


def code_sums(values_rn: Tensor, numbers_rn: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return how many values of each row have each code, and their sum, both [r, l] in the values' type."""
    shape = (len(values_rn), 2**bits)
    counts = values_rn.new_zeros(shape).scatter_add_(1, numbers_rn, torch.ones_like(values_rn))
    return counts, values_rn.new_zeros(shape).scatter_add_(1, numbers_rn, values_rn)


def refit(values_rn: Tensor, basis_rb: Tensor, *, signed: bool) -> Tensor:
    """Return the least-squares basis for the codes that `basis_rb` gives the values; the error never grows."""
    bits = basis_rb.shape[1]
    numbers = nearest_codes(values_rn, basis_rb, signed=signed)
    return fit_basis(*code_sums(values_rn, numbers, bits), bits, signed=signed)


def greedy_basis(values_rn: Tensor, bits: int) -> Tensor:
    """Return a signed basis [r, b] to start from: the mean magnitude, then that of what is left, and so on."""
    rest, basis = values_rn, []
    for _ in range(bits):
        basis.append(rest.abs().mean(1, keepdim=True))
        rest = rest - basis[-1] * torch.where(rest < 0, -1.0, 1.0)
    return torch.cat(basis, 1)


class StraightThrough(torch.autograd.Function):
    """The quantized values, exactly, with the gradient of the values that they stand for."""

    @staticmethod
    def forward(_ctx: object, _values: Tensor, quantized: Tensor) -> Tensor:
        """Return the quantized values."""
        return quantized.clone()

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient for the values."""
        return gradient, None


def straight_through(values: Tensor, quantized: Tensor) -> Tensor:
    """Return `quantized` with the gradient going to `values`, unchanged (Bengio et al. 2013, arXiv:1308.3432)."""
    passed: Tensor = StraightThrough.apply(values, quantized.detach())  # type: ignore[no-untyped-call]
    return passed
