"""Synchronous data parallelism with gradient quantization (GQ) and error feedback."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn

from horovod_gq import GQ, GQConfig
from pipelines.config import choice, require
from pipelines.parallel.formats.widths import check_widths
from pipelines.parallel.metering.metered import Compression, MeteredCollectives, StepCost
from pipelines.parallel.patterns import Message, NamedShape, Pattern, bucketed, word_sum
from pipelines.parallel.strategies.bases.bucketed import BucketedStrategy
from pipelines.parallel.strategies.bases.gq_options import GqOptions as CommonGqOptions
from pipelines.parallel.strategies.bases.per_tensor import PerTensorStrategy
from pipelines.parallel.strategy import HOROVOD, STRATEGIES, Channel, Strategy

PATHS = ("stock", "bucketed")


@dataclass(frozen=True, kw_only=True)
class GqOptions(CommonGqOptions):
    """Keys of a `methods` entry with `strategy: gq`."""

    path: str
    """`stock`: a compression of `hvd.DistributedOptimizer`, with its `groups`; `bucketed`: GQ's own optimizer."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        super().__post_init__()
        choice("path", self.path, PATHS)
        require(
            self.path == "bucketed" or self.exchange == "allreduce",
            "exchange",
            self.exchange,
            "allreduce with path stock, through which only sums go (or path bucketed)",
        )


class StockGq(PerTensorStrategy):
    """Sums packed integers in the buckets of the fast path, behind Horovod's own optimizer (`horovod_gq.grouped`)."""

    def message(self, tensor: NamedShape, /) -> Message:  # noqa: ARG002 - the same for all
        """Return the placeholder that Horovod sums for a tensor."""
        return word_sum(1)

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return a placeholder a tensor and the buckets' own sums; UserError where a width cannot carry the workers."""
        check_widths(self.options.config, workers)
        placeholders = super().pattern(tensors, workers)
        buckets = bucketed(tensors, workers, self.options.config)
        return replace(placeholders, exchanges=(*placeholders.exchanges, *buckets.exchanges))

    def make_compression(self, model: nn.Module, link: MeteredCollectives, /) -> tuple[Compression, Any]:
        """Bind a GQ compression to `model`; it divides by the number of workers itself, hence Sum."""
        check_widths(self.options.config, link.workers)
        self.gq = GQ(self.options.config, collectives=link).bind(model)
        return self.gq, hvd.Sum

    def groups(self) -> list[list[nn.Parameter]]:
        """Return GQ's groups, with which gradients travel in buckets."""
        return self.gq.groups

    def state_dict(self) -> dict[str, Any]:
        """Return residuals and scales of every parameter."""
        return dict(self.gq.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore residuals and scales; raises ValueError where they do not fit the model."""
        self.gq.load_state_dict(state)


class BucketedGq(BucketedStrategy):
    """Sums packed integers, bucket by bucket."""

    def settings(self) -> tuple[GQConfig, dict[str, Any]]:
        """Return the settings of GQ; the mode is the synchronous one."""
        return self.options.config, {}


@STRATEGIES.register("gq")
class Gq(Strategy):
    """Sums packed integers of `wire_bits` bits; what rounding loses is fed back in the next step.

    Both paths give the same weights bit for bit. Collectives other than Horovod's take the bucketed one.
    """

    Options = GqOptions

    def attach(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, channel: Channel = HOROVOD
    ) -> torch.optim.Optimizer:
        """Wrap `optimizer` in the chosen path's."""
        self.exchange = self._path() if channel.collectives is None else BucketedGq(self.options)
        return self.exchange.attach(model, optimizer, channel)

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:
        """Return the pattern of the chosen path."""
        return self._path().pattern(tensors, workers)

    def _path(self) -> Strategy:
        return StockGq(self.options) if self.options.path == "stock" else BucketedGq(self.options)

    def wait(self) -> None:
        """Wait for the sums."""
        self.exchange.wait()

    def update(self) -> None:
        """Step the inner optimizer with the averaged gradients."""
        self.exchange.update()

    def step_cost(self) -> StepCost:
        """Return and reset the cost since the last call."""
        return self.exchange.step_cost()

    def state_dict(self) -> dict[str, Any]:
        """Return residuals and scales (path `stock`; in `bucketed` the optimizer's state has them)."""
        return self.exchange.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore residuals and scales; raises ValueError where they do not fit the model."""
        self.exchange.load_state_dict(state)
