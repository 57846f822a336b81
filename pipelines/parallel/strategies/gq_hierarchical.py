"""GQ between hosts, and fp32 sums inside a host (horovod_gq.hierarchy)."""

from typing import Any

from horovod_gq import GQConfig
from horovod_gq.hierarchy import Hosts
from pipelines.parallel.metering.metered import MeteredCollectives
from pipelines.parallel.strategies.bases.bucketed import BucketedStrategy
from pipelines.parallel.strategies.bases.gq_options import GqOptions
from pipelines.parallel.strategy import STRATEGIES, Channel


@STRATEGIES.register("gq_hierarchical")
class GqHierarchical(BucketedStrategy):
    """Sums packed integers between the first workers of the hosts; bytes are those between hosts.

    A pattern is one of as many workers as there are hosts. With a worker a host, and with other collectives than
    Horovod's, which know no hosts, it is the strategy `gq`.
    """

    Options = GqOptions
    needs_process_sets = True

    def settings(self) -> tuple[GQConfig, dict[str, Any]]:
        """Return the settings of GQ; the mode is the synchronous one."""
        return self.options.config, {}

    def hosts(self, channel: Channel, /) -> Hosts | None:
        """Return Horovod's hosts; what stays inside a host is timed and not counted."""
        if channel.collectives is not None:
            return None
        hosts = Hosts.of_horovod()
        return Hosts(
            MeteredCollectives(hosts.local, self.meter, channel.scope, counts=False),
            MeteredCollectives(hosts.between, self.meter, channel.scope),
        )
