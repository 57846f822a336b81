"""What can go wrong with a node and its link, done to a running cluster from outside."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipelines.cluster import Cluster
from pipelines.cluster.cluster import namespace_members
from pipelines.cluster.node import INTERFACE
from pipelines.cluster.supervisor import BRIDGE

# What only a lossy link needs: `nft` drops packets where a kernel has no netem.
DROP_TABLE = "gqbench_loss"
OUTER = "undelayed"


def set_link(cluster: Cluster, node: int, state: str) -> None:
    """Plug the link of a node in (`up`) or out (`down`) at the bridge's end; nobody is told, as with a real cable."""
    _in_network(cluster, cluster.pid, "ip", "link", "set", cluster.spec.node_names[node], state)


def lose_packets(cluster: Cluster, node: int, percent: int) -> None:
    """Drop so many of the packets that arrive at a node, at random, from now on."""
    rules = f"""
        table ip {DROP_TABLE} {{
            chain arriving {{
                type filter hook input priority 0;
                iifname "{INTERFACE}" numgen random mod 100 < {percent} counter drop
            }}
        }}
    """
    _in_network(cluster, node_process(cluster, node), "nft", "-f", "-", text=rules)


def lost_packets(cluster: Cluster, node: int) -> int:
    """Return how many packets `lose_packets` has dropped at a node."""
    listing = _in_network(cluster, node_process(cluster, node), "nft", "list", "table", "ip", DROP_TABLE)
    return int(listing.partition("counter packets ")[2].split()[0])


@contextlib.contextmanager
def delayed_packets(cluster: Cluster, node: int, milliseconds: int) -> Iterator[None]:
    """Delay all packets to and from a node, each way, for the time of a `with` block.

    A relay between the bridge and the node's link holds each frame back; it needs no netem, which some kernels lack.
    """
    port, inner = cluster.spec.node_names[node], "delayed"
    mtu = ["mtu", str(cluster.spec.mtu)]
    pair = ["ip", "link", "add", inner, *mtu, "type", "veth", "peer", "name", OUTER, *mtu]
    _in_network(cluster, cluster.pid, *pair)
    for change in ([OUTER, "up", "master", BRIDGE], [inner, "up"], [port, "nomaster"]):
        _in_network(cluster, cluster.pid, "ip", "link", "set", *change)
    words = [sys.executable, "-m", "tests.cluster.delay", port, inner, str(milliseconds)]
    relay = subprocess.Popen(_entering(cluster, cluster.pid, *words), stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    assert relay.stdout.readline() == "relaying\n"
    try:
        yield
        assert relay.poll() is None, "the relay ended"
    finally:
        relay.kill()
        relay.communicate()
        _in_network(cluster, cluster.pid, "ip", "link", "delete", inner)
        _in_network(cluster, cluster.pid, "ip", "link", "set", port, "master", BRIDGE)


def round_trip_milliseconds(cluster: Cluster, node: int, other: int) -> float:
    """Return the shortest of five times that a connection from a node to another one's sshd takes to stand."""
    words = [sys.executable, "-m", "tests.cluster.delay", cluster.spec.address(other)]
    return float(_in_network(cluster, node_process(cluster, node), *words))


def node_process(cluster: Cluster, node: int) -> int:
    """Return the process number, out here, of a node's sshd."""
    (found,) = (pid for pid, inner in namespace_members(cluster.pid) if inner == cluster.node_pids[node])
    return found


def processes(cluster: Cluster, node: int, module: str) -> list[int]:
    """Return the Python processes on a node that run what ends with `module`, numbered as out here."""
    network = os.stat(f"/proc/{node_process(cluster, node)}/ns/net").st_ino
    found = []
    for pid, _ in namespace_members(cluster.pid):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            here = os.stat(f"/proc/{pid}/ns/net").st_ino == network
            # The shell and ssh that carry the command have it as one word.
            runs = any(word.endswith(module) for word in words[1:4]) and "horovodrun" not in words[1]
            if here and runs and "python" in Path(words[0]).name:
                found.append(pid)
    return found


def kill_processes(cluster: Cluster, node: int, module: str) -> int:
    """Kill what `processes` finds; return how many there were."""
    pids = processes(cluster, node, module)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def _entering(cluster: Cluster, pid: int, *command: str) -> list[str]:
    """Return the command line that runs a command as the cluster's root in the network of a process."""
    user = [] if os.geteuid() == 0 else [f"--user=/proc/{cluster.pid}/ns/user", "--preserve-credentials"]
    return ["nsenter", *user, f"--net=/proc/{pid}/ns/net", "--", *command]


def _in_network(cluster: Cluster, pid: int, *command: str, text: str | None = None) -> str:
    """Run a command as the cluster's root in the network of a process; return what it prints."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    done = subprocess.run(
        _entering(cluster, pid, *command),
        input=text,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
