"""Which size of bucket hides the most: the backward pass's own timeline and the measured exchanges say what to try.

Small buckets leave early and hide behind the rest of the backward pass; each costs a message. What a step would take is
computed for every size as a pipeline: the worker encodes a bucket when its last gradient is there, the link carries one
message at a time, in order, and the worker decodes what has come in after the backward pass.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from pipelines.parallel.formats.costs import Cost
from pipelines.parallel.formats.forms import NONE
from pipelines.parallel.formats.plans import Plan
from pipelines.parallel.formats.pool import FormatPool

SIZES = tuple(2**power for power in range(17, 24))
"""128 KiB to 8 MiB of fp32."""
TOLERANCE = 1.02
"""A size is tried while its computed step is at most so many times that of the usual size: it is only computed."""
MOST_TRIED = 2


class Part(NamedTuple):
    """What a bucket takes, in seconds; `arrival` is when its last gradient is there, from the start of the step on."""

    arrival: float
    encode: float
    carry: float
    decode: float


def step_seconds(parts: Sequence[Part]) -> float:
    """Return the seconds from the start of a step until all averages are there, buckets in the order of sending."""
    delay = link = 0.0
    carried = []
    for part in parts:
        delay += part.encode  # of what the backward pass still has to do, too
        link = max(link, part.arrival + delay) + part.carry
        carried.append(link)
    now = max(part.arrival for part in parts) + delay
    for part, there in zip(parts, carried, strict=True):
        now = max(now, there) + part.decode
    return now


class Sizes:
    """Computes the step of a plan from what was measured before.

    Args:
        pool: says what travels together.
        arrivals: seconds from the start of a step until each parameter's gradient is there, by name.
        costs: seconds of a whole exchange, by format.
        codecs: what of it the worker itself encodes and decodes, half each.
    """

    def __init__(
        self,
        pool: FormatPool,
        arrivals: Mapping[str, float],
        costs: Mapping[str, Cost],
        codecs: Mapping[str, Cost],
    ) -> None:
        self._pool, self._arrivals, self._costs, self._codecs = pool, arrivals, costs, codecs

    def step_of(self, plan: Plan) -> float:
        """Return the computed seconds of a step until all averages are there."""
        parts = []
        for group, chosen in zip(self._pool.groups(plan.bucket_bytes), plan.formats, strict=True):
            known = chosen if chosen in self._costs else NONE
            codec = self._codecs[known].of(group.num_values)
            carry = max(0.0, self._costs[known].of(group.num_values) - codec)
            arrival = max(self._arrivals[name] for name in group.names)
            parts.append(Part(arrival, codec / 2, carry, codec / 2))
        return step_seconds(parts)

    def worth_trying(self, plans: Sequence[Plan]) -> list[Plan]:
        """Return the plan of the usual size, and at most `MOST_TRIED` others that may make a shorter step."""
        usual = next(plan for plan in plans if plan.bucket_bytes == DEFAULT_BUCKET_BYTES)
        computed = {plan: self.step_of(plan) for plan in plans}
        others = sorted((plan for plan in plans if plan != usual), key=lambda plan: computed[plan])
        likely = [plan for plan in others if computed[plan] <= TOLERANCE * computed[usual]]
        return [usual, *likely[:MOST_TRIED]]
