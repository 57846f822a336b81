"""The passes over memory of the codec: plain torch functions on preallocated tensors, compiled once.

Shapes: rows x 128 values (`layout.ROW`; 16 in buckets of short vectors), `step` and `inverse_step` one fp32 value a
row. Words are int32.
The same source runs eagerly, as C++ on a CPU and as Triton on a GPU.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import torch

from horovod_gq.compiling import ONE_THREAD, Example, Kernel, compile_kernel
from horovod_gq.dense import DENSE
from horovod_gq.layout import ROW
from horovod_gq.packing import (
    digit_dtype,
    make_pack,
    make_unpack,
    num_planes,
    num_words,
    packable,
    whole_vectors,
)


@functools.cache
def make_quantize(rounding: str, shift: int = 0, row: int = ROW) -> Kernel:
    """Return quantize(...): round gradient + residual to the grid, keep what was lost, measure the magnitude.

    x = g + r, q = clip(round(x / step), -L, L), r' = x - q step. Since q step is x rounded to a multiple of
    step, r' is exact in fp32 for all |x| <= L step; beyond, it holds what clipping cut off, at most B step.
    Without that bound a value whose gradients stay above L step owes more at every step, and is still sent with
    the old sign long after the gradient has turned: the windup of an integrator whose actuator saturates.

    With rounding "stochastic" q = clip(floor(x / step + u), -L, L), u uniform in [0, 1): unbiased while not
    clipped (QSGD, Alistarh 2017).

    The statistic of a row is the sum of ceil(|x| / unit)^2, an exact integer in fp32 below 2^24, so that it
    does not depend on the order of summation: every kernel derives the same scale. Any nonzero value counts.
    Regimes: zero and denormal x give q = 0 and r' = x; non-finite x, or |x| above 2^60 units, makes the
    statistic (and for non-finite x the residual) non-finite.

    The arguments of the kernel:
        gradient: fp32 [rows, 128].
        residual: fp32 [rows, 128], mutated.
        inverse_step: fp32 [rows], 1 / step.
        step: fp32 [rows], few mantissa bits, so that q step is exact.
        limit: fp32 scalar tensor, L.
        bound: fp32 scalar tensor, B.
        digit_units: fp32 scalar tensor, step / unit (a power of two).
        digits: int8, int32 or fp32 [rows, 128], mutated: set to q. With a shift fp32 whose bits are those of int32
            digits, which are increased by q << shift.
        row_statistic: fp32 [rows], mutated.
        row_keys: int32 [rows], hash of seed, rank, tensor and row; with stochastic rounding alone.
        step_key: int32 scalar tensor, changes every step; with stochastic rounding alone.
    """

    def quantize(
        gradient: torch.Tensor,
        residual: torch.Tensor,
        inverse_step: torch.Tensor,
        step: torch.Tensor,
        limit: torch.Tensor,
        bound: torch.Tensor,
        digit_units: torch.Tensor,
        digits: torch.Tensor,
        row_statistic: torch.Tensor,
        *keys: torch.Tensor,
    ) -> None:
        if gradient.shape[1] != row:
            raise ValueError(f"gradient has rows of {gradient.shape[1]} values; they must have {row}")
        total = gradient + residual
        scaled = total * inverse_step[:, None]
        units = torch.ceil(torch.abs(scaled) * digit_units)
        row_statistic.copy_((units * units).sum(1))
        if rounding == "nearest":
            rounded = torch.round(scaled)
        else:
            rounded = torch.floor(scaled + uniform(*keys, num_columns=gradient.shape[1]))
        quantized = torch.clamp(rounded, -limit, limit)
        kept = (bound * step)[:, None]
        residual.copy_(torch.clamp(total - quantized * step[:, None], -kept, kept))
        if shift:
            sums = digits.view(torch.int32) + (quantized.to(torch.int32) << shift)
            digits.copy_(sums.view(torch.float32))
        else:
            digits.copy_(quantized.to(digits.dtype))

    return quantize


def uniform(row_keys: torch.Tensor, step_key: torch.Tensor, *, num_columns: int) -> torch.Tensor:
    """Return fp32 [rows, columns] in [0, 1), a hash of (row key, step key, column).

    It needs no generator state and is the same on every device. The mixing constants are "lowbias32" (C. Wellons,
    hash-prospector).
    """
    columns = torch.arange(num_columns, dtype=torch.int32, device=row_keys.device)
    mixed = (row_keys[:, None] + step_key) ^ (columns * -1640531527)[None, :]
    mixed = mixed ^ ((mixed >> 16) & 0xFFFF)
    mixed = mixed * 0x7FEB352D
    mixed = mixed ^ ((mixed >> 15) & 0x1FFFF)
    mixed = mixed * -2073254261
    mixed = mixed ^ ((mixed >> 16) & 0xFFFF)
    return ((mixed >> 8) & 0xFFFFFF).to(torch.float32) * (1.0 / 16777216.0)


@dataclass(frozen=True)
class KernelSet:
    """The passes of one width and rounding, compiled or not."""

    quantize: Kernel
    quantize_onto: Kernel
    """As `quantize`, on top of the digits of another plane: at width 16 the words are made without packing."""
    pack: Kernel
    unpack: Kernel
    compiled: bool


def kernel_set(
    wire_bits: int, rounding: str, compiled: bool, device_type: str, row: int = ROW, workers: int = 1
) -> KernelSet:
    """Return the kernels for rows of so many values, built once a process; see `build_kernel_set`."""
    with ONE_THREAD:
        base_workers = workers if wire_bits == DENSE else 1  # the others have the same for any number
        return build_kernel_set(wire_bits, rounding, compiled, device_type, row, base_workers)


@functools.cache
def build_kernel_set(
    wire_bits: int, rounding: str, compiled: bool, device_type: str, row: int, workers: int
) -> KernelSet:
    """Build the kernels; compile them where asked, checked on a small bucket, else eager with one warning."""
    quantize, quantize_onto = (make_quantize(rounding, shift, row) for shift in (0, 16))
    pack, unpack = make_pack(wire_bits, workers), make_unpack(wire_bits, workers)
    eager = KernelSet(quantize, quantize_onto, pack, unpack, compiled=False)
    if not compiled:
        return eager
    planes = num_planes(wire_bits, workers)
    rows = Examples(4 * planes, row, torch.device(device_type))
    digits = rows.matrix(digit_dtype(wire_bits))
    words = torch.zeros(num_words(digits.numel(), wire_bits, workers), dtype=torch.int32, device=rows.device)
    try:
        return KernelSet(
            compile_kernel(quantize, rows.quantize(rounding, digits), max_reads=1),
            compile_kernel(quantize_onto, rows.quantize(rounding, whole_vectors(digits)), max_reads=2)
            if wire_bits == 16
            else quantize_onto,
            compile_kernel(pack, [(packable(digits, wire_bits, workers), 1), (words, 0)], max_reads=1),
            compile_kernel(unpack, rows.unpack(wire_bits, workers), max_reads=64),
            compiled=True,
        )
    except Exception as error:  # noqa: BLE001 - torch.compile raises any of its backends' exceptions
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warnings.warn(f"horovod_gq runs its kernels uncompiled (slower): {reason}", stacklevel=2)
        return eager


@dataclass(frozen=True)
class Examples:
    """Arguments by which kernels are compiled, each with its dimension of rows; None where it has none."""

    num_rows: int
    row: int
    device: torch.device

    def matrix(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Zeros [rows, row]."""
        return torch.zeros(self.num_rows, self.row, dtype=dtype, device=self.device)

    def vector(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Ones [rows]."""
        return torch.ones(self.num_rows, dtype=dtype, device=self.device)

    def quantize(self, rounding: str, digits: torch.Tensor) -> list[Example]:
        """Return the arguments of `quantize`."""
        gradient, residual = self.matrix(), self.matrix()
        inverse_step, step, statistic = (self.vector() for _ in range(3))
        limit, bound, units = (torch.ones((), device=self.device) for _ in range(3))
        arguments: list[Example] = [(gradient, 0), (residual, 0), (inverse_step, 0), (step, 0)]
        arguments += [(limit, None), (bound, None), (units, None), (digits, 0), (statistic, 0)]
        if rounding == "stochastic":
            step_key = torch.zeros((), dtype=torch.int32, device=self.device)
            arguments += [(self.vector(torch.int32), 0), (step_key, None)]
        return arguments

    def unpack(self, wire_bits: int, workers: int) -> list[Example]:
        """Return the arguments of `unpack`; no two share memory, or they would be compiled as if they overlapped."""
        planes = range(num_planes(wire_bits, workers))
        return [*((self.matrix(), 0) for _ in planes), *((self.vector(), 0) for _ in planes)]
