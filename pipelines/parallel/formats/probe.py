"""What exchanges cost, timed one by one in every format on real gradients."""

from collections.abc import Sequence

import torch

from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from horovod_gq.timing import Timings
from pipelines.parallel.formats.costs import Cost, agree, fit, measure
from pipelines.parallel.formats.pool import FormatPool, Group
from pipelines.parallel.formats.sizes import SIZES


@torch.no_grad()
def time_formats(
    pool: FormatPool, formats: Sequence[str], device: torch.device
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Return what exchanges cost in every format, and what of it the codec, alike on all workers.

    A collective. Gradients of the pool's parameters are sent, and stay what they are.
    """
    small = min(pool.free(SIZES[0]), key=_num_values)
    by_size = sorted(pool.free(DEFAULT_BUCKET_BYTES), key=_num_values)
    # Two sizes give a line. A message four times as large will do: on a slow link each takes its time.
    large = next((group for group in by_size if group.num_values >= 4 * small.num_values), by_size[-1])
    times = [
        seconds
        for which, group in enumerate((small, large))
        for chosen in formats
        for seconds in _time(group, chosen, f"probe.{which}.{chosen}", pool, device)
    ]
    times = agree(times, pool.link, device)
    few, many = times[: 2 * len(formats)], times[2 * len(formats) :]
    costs, codecs = (
        {
            chosen: fit((small.num_values, few[place]), (large.num_values, many[place]))
            for chosen, place in zip(formats, range(part, len(few), 2), strict=True)
        }
        for part in (0, 1)
    )
    return costs, codecs


def _num_values(group: Group) -> int:
    return group.num_values


def _time(
    group: Group, chosen: str, name: str, pool: FormatPool, device: torch.device
) -> tuple[float, float]:
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters]
    timings = Timings(enabled=True)
    return measure(pool.build(group, chosen, name, timings), gradients, device, timings)
