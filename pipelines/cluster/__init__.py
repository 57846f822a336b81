"""An emulated cluster: nodes with their own network, hostname and sshd on one machine, joined by shaped links."""

from pipelines.cluster.cluster import Cluster, EmulatedCluster
from pipelines.cluster.counters import InterfaceBytes, read_interface_bytes
from pipelines.cluster.detached import find_detached, start_detached, stop_detached
from pipelines.cluster.spec import ClusterSpec

__all__ = [
    "Cluster",
    "ClusterSpec",
    "EmulatedCluster",
    "InterfaceBytes",
    "find_detached",
    "read_interface_bytes",
    "start_detached",
    "stop_detached",
]
