"""Plain synchronous data parallelism, fp32 on the wire: the reference."""

from typing import Any

import horovod.torch as hvd
from torch import nn

from pipelines.parallel.metering.metered import Compression, MeteredCollectives
from pipelines.parallel.patterns import Message, NamedShape, float_sum, numel
from pipelines.parallel.strategies.bases.per_tensor import PerTensorStrategy
from pipelines.parallel.strategy import STRATEGIES


@STRATEGIES.register("sdp")
class Sdp(PerTensorStrategy):
    """Averages the gradients in fp32."""

    def message(self, tensor: NamedShape, /) -> Message:
        """Return a sum in fp32."""
        return float_sum(numel(tensor[1]))

    def make_compression(self, _model: nn.Module, _link: MeteredCollectives, /) -> tuple[Compression, Any]:
        """Return Horovod's no-op compression."""
        return hvd.Compression.none, hvd.Average
