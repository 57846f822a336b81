"""Settings of the gradient quantization and the number of levels that follows from them."""

from __future__ import annotations

import fnmatch
import hashlib
import math
from dataclasses import dataclass, fields

from horovod_gq.dense import DENSE, dense_levels
from horovod_gq.layout import ROW

WIRE_WIDTHS = (2, 3, 4, 8, 16)
"""Bits of one value on the wire; 32 / width values share one int32 word, or with 3 as `horovod_gq.dense` says."""
FACTOR_WIDTHS = (2, 4, 8, 16)
"""The same of one value of a low-rank factor."""

UNCOMPRESSED = 32
"""Width that an override gives to leave a tensor in fp32."""

EXCHANGES = ("allreduce", "scatter_reduce_allgather")
ROUNDINGS = ("nearest", "stochastic")
SMALL_WIDTHS = (8, 16, UNCOMPRESSED)
FORMS = ("full", "lowrank")
MAX_FACTOR_RANK = 64
NONFINITE_ACTIONS = ("raise", "propagate")


@dataclass(frozen=True, kw_only=True)
class GQConfig:
    """What every rank must agree on. A mismatch is found at the first step, on every rank."""

    wire_bits: int = 4
    """Bits of one gradient value on the wire, one of 2, 3, 4, 8, 16. 3 is for sums alone, packed without
    lanes: 3.2 bits for two or four workers, 2.9 for three."""
    exchange: str = "allreduce"
    """`allreduce` sums packed words; `scatter_reduce_allgather` has bytes independent of the workers."""
    rounding: str = "nearest"
    """`nearest` (least error with error feedback) or `stochastic` (unbiased; QSGD, Alistarh 2017)."""
    error_feedback: bool = True
    """Keep what quantization lost and add it to the next gradient (EF-SGD, Karimireddy 2019)."""
    clip_factor: float | None = None
    """Largest sent magnitude over the root mean square; None takes the measured value for the levels."""
    residual_limit: float = math.inf
    """Largest value that the residual keeps, over the largest that is sent at once; inf keeps everything. With 2 few
    levels bear the learning rates of many."""
    scale_group: int | None = None
    """Values that share a scale, a multiple of 128; None gives a tensor one scale."""
    warmup_steps: int = 1
    """First steps of a tensor that travel in fp32; the scale is calibrated on each. At least 1."""
    min_numel: int = 1024
    """Tensors with fewer elements count as small, as all 1-D tensors do."""
    small_bits: int = UNCOMPRESSED
    """Bits of one value of a small tensor: 8, 16, or 32 for fp32."""
    overrides: tuple[tuple[str, int], ...] = ()
    """(name pattern, wire bits) pairs, first match wins; patterns as in fnmatch, 32 leaves a tensor in fp32."""
    nonfinite: str = "raise"
    """On inf or NaN on any rank: `raise` on all ranks, or `propagate` NaN, for use with a grad scaler."""
    seed: int = 0
    """Seed of stochastic rounding; the draws also depend on rank, tensor, element and step."""
    compile_kernels: bool = True
    """Compile the kernels with torch.compile; without a compiler they run eagerly, with one warning."""
    form: str = "full"
    """`full` sends every value; `lowrank` a matrix as two factors where that saves bytes (PowerSGD, Vogels 2019)."""
    factor_rank: int = 4
    """Columns of each factor with form `lowrank`."""
    factor_bits: int = 8
    """Bits of one value of a factor on the wire, one of 2, 4, 8, 16; with form `lowrank`."""

    def __post_init__(self) -> None:
        check_choice("wire_bits", self.wire_bits, WIRE_WIDTHS)
        check_choice("exchange", self.exchange, EXCHANGES)
        check_choice("rounding", self.rounding, ROUNDINGS)
        check_choice("nonfinite", self.nonfinite, NONFINITE_ACTIONS)
        check_choice("form", self.form, FORMS)
        check_choice("small_bits", self.small_bits, SMALL_WIDTHS)
        check_choice("factor_bits", self.factor_bits, FACTOR_WIDTHS)
        if not 1 <= self.factor_rank <= MAX_FACTOR_RANK:
            raise ValueError(
                f"factor_rank is {self.factor_rank}; it must lie between 1 and {MAX_FACTOR_RANK}"
            )
        for pattern, width in self.overrides:
            check_choice(f"overrides[{pattern!r}]", width, (*WIRE_WIDTHS, UNCOMPRESSED))
        if self.warmup_steps < 1:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}; it must be at least 1, because the first fp32 step "
                "calibrates the scale"
            )
        if self.scale_group is not None and (self.scale_group < ROW or self.scale_group % ROW):
            raise ValueError(
                f"scale_group is {self.scale_group}; it must be a multiple of {ROW}, or None for one scale a tensor"
            )
        if self.min_numel < 1:
            raise ValueError(f"min_numel is {self.min_numel}; it must be at least 1")
        if self.clip_factor is not None and not 0.0 < self.clip_factor < 1e6:
            raise ValueError(f"clip_factor is {self.clip_factor}; it must lie between 0 and 1e6, or be None")

        if not self.residual_limit > 0.0:
            raise ValueError(f"residual_limit is {self.residual_limit}; it must be greater than 0, or inf")

    def width_of(self, name: str, shape: tuple[int, ...]) -> int:
        """Wire bits of one tensor: an override, `small_bits` for 1-D and small ones, else `wire_bits`."""
        override = self.override_of(name)
        if override is not None:
            return override
        return self.small_bits if self.is_small(shape) else self.wire_bits

    def is_small(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor is 1-D or has fewer than `min_numel` elements."""
        return len(shape) <= 1 or math.prod(shape) < self.min_numel

    def override_of(self, name: str) -> int | None:
        """Wire bits that the first matching override gives, or None."""
        matching = (width for pattern, width in self.overrides if fnmatch.fnmatchcase(name, pattern))
        return next(matching, None)

    def digest(self, *context: object) -> bytes:
        """Hash of the plugin's version and every setting that ranks must share, with what `context` adds (shapes)."""
        from horovod_gq import __version__  # which is there once the package is whole

        shared = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "compile_kernels"]
        shared.append(("version", __version__))
        return hashlib.sha256(repr((shared, context)).encode()).digest()


def check_choice(key: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise a ValueError that names the key, the value and what is allowed."""
    if value not in allowed:
        raise ValueError(f"{key} is {value!r}; allowed are {', '.join(map(repr, allowed))}")


def num_levels(wire_bits: int, workers: int, exchange: str = "allreduce", key: str = "wire_bits") -> int:
    """Largest magnitude L of a quantized value, q in [-L, L].

    With `allreduce` the sum over the workers must stay in its lane: L = floor((2^(w-1) - 1) / N).
    With `scatter_reduce_allgather` words are never summed, so the whole lane is used. Width 3 is for
    sums: L = max(1, floor(4 / N)), for at most 15 workers.

    Raises:
        ValueError: no level is left; the message names `key` and the widths that carry so many workers.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    if exchange != "allreduce":
        if wire_bits == DENSE:
            raise ValueError(f'{key}={DENSE} packs sums; with exchange="{exchange}" use {key}=2 or 4')
        return int(2 ** (wire_bits - 1)) - 1
    if _levels_in_sums(wire_bits, workers) == 0:
        allowed = {"factor_bits": FACTOR_WIDTHS, "small_bits": SMALL_WIDTHS[:-1]}.get(key, WIRE_WIDTHS)
        fitting = [str(width) for width in allowed if _levels_in_sums(width, workers) > 0]
        ways = f"{key} {' or '.join(fitting)}" if fitting else "fewer workers"
        raise ValueError(
            f"{key}={wire_bits} cannot carry the sum of {workers} workers; use {ways}, "
            'or exchange="scatter_reduce_allgather"'
        )
    return _levels_in_sums(wire_bits, workers)


def _levels_in_sums(wire_bits: int, workers: int) -> int:
    if wire_bits == DENSE:
        return dense_levels(workers)
    return int(2 ** (wire_bits - 1) - 1) // workers
