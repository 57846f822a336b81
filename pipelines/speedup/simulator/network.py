"""The network between the workers, and what a collective takes on it by the algorithm that carries it.

Costs follow the usual latency and bandwidth model (Thakur, Rabenseifner & Gropp 2005; Chan et al. 2007): a message of
n bytes takes latency + 8 n / bandwidth, a worker sends and receives at the same time, and hosts share one link, in and
out, with the network. N workers on H = N / g hosts, b bytes of payload a worker:

| collective | algorithm | steps of latency | bytes over the slowest link |
|---|---|---|---|
| sum | ring | 2 (N - 1) | 2 (N - 1) / N b |
| sum | halving and doubling | 2 ceil(log2 N), 2 more and 2 b where N is no power of two | 2 (N - 1) / N b |
| sum | hierarchical | 2 (g - 1) inside, 2 (H - 1) outside | 2 (g - 1) / g b inside, 2 (H - 1) / H b outside |
| sum | parameter server, S servers | 2 | 2 max(H / S, 1) b outside, 2 (g - 1) / g b inside |
| all-gather | ring | N - 1 | (N - 1) b |
| all-gather | doubling | ceil(log2 N) | (N - 1) b |
| all-gather | hierarchical | (g - 1) inside, (H - 1) outside | (N - 1) b inside, (N - g) b outside |
| all-to-all | pairs | N - 1 | g (N - g) / N b outside, (g - 1) / N b inside |

`best` takes whatever of ring, halving and doubling, and hierarchical is fastest, as NCCL's tuner does.
"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from pipelines.parallel.patterns import Collective, Message

Values = float | NDArray[np.float64]
"""A number, or one for each of several cases that are simulated at once."""
BITS_PER_BYTE = 8


class Algorithm(Enum):
    """How a collective travels."""

    RING = "ring"
    HALVING_DOUBLING = "halving-doubling"
    HIERARCHICAL = "hierarchical"
    PARAMETER_SERVER = "parameter-server"
    BEST = "best"


@dataclass(frozen=True, kw_only=True)
class Network:
    """N workers, some of them on one host, and the links between the hosts."""

    workers: int
    bandwidth: Values
    """Bits a second of a host's link, in each direction; 0 and infinity are allowed."""
    latency: Values
    """Seconds that a message of no length takes from host to host."""
    workers_per_host: int = 1
    """Workers that share a host and its link; divides `workers`, or is larger."""
    intra_bandwidth: Values = math.inf
    """Bits a second between workers of one host."""
    intra_latency: Values = 0.0
    """Seconds that a message of no length takes inside a host."""
    algorithm: Algorithm = Algorithm.RING
    servers: int = 1
    """Parameter servers, each with a link of its own (`parameter-server`)."""

    @property
    def local(self) -> int:
        """Workers on a host."""
        return min(self.workers_per_host, self.workers)

    @property
    def hosts(self) -> int:
        """Number of hosts."""
        return -(-self.workers // self.local)

    def outside(self, num_bytes: float) -> Values:
        """Return the seconds of so many bytes on a host's link; none where there is one host."""
        return 0.0 if self.hosts == 1 else transfer_seconds(num_bytes, self.bandwidth)

    def inside(self, num_bytes: float) -> Values:
        """Return the seconds of so many bytes between workers of a host; none where each has its own."""
        return 0.0 if self.local == 1 else transfer_seconds(num_bytes, self.intra_bandwidth)

    def slowest(self, num_bytes: float) -> Values:
        """Return the seconds of so many bytes that pass every link of a ring."""
        return np.maximum(self.outside(num_bytes), self.inside(num_bytes))

    @property
    def hop(self) -> Values:
        """Latency of a step in which some workers talk to another host, if there is one."""
        return self.latency if self.hosts > 1 else self.intra_latency


def transfer_seconds(num_bytes: float, bandwidth: Values) -> Values:
    """Return the seconds of so many bytes at so many bits a second; infinite at 0, unless there is nothing to send."""
    if num_bytes == 0:
        return 0.0
    with np.errstate(divide="ignore"):
        seconds: NDArray[np.float64] = np.divide(BITS_PER_BYTE * num_bytes, bandwidth)
    return seconds


def message_seconds(message: Message, network: Network) -> tuple[Values, Values]:
    """Return the seconds of latency and of transfer of a collective; none of either with one worker."""
    if network.workers == 1:
        return 0.0, 0.0
    if message.collective is Collective.ALL_TO_ALL:
        return _all_to_all(message.num_bytes, network)
    cost = _SUMS if message.collective is Collective.SUM else _GATHERS
    if network.algorithm is not Algorithm.BEST:
        return cost[network.algorithm](message.num_bytes, network)
    candidates = (Algorithm.RING, Algorithm.HALVING_DOUBLING, Algorithm.HIERARCHICAL)
    latency, transfer = cost[candidates[0]](message.num_bytes, network)
    for algorithm in candidates[1:]:
        other_latency, other = cost[algorithm](message.num_bytes, network)
        better = np.less(other_latency + other, latency + transfer)
        latency, transfer = (
            np.where(better, other_latency, latency),
            np.where(better, other, transfer),
        )
    return latency, transfer


def _ring_sum(num_bytes: float, network: Network) -> tuple[Values, Values]:
    others, workers = network.workers - 1, network.workers
    return 2 * others * network.hop, network.slowest(2 * others / workers * num_bytes)


def _halving_doubling_sum(num_bytes: float, network: Network) -> tuple[Values, Values]:
    """Charge the bytes as the hierarchical sum does: the workers of a host exchange the large halves."""
    hosts, local = network.hosts, network.local
    rounds = 2 * _log2(hosts) * network.latency + 2 * _log2(local) * network.intra_latency
    transfer = network.outside(2 * (hosts - 1) / hosts * num_bytes) + network.inside(
        2 * (local - 1) / local * num_bytes
    )
    if network.workers & (network.workers - 1):
        return rounds + 2 * network.hop, transfer + network.slowest(2 * num_bytes)
    return rounds, transfer


def _hierarchical_sum(num_bytes: float, network: Network) -> tuple[Values, Values]:
    hosts, local = network.hosts, network.local
    latency = 2 * (hosts - 1) * network.latency + 2 * (local - 1) * network.intra_latency
    outside = network.outside(2 * (hosts - 1) / hosts * num_bytes)
    return latency, outside + network.inside(2 * (local - 1) / local * num_bytes)


def _server_sum(num_bytes: float, network: Network) -> tuple[Values, Values]:
    """Charge push and pull of what a host's workers have added up; a server's link or a host's is the narrower one."""
    crowd, local = max(network.hosts / network.servers, 1.0), network.local
    transfer = transfer_seconds(2 * crowd * num_bytes, network.bandwidth)
    latency = 2 * network.latency + 2 * (local - 1) * network.intra_latency
    return latency, transfer + network.inside(2 * (local - 1) / local * num_bytes)


def _ring_gather(num_bytes: float, network: Network) -> tuple[Values, Values]:
    others = network.workers - 1
    return others * network.hop, network.slowest(others * num_bytes)


def _doubling_gather(num_bytes: float, network: Network) -> tuple[Values, Values]:
    latency = _log2(network.hosts) * network.latency + _log2(network.local) * network.intra_latency
    return latency, _ring_gather(num_bytes, network)[1]


def _hierarchical_gather(num_bytes: float, network: Network) -> tuple[Values, Values]:
    others, foreign = network.workers - 1, network.workers - network.local
    latency = (network.hosts - 1) * network.latency + (network.local - 1) * network.intra_latency
    return latency, network.outside(foreign * num_bytes) + network.inside(others * num_bytes)


def _all_to_all(num_bytes: float, network: Network) -> tuple[Values, Values]:
    workers, local = network.workers, network.local
    outside = network.outside(local * (workers - local) / workers * num_bytes)
    return (workers - 1) * network.hop, outside + network.inside((local - 1) / workers * num_bytes)


def _log2(count: int) -> int:
    return max(0, count - 1).bit_length()


_SUMS = {
    Algorithm.RING: _ring_sum,
    Algorithm.HALVING_DOUBLING: _halving_doubling_sum,
    Algorithm.HIERARCHICAL: _hierarchical_sum,
    Algorithm.PARAMETER_SERVER: _server_sum,
}
_GATHERS = {
    Algorithm.RING: _ring_gather,
    Algorithm.HALVING_DOUBLING: _doubling_gather,
    Algorithm.HIERARCHICAL: _hierarchical_gather,
    # Messages that cannot be summed pass a server unchanged: no better than a ring.
    Algorithm.PARAMETER_SERVER: _ring_gather,
}
