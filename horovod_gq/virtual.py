"""A cluster of N workers in one process: the same codec, sums and averages, without communication.

Convergence at N = 8, 16, 64 can be studied on one device. With N = 2 the averages are bit-identical to those of
a Horovod run. A model is shared by the workers: run every worker's batch through it in turn::

    cluster = VirtualCluster(model, workers=16, wire_bits=8)
    for worker in range(cluster.workers):
        model.zero_grad()
        loss(model, batch_of(worker)).backward()
        cluster.collect(worker)
    cluster.average()       # p.grad is now what every rank of a real cluster would have
    optimizer.step()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Bucket, advance_all, build_buckets
from horovod_gq.compression import NonFiniteGradientError
from horovod_gq.config import GQConfig
from horovod_gq.timing import Timings

__all__ = ["VirtualCluster"]


class _Mailbox:
    """Collects what the workers start; the results are there once all have started."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._sent: dict[tuple[str, str], dict[int, torch.Tensor]] = {}

    def put(self, kind: str, name: str, rank: int, tensor: torch.Tensor) -> _MailboxPending:
        self._sent.setdefault((kind, name), {})[rank] = tensor
        return _MailboxPending(self, kind, name, rank)

    def take(self, kind: str, name: str, rank: int) -> torch.Tensor:
        sent = self._sent[kind, name]
        assert len(sent) >= self.workers or rank not in sent, "a worker waits before all have started"
        tensors = [sent[worker] for worker in range(self.workers)]
        if kind == "gather":
            return torch.stack(tensors)
        if kind == "all_to_all":
            return torch.stack([tensor[rank] for tensor in tensors])
        total = tensors[0].clone()
        for tensor in tensors[1:]:
            total.add_(tensor)
        return total


class _MailboxPending:
    def __init__(self, mailbox: _Mailbox, kind: str, name: str, rank: int) -> None:
        self._mailbox, self._key, self._rank = mailbox, (kind, name), rank

    def wait(self) -> torch.Tensor:
        """Return the result for this worker."""
        return self._mailbox.take(*self._key, self._rank)


class _WorkerCollectives:
    """The collectives of one virtual worker; see `horovod_gq.collectives.Collectives`."""

    def __init__(self, mailbox: _Mailbox, rank: int) -> None:
        self._mailbox, self.rank, self.workers = mailbox, rank, mailbox.workers

    def start_sum(self, tensor: torch.Tensor, name: str) -> _MailboxPending:
        """Sum over the workers."""
        return self._mailbox.put("sum", name, self.rank, tensor)

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> _MailboxPending:
        """Send row k to worker k."""
        return self._mailbox.put("all_to_all", name, self.rank, tensor)

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> _MailboxPending:
        """Gather the tensors of all workers."""
        return self._mailbox.put("gather", name, self.rank, tensor)


class VirtualCluster:
    """N workers that share one model in one process; each has its own residuals.

    Memory: 2 fp32 values and 1 to 4 bytes a parameter and worker.

    Args:
        parameters: a module or (name, parameter) pairs.
        workers: N; any number that the width carries.
        config: settings of GQ; or give its fields as keywords.
        bucket_bytes: as for `DistributedOptimizer`; influences the values with
            `scatter_reduce_allgather` alone (a scale belongs to what a tensor has in a chunk of its bucket).

    Raises:
        ValueError: a setting is out of range or the width cannot carry the workers.
    """

    def __init__(
        self,
        parameters: nn.Module | Sequence[tuple[str, nn.Parameter]],
        workers: int,
        config: GQConfig | None = None,
        *,
        bucket_bytes: int = DEFAULT_BUCKET_BYTES,
        **fields: Any,
    ) -> None:
        if config is not None and fields:
            raise ValueError(f"give either config or its fields, not both: {', '.join(sorted(fields))}")
        self.config = config if config is not None else GQConfig(**fields)
        self.workers = workers
        pairs = parameters.named_parameters() if isinstance(parameters, nn.Module) else parameters
        named = [(name, parameter) for name, parameter in pairs if parameter.requires_grad]
        mailbox = _Mailbox(workers)
        self._buckets: list[list[Bucket]] = [
            build_buckets(
                named, self.config, _WorkerCollectives(mailbox, rank), Timings(), bucket_bytes=bucket_bytes
            )
            for rank in range(workers)
        ]
        self._collected: set[int] = set()

    @torch.no_grad()
    def collect(self, worker: int) -> None:
        """Take over the gradients in `p.grad` as those of one worker; a missing gradient counts as zero."""
        for bucket in self._buckets[worker]:
            for parameter, view in zip(bucket.parameters, bucket.exchange.views, strict=True):
                if parameter.grad is None:
                    view.zero_()
                else:
                    view.copy_(parameter.grad)
        self._collected.add(worker)

    @torch.no_grad()
    def average(self) -> None:
        """Exchange all gradients and write the average into `p.grad`.

        Raises:
            ValueError: a worker's gradients have not been collected since the last call.
            NonFiniteGradientError: a gradient is not finite on any worker (nonfinite="raise").
        """
        missing = sorted(set(range(self.workers)) - self._collected)
        if missing:
            raise ValueError(f"call collect(worker) for workers {missing} before average()")
        self._collected.clear()
        names: list[str] = []
        for buckets in zip(*self._buckets, strict=True):
            for bucket in buckets:
                bucket.exchange.start(0)
            advance_all(buckets, 0)
            for bucket in buckets:
                bucket.exchange.finish(0)
            reports = [bucket.exchange.failures() for bucket in buckets]
            failed = reports[0]
            names += failed
            first = buckets[0]
            for name, parameter, view in zip(
                first.names, first.parameters, first.exchange.views, strict=True
            ):
                averaged = view.fill_(float("nan")) if name in failed else view
                parameter.grad = averaged.clone()
        if names and self.config.nonfinite == "raise":
            raise NonFiniteGradientError(names)

    def wire_bytes_per_step(self) -> int:
        """Bytes of payload that each worker would hand to the collectives in a steady-state step."""
        return sum(bucket.exchange.bytes_per_step for bucket in self._buckets[0])
