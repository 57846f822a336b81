"""How all gradients travel in a step: the size of the buckets, and a wire format for each."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from horovod_gq.config import UNCOMPRESSED
from pipelines.parallel.formats.forms import HALF, NONE


class Plan(NamedTuple):
    """What is chosen for every bucket."""

    bucket_bytes: int
    """fp32 bytes of a bucket, as the plugin's optimizer takes them."""
    formats: tuple[str, ...]
    """Of each bucket, in the order in which they are sent."""


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
