"""The buckets of the fast path behind Horovod's stock optimizer.

Horovod's optimizer hands every gradient to `compress`, sums what that returns, and hands the sums to `decompress`
before it steps. Gradients that travel in buckets return a placeholder of one value there. The last one of its bucket
starts the bucket's own collective, while the backward pass goes on; after the last placeholder of the step has come
back all buckets are waited for. Their gradients are views of the flat buffers, so they are filled when Horovod steps.

Horovod knows a group of `groups=` by the tuple of its parameters, which it hashes three times at every gradient. So
groups are short: they only keep the placeholders from being sent one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from horovod_gq.buckets import Bucket, Form, NamedParameter, advance_all, build_buckets
from horovod_gq.collectives import Collectives, check_agreement
from horovod_gq.config import GQConfig
from horovod_gq.timing import Timings

GROUP_TENSORS = 8
"""Tensors of one of Horovod's groups: its hashing grows with it, the number of its sums falls."""

_instances = itertools.count()


def horovod_groups(plan: Sequence[tuple[Form, list[NamedParameter]]]) -> list[list[torch.nn.Parameter]]:
    """Cut the buckets of `buckets.group_parameters` into Horovod's groups."""
    cut: list[list[torch.nn.Parameter]] = []
    for _, members in plan:
        parameters = [parameter for _, parameter in members]
        cut += [parameters[n : n + GROUP_TENSORS] for n in range(0, len(parameters), GROUP_TENSORS)]
    return cut


class Group:
    """A bucket and which of its gradients are there in this step, in whatever order they come."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        num_tensors, device = len(bucket.parameters), bucket.parameters[0].device
        self.placeholders = torch.zeros(num_tensors, 1, dtype=torch.int32, device=device).unbind()
        self._missing = set(range(num_tensors))

    @property
    def bytes_per_step(self) -> int:
        """Payload of a steady-state step, placeholders included."""
        return self.bucket.exchange.bytes_per_step + 4 * len(self.placeholders)

    def arrive(self, place: int) -> None:
        """Note the gradient at `place` of the bucket; the last one starts the bucket's collective."""
        self._missing.discard(place)
        if not self._missing:
            with torch.no_grad():
                self.bucket.start(0)

    def check_complete(self) -> None:
        """Raise a ValueError unless every gradient came in this step."""
        if self._missing:
            raise ValueError(
                f"{self.bucket.names[min(self._missing)]} is bound to GQ, but the optimizer does not train it; bind "
                "the parameters that the optimizer trains, as (name, parameter) pairs"
            )

    def finish(self) -> list[str]:
        """Wait for the average; return the names of the tensors that are not finite."""
        self._missing.update(range(len(self.placeholders)))
        return self.bucket.finish(0)


class GroupMember:
    """A parameter at its place in a bucket; see `horovod_gq.single.SingleTensor` for the methods."""

    def __init__(self, group: Group, place: int) -> None:
        self.group, self._place = group, place
        self._placeholder = group.placeholders[place]
        self._average = group.bucket.exchange.views[place]

    def compress(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return a placeholder int32 [1]; what the bucket sends is a matter of its own."""
        if gradient.is_sparse:
            raise ValueError("GQ cannot send sparse gradients; use dense ones (nn.Embedding(sparse=False))")
        self.group.arrive(self._place)
        return self._placeholder

    def decompress(self, message: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - a summed placeholder
        """Return the view of the bucket in which the average will be when the step's last placeholder is back."""
        return self._average


def build_groups(
    named: Sequence[NamedParameter],
    config: GQConfig,
    collectives: Collectives,
    timings: Timings,
    bucket_bytes: int,
) -> list[Group]:
    """Build the buckets of `buckets.group_parameters`, after all ranks have agreed on the settings."""
    prefix = f"gq.stock.{next(_instances)}"
    shapes = [(name, tuple(parameter.shape)) for name, parameter in named]
    check_agreement(collectives, config.digest(collectives.workers, bucket_bytes, shapes), prefix)
    built = build_buckets(named, config, collectives, timings, bucket_bytes=bucket_bytes, prefix=prefix)
    return [Group(bucket) for bucket in built]


def finish_groups(groups: Sequence[Group]) -> list[str]:
    """Wait for all buckets and fill their gradients; return the names of those that are not finite.

    Raises:
        ValueError: a bound parameter had no gradient in this step.
    """
    if not groups:
        return []
    for group in groups:
        group.check_complete()
    advance_all([group.bucket for group in groups], 0)
    return [name for group in groups for name in group.finish()]
