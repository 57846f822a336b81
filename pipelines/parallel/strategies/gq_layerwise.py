"""GQ with independent layer updates: no step waits for all sums."""

from typing import Any

from horovod_gq import GQConfig
from pipelines.parallel.strategies.bases.bucketed import BucketedStrategy
from pipelines.parallel.strategies.bases.gq_options import GqOptions
from pipelines.parallel.strategy import STRATEGIES


@STRATEGIES.register("gq_layerwise")
class GqLayerwise(BucketedStrategy):
    """Updates each layer when its own sum is there; the next forward pass waits module by module.

    The weights have the same bits as with `gq`. Waiting and decoding happen inside the next forward pass, and
    are metered there.
    """

    Options = GqOptions
    synchronous = False

    def settings(self) -> tuple[GQConfig, dict[str, Any]]:
        """Return the settings of GQ and the layer-wise mode."""
        return self.options.config, {"update": "layerwise"}
