"""GQ: gradient quantization with error feedback for data-parallel training.

With the stock Horovod optimizer::

    compression = GQ(wire_bits=4).bind(model)
    optimizer = hvd.DistributedOptimizer(
        optimizer,
        named_parameters=model.named_parameters(),
        compression=compression,
        op=hvd.Sum,
        groups=compression.groups,
    )

The fast path::

    optimizer = horovod_gq.DistributedOptimizer(optimizer, model, wire_bits=4)
"""

from horovod_gq.compression import GQ, NonFiniteGradientError
from horovod_gq.config import GQConfig, num_levels
from horovod_gq.optimizer import DistributedOptimizer

__all__ = ["GQ", "DistributedOptimizer", "GQConfig", "NonFiniteGradientError", "num_levels"]

__version__ = "0.2.0"
