"""Synchronous data parallelism with Horovod's own fp16 compression."""

from typing import Any

import horovod.torch as hvd
from torch import nn

from pipelines.parallel.metering.metered import Compression, MeteredCollectives
from pipelines.parallel.patterns import Message, NamedShape, Number, float_sum, numel
from pipelines.parallel.strategies.bases.per_tensor import PerTensorStrategy
from pipelines.parallel.strategy import STRATEGIES


@STRATEGIES.register("sdp_fp16")
class SdpFp16(PerTensorStrategy):
    """Averages the gradients in fp16: half the bytes, no error feedback."""

    def message(self, tensor: NamedShape, /) -> Message:
        """Return a sum in fp16."""
        return float_sum(numel(tensor[1]), Number.FP16)

    def make_compression(self, _model: nn.Module, _link: MeteredCollectives, /) -> tuple[Compression, Any]:
        """Return Horovod's fp16 compression."""
        return hvd.Compression.fp16, hvd.Average
