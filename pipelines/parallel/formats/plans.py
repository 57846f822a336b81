"""How all gradients travel in a step: the size of the buckets, a wire format for each, and when sums are applied."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from horovod_gq import GQConfig
from horovod_gq.buckets import assign_buckets
from horovod_gq.config import UNCOMPRESSED
from pipelines.parallel.formats.forms import HALF, NONE, rounds_of
from pipelines.parallel.patterns import Apply, Exchange, NamedShape, Pattern, Start


class Plan(NamedTuple):
    """What is chosen for every bucket."""

    bucket_bytes: int
    """fp32 bytes of a bucket, as the plugin's optimizer takes them."""
    formats: tuple[str, ...]
    """Of each bucket, in the order in which they are sent."""
    layerwise: bool = False
    """Whether a bucket is applied in the next forward pass, where it is needed, instead of at the end of the step."""


def uniform(chosen: str, small: Iterable[bool], bucket_bytes: int, small_bits: int) -> Plan:
    """Return the plan with one format for all buckets; those of small tensors, marked in `small`, have their own."""
    own = small_format(chosen, small_bits)
    return Plan(bucket_bytes, tuple(own if is_small else chosen for is_small in small))


def small_format(chosen: str, small_bits: int) -> str:
    """Return how small tensors travel beside a format: by GQ in `small_bits` where that one is GQ or low rank."""
    return NONE if chosen in (NONE, HALF) or small_bits == UNCOMPRESSED else f"gq{small_bits}"


def lossiest(plan: Plan, formats: Sequence[str]) -> int:
    """Return the place in `formats`, the least lossy first, of the lossiest one of a plan; -1 where it has none."""
    return max((formats.index(chosen) for chosen in plan.formats if chosen in formats), default=-1)


def plan_pattern(
    tensors: Sequence[NamedShape], workers: int, configs: Mapping[str, GQConfig], plan: Plan
) -> Pattern:
    """Return the pattern of a plan's fast-path buckets; `configs` are GQ's settings by format."""
    place = {name: number for number, (name, _) in enumerate(tensors)}
    exchanges = []
    filled = assign_buckets(tensors, next(iter(configs.values())), plan.bucket_bytes)
    for (form, names), chosen in zip(filled, plan.formats, strict=True):
        members = tuple(place[name] for name in names)
        shapes = [tensors[member] for member in members]
        small = form.wire_bits == UNCOMPRESSED
        rounds = rounds_of(chosen, shapes, workers, configs, small=small)
        exchanges.append(Exchange(tensors=members, rounds=rounds))
    apply = Apply.MODULE if plan.layerwise else Apply.STEP
    return Pattern(exchanges=tuple(exchanges), start=Start.BACKWARD, apply=apply)
