"""GQ through its fast path `horovod_gq.DistributedOptimizer`: flat buckets, sent while backward still runs."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from horovod_gq import DistributedOptimizer, GQConfig
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from horovod_gq.hierarchy import Hosts
from pipelines.parallel.formats.widths import check_widths
from pipelines.parallel.metering.metered import CostMeter, StepCost
from pipelines.parallel.patterns import Apply, NamedShape, Pattern, bucketed
from pipelines.parallel.strategy import HOROVOD, Channel, Strategy


class BucketedStrategy(Strategy):
    """Base of the strategies that differ in the settings and in the mode of the fast path.

    Residuals and scales are part of the optimizer's own state.
    """

    synchronous = True
    """Whether `wait` makes the averaged gradients available; else the optimizer decides when to wait."""

    @abstractmethod
    def settings(self) -> tuple[GQConfig, dict[str, Any]]:
        """Return the settings of GQ and the mode, as keywords of `horovod_gq.DistributedOptimizer`."""

    def hosts(self, channel: Channel, /) -> Hosts | None:  # noqa: ARG002 - most strategies know workers only
        """Return the workers by host, on the meter, for an exchange between hosts; None: between all workers."""
        return None

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Buckets by width, in the mode of the fast path."""
        config, mode = self.settings()
        check_widths(config, workers)
        return bucketed(
            tensors,
            workers,
            config,
            bucket_bytes=mode.get("bucket_bytes", DEFAULT_BUCKET_BYTES),
            apply=Apply.MODULE if mode.get("update") == "layerwise" else Apply.STEP,
            interval=mode.get("averaging_interval", 1),
        )

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Wrap `optimizer` in the fast path; gradients become views of its buckets."""
        config, mode = self.settings()
        self.meter = CostMeter(next(model.parameters()).device)
        link, hosts = channel.metered(self.meter), self.hosts(channel)
        check_widths(config, (link if hosts is None else hosts.between).workers)
        self.optimizer = DistributedOptimizer(optimizer, model, config, collectives=link, hosts=hosts, **mode)
        self.optimizer.timings.enabled = True
        self.meter.take()  # the ranks' agreement on the settings is no part of a step
        return self.optimizer

    def wait(self) -> None:
        """Wait for the averaged gradients, in a synchronous mode."""
        if self.synchronous:
            self.optimizer.synchronize()

    def update(self) -> None:
        """Step; in the other modes this sends, and applies what is due."""
        self.optimizer.step()

    def flush(self) -> None:
        """Apply every update that is still under way."""
        self.optimizer.flush()

    def step_cost(self) -> StepCost:
        """Return and reset the meter and the timings of the fast path."""
        timings = self.optimizer.timings
        cost = replace(
            self.meter.take(), encode_seconds=timings.encode_seconds, decode_seconds=timings.decode_seconds
        )
        timings.reset()
        return cost
