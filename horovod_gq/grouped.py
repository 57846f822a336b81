"""The buckets of the fast path behind Horovod's stock optimizer, whose `groups=` sends a bucket's tensors together.

Horovod compresses the gradients of a group one after the other once the last of them is there, sums them together and
decompresses them together. So the last tensor of a group carries the message of the whole bucket, and the others
a placeholder of one value; the averages are views of the bucket's flat buffer, filled when the message is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from horovod_gq.buckets import Bucket, NamedParameter, build_buckets
from horovod_gq.config import UNCOMPRESSED, GQConfig
from horovod_gq.timing import Timings


class _HandedOver:
    """A message that somebody else sums."""

    def __init__(self, message: torch.Tensor) -> None:
        self.message = message

    def wait(self) -> torch.Tensor:
        """Return the sum, which has been written to `message`."""
        return self.message


class _HandOver:
    """Collectives that leave the sum to Horovod's optimizer; see `horovod_gq.collectives.Collectives`."""

    def __init__(self, rank: int, workers: int) -> None:
        self.rank, self.workers = rank, workers
        self.last: _HandedOver | None = None

    def start_sum(self, tensor: torch.Tensor, name: str) -> _HandedOver:  # noqa: ARG002
        """Keep the message for the one who asks next."""
        self.last = _HandedOver(tensor)
        return self.last

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> _HandedOver:
        """Refuse: Horovod's optimizer makes sums alone, and `GQ` checks that at construction."""
        raise NotImplementedError

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> _HandedOver:
        """Refuse, as above."""
        raise NotImplementedError


class Group:
    """A bucket and where it stands between Horovod's calls. Any order of the calls in a step will do."""

    def __init__(self, bucket: Bucket, link: _HandOver) -> None:
        self.bucket, self._link = bucket, link
        self.carrier = len(bucket.parameters) - 1
        dtype = (
            torch.float32 if bucket.wire_bits == UNCOMPRESSED else torch.int32
        )  # that of the message: one sum
        device = bucket.parameters[0].device
        self._placeholders = torch.zeros(len(bucket.parameters), 1, dtype=dtype, device=device).unbind()
        self._sent: _HandedOver | None = None
        self._version = 0
        self._incomplete = False
        self._failed: list[str] = []

    @property
    def bytes_per_step(self) -> int:
        """Payload of a steady-state step: the message and the placeholders."""
        return self.bucket.exchange.bytes_per_step + 4 * self.carrier

    def compress(self, place: int) -> torch.Tensor:
        """Return what the tensor at `place` of the bucket sends; the carrier encodes all gradients as they are now."""
        flat = self.bucket.exchange.flat
        if place != self.carrier:
            if self._sent is None:
                self._incomplete = True
            elif flat._version != self._version:
                raise ValueError(
                    f"the gradient of {self.bucket.names[place]} came after its group was sent; pass "
                    "groups=compression.groups to hvd.DistributedOptimizer (or do not read compression.groups)"
                )
            return self._placeholders[place]
        self.bucket.collect_gradients()
        self._version = flat._version
        self.bucket.exchange.start(0)
        self._sent, self._incomplete = self._link.last, False
        assert self._sent is not None
        return self._sent.message

    def decompress(self, place: int, message: torch.Tensor) -> torch.Tensor:
        """Return the view that holds the average of the tensor at `place` once the carrier has been decompressed."""
        if place == self.carrier:
            assert self._sent is not None
            self._sent.message, self._sent = message, None
            self._failed = self.bucket.finish(0)
        return self.bucket.exchange.views[place]

    def failures(self) -> list[str]:
        """Return the names of what is not finite in this step, once; ValueError where the carrier was never sent."""
        if self._incomplete:
            raise ValueError(
                f"{self.bucket.names[self.carrier]} is bound to GQ, but the optimizer does not train it; bind the "
                "parameters that the optimizer trains, as (name, parameter) pairs"
            )
        failed, self._failed = self._failed, []
        return failed


class GroupMember:
    """A parameter at its place in a group; see `horovod_gq.single.SingleTensor` for the methods."""

    def __init__(self, group: Group, place: int) -> None:
        self.group, self._place = group, place

    def compress(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the bucket's message for the carrier, else a placeholder."""
        if gradient.is_sparse:
            raise ValueError("GQ cannot send sparse gradients; use dense ones (nn.Embedding(sparse=False))")
        return self.group.compress(self._place)

    def decompress(self, message: torch.Tensor) -> torch.Tensor:
        """Return the average, a view of the bucket."""
        return self.group.decompress(self._place, message)

    def failures(self) -> list[str]:
        """Return the names of the group's tensors that are not finite, to the first member that asks."""
        return self.group.failures()


def build_groups(
    named: Sequence[NamedParameter],
    config: GQConfig,
    timings: Timings,
    *,
    rank: int,
    workers: int,
    bucket_bytes: int,
) -> list[Group]:
    """Build the buckets of `buckets.group_parameters`, whose sums Horovod's optimizer makes."""
    link = _HandOver(rank, workers)
    buckets = build_buckets(named, config, link, timings, bucket_bytes=bucket_bytes, prefix="gq.stock")
    return [Group(bucket, link) for bucket in buckets]
