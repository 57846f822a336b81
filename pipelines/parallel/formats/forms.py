"""The wire formats of a bucket by their names: `none` (fp32), `fp16`, `gq4` (a width of GQ), `rank2` (low rank)."""

from collections.abc import Mapping, Sequence

from horovod_gq import GQConfig, num_levels
from horovod_gq.buckets import Form, assign_buckets
from horovod_gq.config import UNCOMPRESSED
from horovod_gq.dense import DENSE, dense_levels
from horovod_gq.layout import NARROW_ROW, ROW
from pipelines.parallel.formats.widths import check_width
from pipelines.parallel.patterns import (
    Message,
    NamedShape,
    Number,
    bucket_rounds,
    float_sum,
    numel,
)

NONE, HALF = "none", "fp16"
FACTOR_BITS, WIDE_FACTOR_BITS = 8, 16
FEWEST_LEVELS = 7
"""Factors travel in 8 bits while that leaves them so many levels, up to 18 workers; measured with 2 and 8."""


def format_names(
    wire_bits: Sequence[int], factor_ranks: Sequence[int], configs: Mapping[str, GQConfig]
) -> list[str]:
    """Return what may be chosen for a bucket, the least lossy first, as far as `configs` have settings for it."""
    widths = [f"gq{width}" for width in sorted(wire_bits, reverse=True)]
    lossy = [*widths, *(f"rank{rank}" for rank in sorted(factor_ranks, reverse=True))]
    return [NONE, HALF, *(chosen for chosen in lossy if chosen in configs)]


def configs_of(
    wire_bits: Sequence[int], factor_ranks: Sequence[int], workers: int, small_bits: int = UNCOMPRESSED
) -> dict[str, GQConfig]:
    """Return GQ's settings by format, `small_bits` too: sums where they carry all workers, else the other exchange.

    Width 3, which is for sums alone, is left out where they do not. Raises UserError where a width cannot carry the
    workers in either way, or no width is left.
    """
    usable = [width for width in wire_bits if width != DENSE or dense_levels(workers)]
    widths = dict.fromkeys((*(usable or wire_bits), small_bits))
    configs = {f"gq{width}": _config_of(width, workers) for width in widths if width != UNCOMPRESSED}
    for rank in factor_ranks:
        enough = (2 ** (FACTOR_BITS - 1) - 1) // workers >= FEWEST_LEVELS
        bits = FACTOR_BITS if enough else WIDE_FACTOR_BITS
        exchange = _config_of(bits, workers).exchange
        configs[f"rank{rank}"] = GQConfig(
            form="lowrank", factor_rank=rank, factor_bits=bits, exchange=exchange
        )
    return configs


def _config_of(wire_bits: int, workers: int) -> GQConfig:
    try:
        num_levels(wire_bits, workers, "allreduce")
    except ValueError:
        check_width(wire_bits, workers, "scatter_reduce_allgather")
        return GQConfig(wire_bits=wire_bits, exchange="scatter_reduce_allgather")
    return GQConfig(wire_bits=wire_bits)


def form_of(chosen: str, configs: Mapping[str, GQConfig], *, small: bool = False) -> Form:
    """Return the form of a bucket in this format; fp16 counts as uncompressed, as it leaves no residual.

    `small`: whether it is one of small tensors.
    """
    if chosen in (NONE, HALF):
        return Form(UNCOMPRESSED)
    config = configs[chosen]
    if config.form == "lowrank":
        return Form(config.factor_bits, lowrank=True)
    return Form(config.wire_bits, row=NARROW_ROW if small else ROW)


def rounds_of(
    chosen: str,
    tensors: Sequence[NamedShape],
    workers: int,
    configs: Mapping[str, GQConfig],
    *,
    small: bool = False,
) -> tuple[Message, ...]:
    """Return the rounds of a bucket of these tensors in a format."""
    if chosen == HALF:
        return (float_sum(sum(numel(shape) for _, shape in tensors), Number.FP16),)
    config = configs.get(chosen, next(iter(configs.values())))
    return bucket_rounds(tensors, form_of(chosen, configs, small=small), workers, config)


def small_buckets(
    tensors: Sequence[NamedShape], configs: Mapping[str, GQConfig], bucket_bytes: int
) -> list[bool]:
    """Return for each bucket of this size, in the order in which they are sent, whether it is one of small tensors."""
    filled = assign_buckets(tensors, next(iter(configs.values())), bucket_bytes)
    return [form.wire_bits == UNCOMPRESSED for form, _ in filled]
