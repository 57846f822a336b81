"""What exchanges cost, timed one by one in every format on real gradients."""

from collections.abc import Sequence

import torch

from horovod_gq.collectives import Collectives
from horovod_gq.timing import Timings
from pipelines.parallel.formats.costs import Cost, agree, fit, measure
from pipelines.parallel.formats.pool import FormatPool, Group


@torch.no_grad()
def time_formats(
    free: Sequence[Group], pool: FormatPool, link: Collectives, device: torch.device
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Return what exchanges cost in every format of the groups, and what of it the codec, alike on all workers.

    A collective. The gradients of the groups' parameters are sent, and stay what they are.
    """
    by_size = sorted(free, key=lambda group: group.num_values)
    small = by_size[0]
    # Two sizes give a line. A message four times as large will do: on a slow link each takes its time.
    large = next((group for group in by_size if group.num_values >= 4 * small.num_values), by_size[-1])
    formats = free[0].formats
    times = [
        seconds
        for which, group in enumerate((small, large))
        for chosen in formats
        for seconds in _time(group, chosen, f"probe.{which}.{chosen}", pool, device)
    ]
    times = agree(times, link, device)
    few, many = times[: 2 * len(formats)], times[2 * len(formats) :]
    costs, codecs = (
        {
            chosen: fit((small.num_values, few[place]), (large.num_values, many[place]))
            for chosen, place in zip(formats, range(part, len(few), 2), strict=True)
        }
        for part in (0, 1)
    )
    return costs, codecs


def _time(
    group: Group, chosen: str, name: str, pool: FormatPool, device: torch.device
) -> tuple[float, float]:
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in group.parameters]
    timings = Timings(enabled=True)
    return measure(pool.build(group, chosen, name, timings), gradients, device, timings)
