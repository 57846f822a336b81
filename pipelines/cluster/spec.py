"""What an emulated cluster looks like: its nodes, their addresses and the rate of their links."""

import json
import re
from dataclasses import asdict, dataclass

from pipelines.errors import UserError

SUBNET = "10.77.0"
SUBNET_BITS = 24
MAX_NODES = 200  # of the 254 addresses of the subnet
UNSHAPED = "unshaped"
RATE_PATTERN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(kbit|mbit|gbit)")
UNIT_BITS = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
MIN_RATE_BITS = 10**6
MAX_RATE_BITS = 10**11
MIN_MTU = 1280  # what IPv6 asks of every link; Linux lets no IP on a much smaller one
MAX_MTU = 65535  # the largest that veth takes


def parse_rate(rate: str) -> int:
    """Return the bits a second of a rate such as `100mbit` (tc's notation, powers of ten)."""
    match = RATE_PATTERN.fullmatch(rate.lower())
    bits = round(float(match[1]) * UNIT_BITS[match[2]]) if match else 0
    if not MIN_RATE_BITS <= bits <= MAX_RATE_BITS:
        raise UserError(
            f"rate {rate!r} is no link rate: give a number with kbit, mbit or gbit, "
            f"from 1mbit to 100gbit (100mbit, 2.5gbit), or `{UNSHAPED}`"
        )
    return bits


LINKS = f"`{UNSHAPED}` or 1mbit to 100gbit (`100mbit`, `2.5gbit`)"
"""What `is_link` takes, in words."""


def is_link(link: str) -> bool:
    """Tell whether an emulated cluster can have such links: a rate, or `unshaped`."""
    if link == UNSHAPED:
        return True
    try:
        parse_rate(link)
    except UserError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """The shape of a cluster; UserError for values that cannot be built."""

    nodes: int
    """Number of nodes, 2 or more."""
    rate: str | None
    """Rate of every node's link, each direction (`100mbit`); None leaves the links unshaped."""
    slots_per_node: int
    """Workers that a node can take."""
    mtu: int
    """Largest packet of the links in bytes, Ethernet's header not counted."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.nodes <= MAX_NODES:
            raise UserError(f"nodes is {self.nodes}: an emulated cluster has from 2 to {MAX_NODES} nodes")
        if self.slots_per_node < 1:
            raise UserError(f"slots_per_node is {self.slots_per_node}: a node needs 1 slot or more")
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise UserError(f"mtu is {self.mtu}: a link's is from {MIN_MTU} to {MAX_MTU} bytes")
        if self.rate is not None:
            parse_rate(self.rate)

    @property
    def node_names(self) -> list[str]:
        """The hostnames, `node0` first."""
        return [f"node{index}" for index in range(self.nodes)]

    def describe(self) -> str:
        """Return hosts, rate and packet size as users read them."""
        return f"hosts {self.hosts()}, links {self.rate or UNSHAPED}, mtu {self.mtu}"

    def address(self, index: int) -> str:
        """Return the IPv4 address of node `index`."""
        return f"{SUBNET}.{index + 1}"

    def hosts(self, workers: int | None = None) -> str:
        """Return horovodrun's `-H` value for `workers`, spread evenly over the nodes (default: every slot)."""
        slots = self.nodes * self.slots_per_node
        workers = slots if workers is None else workers
        if not 1 <= workers <= slots:
            raise UserError(
                f"workers is {workers}: {self.nodes} nodes with slots_per_node {self.slots_per_node} "
                f"take from 1 to {slots}"
            )
        share, rest = divmod(workers, self.nodes)
        counts = [share + (index < rest) for index in range(self.nodes)]
        return ",".join(f"{name}:{n}" for name, n in zip(self.node_names, counts, strict=True) if n)

    def to_json(self) -> str:
        """Return the specification as one line of JSON, for `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ClusterSpec":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
