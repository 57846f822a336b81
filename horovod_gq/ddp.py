"""GQ as a communication hook of torch's DistributedDataParallel; needs no Horovod.

::

    model = DistributedDataParallel(model)
    model.register_comm_hook(GQState(model, wire_bits=4), gq_hook)

With `exchange="allreduce"` the averaged gradients are bit-identical to those of the Horovod paths. With
`scatter_reduce_allgather` they would be with equal buckets; DDP chooses its own.
"""

# No `from __future__ import annotations`: DDP compares the hook's annotations with the classes themselves.

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from horovod_gq.buckets import Bucket, advance_all, build_buckets
from horovod_gq.collectives import check_agreement
from horovod_gq.compression import NonFiniteGradientError
from horovod_gq.config import UNCOMPRESSED, GQConfig
from horovod_gq.timing import Timings

__all__ = ["GQState", "TorchCollectives", "gq_hook"]


class TorchPending:
    """Work of torch.distributed with the tensor that holds its result."""

    def __init__(self, work: dist.Work, result: torch.Tensor) -> None:
        self._work, self._result = work, result

    def wait(self) -> torch.Tensor:
        """Block until the result is there and return it."""
        self._work.wait()
        return self._result


class TorchCollectives:
    """Collectives of torch.distributed; see `horovod_gq.collectives.Collectives`. Names are not needed."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        if not dist.is_initialized():
            raise ValueError("call torch.distributed.init_process_group() before GQ is set up")
        self._group = group
        self.rank, self.workers = dist.get_rank(group), dist.get_world_size(group)

    def start_sum(self, tensor: torch.Tensor, name: str) -> TorchPending:  # noqa: ARG002
        """Sum over the ranks, in place."""
        return TorchPending(_work(dist.all_reduce(tensor, group=self._group, async_op=True)), tensor)

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> TorchPending:  # noqa: ARG002
        """Send row k of `tensor` [N, ...] to rank k; the result's row k came from rank k."""
        received = torch.empty_like(tensor)
        work = dist.all_to_all_single(received, tensor, group=self._group, async_op=True)
        return TorchPending(_work(work), received)

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> TorchPending:  # noqa: ARG002
        """Gather `tensor` of every rank; the result is [N, ...] in the order of the ranks."""
        gathered = tensor.new_empty((self.workers, *tensor.shape))
        work = dist.all_gather(list(gathered.unbind()), tensor, group=self._group, async_op=True)
        return TorchPending(_work(work), gathered)


@dataclass
class _Open:
    """A DDP bucket whose collectives are under way."""

    future: "torch.futures.Future[torch.Tensor]"
    buffer: torch.Tensor
    gradients: dict[str, torch.Tensor]
    buckets: list[Bucket]


class GQState:
    """State of `gq_hook`: residuals and scales by parameter name; survives DDP's rebuilding of its buckets.

    Args:
        model: the module given to DDP, or DDP's wrapper of it.
        config: settings of GQ; or give its fields as keywords.
        group: process group of the DDP model; None is the default group.

    Raises:
        ValueError: a setting is out of range, the width cannot carry the workers, or the ranks disagree.
    """

    def __init__(
        self,
        model: nn.Module,
        config: GQConfig | None = None,
        group: dist.ProcessGroup | None = None,
        **fields: Any,
    ) -> None:
        if config is not None and fields:
            raise ValueError(f"give either config or its fields, not both: {', '.join(sorted(fields))}")
        self.config = config if config is not None else GQConfig(**fields)
        self.timings = Timings()
        self.collectives = TorchCollectives(group)
        bare = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
        self._names = {parameter: name for name, parameter in bare.named_parameters()}
        shapes = [(name, tuple(parameter.shape)) for parameter, name in self._names.items()]
        check_agreement(self.collectives, self.config.digest(self.collectives.workers, shapes), "gq.ddp")
        self._buckets: dict[tuple[str, ...], list[Bucket]] = {}
        self._carried: dict[str, dict[str, Any]] = {}
        self._open: list[_Open] = []

    def start(self, bucket: Any) -> "torch.futures.Future[torch.Tensor]":
        """Encode and send a DDP bucket; its future completes at the end of the backward pass."""
        parameters = bucket.parameters()
        ours = self.buckets_for(parameters)
        by_name = zip([self._names[p] for p in parameters], bucket.gradients(), strict=True)
        devices = [] if bucket.buffer().device.type == "cpu" else [bucket.buffer().device]
        opened = _Open(torch.futures.Future(devices=devices), bucket.buffer(), dict(by_name), ours)
        if not self._open:
            # Runs before DDP's own callback, which waits for the futures: that one is queued with the last bucket.
            torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        self._open.append(opened)
        for each in ours:
            torch._foreach_copy_(each.exchange.views, [opened.gradients[name] for name in each.names])
            each.exchange.start(0)
        return opened.future

    def _finish(self) -> None:
        opened, self._open = self._open, []
        names: list[str] = []
        with torch.no_grad():
            advance_all([each for item in opened for each in item.buckets], 0)
            for item in opened:
                for each in item.buckets:
                    each.exchange.finish(0)
                    failed = each.exchange.failures()
                    names += failed
                    torch._foreach_copy_([item.gradients[name] for name in each.names], each.exchange.views)
                    for name in failed:
                        item.gradients[name].fill_(float("nan"))
                item.future.set_result(item.buffer)
        if names and self.config.nonfinite == "raise":
            raise NonFiniteGradientError(names)

    def buckets_for(self, parameters: list[torch.Tensor]) -> list[Bucket]:
        """Return our buckets (quantized and fp32) for the parameters of one DDP bucket; state is carried over."""
        named = [(self._names[p], p) for p in parameters if isinstance(p, nn.Parameter)]
        key = tuple(name for name, _ in named)
        if key not in self._buckets:
            # One of DDP's old buckets may be spread over several new ones, so its state is kept for all of them.
            self._carried.update(self.state_by_name())
            self._buckets = {k: v for k, v in self._buckets.items() if not set(k) & set(key)}
            built = build_buckets(
                named,
                self.config,
                self.collectives,
                self.timings,
                bucket_bytes=2**62,
                prefix=f"gq.ddp.{key[0]}",
            )
            for bucket in built:
                if bucket.wire_bits != UNCOMPRESSED and self._carried.keys() >= set(bucket.names):
                    bucket.exchange.load_state({name: self._carried.pop(name) for name in bucket.names})
            self._buckets[key] = built
        return self._buckets[key]

    def state_by_name(self) -> dict[str, dict[str, Any]]:
        """Residuals and scales by parameter name."""
        state: dict[str, dict[str, Any]] = {}
        for buckets in self._buckets.values():
            for bucket in buckets:
                state.update(bucket.exchange.state_dict())
        return state

    def wire_bytes_per_step(self) -> int:
        """Bytes of payload that this rank hands to the collectives in a steady-state step, after the first."""
        return sum(b.exchange.bytes_per_step for buckets in self._buckets.values() for b in buckets)


def gq_hook(
    state: GQState,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[torch.Tensor]:
    """Communication hook: `DistributedDataParallel.register_comm_hook(state, gq_hook)`.

    Averages the bucket's gradients through GQ, in place of DDP's mean. The collectives run while backward goes
    on; decoding is done at the end of backward.

    Raises:
        NonFiniteGradientError: from backward(), on every rank (nonfinite="raise").
    """
    return state.start(bucket)


def _work(work: Any) -> dist.Work:
    assert work is not None, "this process is not in the group"
    result: dist.Work = work
    return result
