"""The wire formats of a bucket by their names: `none` (fp32), `fp16`, `gq4` (a width of GQ), `rank2` (low rank)."""

from collections.abc import Mapping, Sequence

from horovod_gq import GQConfig, num_levels
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Form, assign_buckets
from horovod_gq.config import UNCOMPRESSED
from pipelines.parallel.formats.widths import check_width
from pipelines.parallel.patterns import (
    Exchange,
    Message,
    NamedShape,
    Number,
    Pattern,
    Start,
    bucket_rounds,
    float_sum,
    numel,
)

NONE, HALF = "none", "fp16"
FACTOR_BITS, WIDE_FACTOR_BITS = 8, 16
FEWEST_LEVELS = 7
"""Factors travel in 8 bits while that leaves them so many levels, up to 18 workers; measured with 2 and 8."""


def format_names(wire_bits: Sequence[int], factor_ranks: Sequence[int]) -> list[str]:
    """Return what may be chosen for a bucket, the least lossy first."""
    widths = [f"gq{width}" for width in sorted(wire_bits, reverse=True)]
    return [NONE, HALF, *widths, *(f"rank{rank}" for rank in sorted(factor_ranks, reverse=True))]


def configs_of(wire_bits: Sequence[int], factor_ranks: Sequence[int], workers: int) -> dict[str, GQConfig]:
    """Return GQ's settings by format: sums where they carry all workers, else the other exchange.

    Raises UserError where a width cannot carry the workers in either way.
    """
    configs = {f"gq{width}": _config_of(width, workers) for width in wire_bits}
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


def form_of(chosen: str, configs: Mapping[str, GQConfig]) -> Form:
    """Return the form of a bucket in this format; fp16 counts as uncompressed, as it leaves no residual."""
    if chosen in (NONE, HALF):
        return Form(UNCOMPRESSED)
    config = configs[chosen]
    if config.form == "lowrank":
        return Form(config.factor_bits, lowrank=True)
    return Form(config.wire_bits)


def rounds_of(
    chosen: str, tensors: Sequence[NamedShape], workers: int, configs: Mapping[str, GQConfig]
) -> tuple[Message, ...]:
    """Return the rounds of a bucket of these tensors in a format."""
    if chosen == HALF:
        return (float_sum(sum(numel(shape) for _, shape in tensors), Number.FP16),)
    config = configs.get(chosen, next(iter(configs.values())))
    return bucket_rounds(tensors, form_of(chosen, configs), workers, config)


def plan_pattern(
    tensors: Sequence[NamedShape], workers: int, configs: Mapping[str, GQConfig], choices: Sequence[str]
) -> Pattern:
    """Return the pattern of fast-path buckets in these formats (none: fp32); that of small tensors stays in fp32."""
    place = {name: number for number, (name, _) in enumerate(tensors)}
    exchanges = []
    filled = assign_buckets(tensors, next(iter(configs.values())), DEFAULT_BUCKET_BYTES)
    for bucket, (form, names) in enumerate(filled):
        members = tuple(place[name] for name in names)
        chosen = choices[bucket] if choices and form.wire_bits != UNCOMPRESSED else NONE
        rounds = rounds_of(chosen, [tensors[member] for member in members], workers, configs)
        exchanges.append(Exchange(tensors=members, rounds=rounds))
    return Pattern(exchanges=tuple(exchanges), start=Start.BACKWARD)
