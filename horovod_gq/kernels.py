"""The passes over memory of the codec: plain torch functions on preallocated tensors, compiled once.

Shapes: rows x 128 values (`layout.ROW`; 16 in buckets of short vectors), `step` and `inverse_step` one fp32 value a
row. Words are int32.
The same source runs eagerly, as C++ on a CPU and as Triton on a GPU.

A word holds 32 / w digits q in [-(2^(w-1) - 1), 2^(w-1) - 1] as the *signed-digit* sum of q_i * 2^(w i).
Adding words adds every lane. The bucket is cut into equal planes whose digits share the bits of one byte (of
one word at width 16), so that packing needs no movement across vector lanes.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch

from horovod_gq.layout import ROW

Kernel = Callable[..., Any]


def num_planes(wire_bits: int) -> int:
    """Parts of a bucket whose digits are merged: 4 at width 2, 2 at widths 4 and 16, 1 at width 8."""
    return {2: 4, 4: 2, 8: 1, 16: 2}[wire_bits]


def digit_dtype(wire_bits: int) -> torch.dtype:
    """Type in which digits lie before packing (vectorized conversions exist to int8 and int32 only)."""
    return torch.int32 if wire_bits == 16 else torch.int8


def field_dtype(wire_bits: int) -> torch.dtype:
    """Type as which summed words are read."""
    return torch.int32 if wire_bits == 16 else torch.uint8


def half_lanes(wire_bits: int) -> int:
    """Return the int32 word with 2^(w-1) in every lane: turns signed digits into bit fields and back."""
    word = sum(1 << (wire_bits * lane + wire_bits - 1) for lane in range(32 // wire_bits))
    return word - (1 << 32)  # the top bit is always set


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
        digits: int8 or int32 [rows, 128], mutated: set to q, or increased by q << shift where shift is not 0.
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
        if gradient.shape[1] != row:  # also tells the compiler how long a row is
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
            digits.copy_(digits + (quantized.to(digits.dtype) << shift))
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


def make_pack(wire_bits: int) -> Kernel:
    """Return pack(planes, words): merge digits viewed as int32 [planes, words] into signed-digit words.

    Two's-complement fields become signed digits by (fields ^ H) - H, H = `half_lanes`: no lane can borrow.
    """
    half = half_lanes(wire_bits)
    if wire_bits == 16:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            words.copy_(planes[0] + (planes[1] << 16))

    elif wire_bits == 8:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            words.copy_((planes[0] ^ half) - half)

    elif wire_bits == 4:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            fields = (planes[0] & 0x0F0F0F0F) | ((planes[1] & 0x0F0F0F0F) << 4)
            words.copy_((fields ^ half) - half)

    else:

        def pack(planes: torch.Tensor, words: torch.Tensor) -> None:
            low = (planes[0] & 0x03030303) | ((planes[1] & 0x03030303) << 2)
            high = ((planes[2] & 0x03030303) << 4) | ((planes[3] & 0x03030303) << 6)
            words.copy_(((low | high) ^ half) - half)

    return pack


def make_unpack(wire_bits: int) -> Kernel:
    """Return unpack(fields, shifts, scale, out): out = (field - 2^(w-1)) * scale.

    `fields` are the words plus `half_lanes`, viewed as uint8 (int32 at width 16) [rows / planes, 128];
    `shifts` int32 [planes, 1, 1]; `scale` fp32 [planes, rows / planes]; `out` fp32 [planes, rows / planes, 128],
    mutated. One rounding (of the product); none where the scale is a power of two.
    """
    mask, offset = 2**wire_bits - 1, 2 ** (wire_bits - 1)

    def unpack(fields: torch.Tensor, shifts: torch.Tensor, scale: torch.Tensor, out: torch.Tensor) -> None:
        lanes = (fields.to(torch.int32)[None] >> shifts) & mask
        out.copy_((lanes - offset).to(torch.float32) * scale[:, :, None])

    return unpack


@dataclass(frozen=True)
class KernelSet:
    """The passes of one width and rounding, compiled or not."""

    quantize: Kernel
    quantize_onto: Kernel
    """As `quantize`, on top of the digits of another plane: at width 16 the words are made without packing."""
    pack: Kernel
    unpack: Kernel
    compiled: bool


_ONE_THREAD = threading.RLock()
"""Held while kernels are built and called: a variant is compiled at the first call that needs it, and torch fails
where another thread compiles meanwhile. Virtual workers are threads."""


def kernel_set(wire_bits: int, rounding: str, compiled: bool, device_type: str, row: int = ROW) -> KernelSet:
    """Return the kernels for rows of so many values, built once a process; see `build_kernel_set`."""
    with _ONE_THREAD:
        return build_kernel_set(wire_bits, rounding, compiled, device_type, row)


@functools.cache
def build_kernel_set(wire_bits: int, rounding: str, compiled: bool, device_type: str, row: int) -> KernelSet:
    """Build the kernels; compile them where asked, checked on a small bucket, else eager with one warning."""
    quantize, quantize_onto = (make_quantize(rounding, shift, row) for shift in (0, 16))
    pack, unpack = make_pack(wire_bits), make_unpack(wire_bits)
    eager = KernelSet(quantize, quantize_onto, pack, unpack, compiled=False)
    if not compiled:
        return eager
    try:
        built = KernelSet(
            _compile(quantize),
            _compile(quantize_onto, max_reads=2),
            _compile(pack),
            _compile(unpack),
            compiled=True,
        )
        for num_rows in (4, 12):
            shape = (num_rows * num_planes(wire_bits), row)
            _exercise(built, wire_bits, rounding, shape, torch.device(device_type))
    except Exception as error:  # noqa: BLE001 - torch.compile raises any of its backends' exceptions
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warnings.warn(f"horovod_gq runs its kernels uncompiled (slower): {reason}", stacklevel=2)
        return eager
    return built


def _compile(function: Kernel, max_reads: int = 1) -> Kernel:
    """Compile one kernel for any number of rows.

    torch keeps its compiled variants, at most a few, by code object, which all closures of a `def` share: a copy
    of the code gives each kernel a store of its own. Gradients are off in every call, because a variant is
    compiled for one grad mode, and hooks and user code run in different ones.
    """
    code = function.__code__.replace()
    own = FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)
    # Inductor would compute g + r once for the row statistic and once for the digits, in two passes over memory.
    # Told to keep every value of more than `max_reads` reads, it fuses both into one pass (a third less time).
    options: dict[str, Any] = {"realize_reads_threshold": max_reads}
    compiled = torch.compile(own, fullgraph=True, dynamic=True, options=options)

    def run(*tensors: torch.Tensor) -> None:
        with _ONE_THREAD, torch.no_grad():
            compiled(*tensors)

    return run


def _exercise(
    kernels: KernelSet, wire_bits: int, rounding: str, shape: tuple[int, int], device: torch.device
) -> None:
    """Run every kernel once on zeros: this is when compilation happens, with the row count left symbolic."""
    planes = num_planes(wire_bits)
    num_rows, row = shape
    gradient, residual, out = (torch.zeros(shape, device=device) for _ in range(3))
    steps, inverse_steps, statistic = (torch.ones(num_rows, device=device) for _ in range(3))
    digits = torch.zeros(shape, dtype=digit_dtype(wire_bits), device=device)
    words = torch.zeros(num_rows * row * wire_bits // 32, dtype=torch.int32, device=device)
    keys: tuple[torch.Tensor, ...] = ()
    if rounding == "stochastic":
        row_keys = torch.zeros(num_rows, dtype=torch.int32, device=device)
        keys = (row_keys, torch.zeros((), dtype=torch.int32, device=device))
    fields = words.view(field_dtype(wire_bits)).view(-1, row)
    packable, scale = digits.view(torch.int32).view(planes, -1), steps.view(planes, -1)
    unpacked = out.view(planes, -1, row)
    limit, bound, units = (torch.ones((), device=device) for _ in range(3))
    shifts = torch.arange(planes, dtype=torch.int32, device=device).view(-1, 1, 1) * wire_bits
    arguments = (gradient, residual, inverse_steps, steps, limit, bound, units, digits, statistic, *keys)
    kernels.quantize(*arguments)
    if wire_bits == 16:
        kernels.quantize_onto(*arguments)
    kernels.pack(packable, words)
    kernels.unpack(fields, shifts, scale, unpacked)
