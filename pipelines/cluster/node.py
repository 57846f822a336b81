"""One node: a process in namespaces of its own that becomes the node's sshd."""

import os
import socket
import subprocess
from pathlib import Path

from pipelines.cluster import kernel
from pipelines.cluster.requirements import program
from pipelines.cluster.spec import SUBNET_BITS, ClusterSpec, parse_rate
from pipelines.cluster.ssh import sshd_command

INTERFACE = "eth0"
# What an idle link lets pass at full speed before it is one of its rate. 256 KiB, often seen, would carry a
# small model's whole compressed gradient for free (measured in docs/emulated_cluster.md). Below one 9000-byte
# packet and its successor, or a quarter of a millisecond of 1 Gbit/s, the rate is missed by several percent.
BURST_SECONDS = 0.00025
MIN_BURST_BYTES = 16_384
# How long a packet may wait before it is dropped, about what a switch port buffers.
QUEUE_MILLISECONDS = 50
# Of a node's network namespace alone.
NETWORK_SETTINGS = {
    # A user's sshd has no right to ports below 1024 otherwise.
    "ip_unprivileged_port_start": "0",
    # The one algorithm that every kernel has and allows here: the host's default would make figures depend on it.
    "tcp_congestion_control": "reno",
    # Bytes that a socket may keep in the node's own queue. Linux' 4 MiB overflow the bucket's queue: a machine
    # that drops its own packets, which a real network card never does. 256 KiB was the default until Linux 4.20.
    "tcp_limit_output_bytes": "262144",
}


class SetupError(Exception):
    """The kernel or a program refused a step of building the cluster; the message is one line."""


def command(name: str, *arguments: str) -> None:
    """Run a system program; raises SetupError with the last line that it printed."""
    result = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"status {result.returncode}"])[-1]
        raise SetupError(f"`{name} {' '.join(arguments)}` failed: {reason}")


def burst_bytes(rate: str) -> int:
    """Return the size of the token bucket of a link of this rate."""
    return max(MIN_BURST_BYTES, round(parse_rate(rate) / 8 * BURST_SECONDS))


def shape(interface: str, rate: str | None) -> None:
    """Limit what leaves through `interface` to `rate` with a token bucket filter; None leaves it alone."""
    if rate is None:
        return
    bucket = ["rate", f"{parse_rate(rate)}bit", "burst", f"{burst_bytes(rate)}b"]
    bucket += ["latency", f"{QUEUE_MILLISECONDS}ms"]
    command("tc", "qdisc", "add", "dev", interface, "root", "tbf", *bucket)


def start_node(spec: ClusterSpec, index: int) -> int:
    """Fork the node `index` and return its process number once its network stands and sshd starts.

    The other end of its link appears in this process's network namespace under the node's name.
    """
    # Both ends close on exec: an end of file without a message says that the child has become sshd.
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become_node(spec, index)
        except (SetupError, OSError) as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as messages:
        message = messages.read()
    if message:
        raise SetupError(message)
    return pid


def _become_node(spec: ClusterSpec, index: int) -> None:
    name = spec.node_names[index]
    kernel.unshare(kernel.NEW_MOUNT_NAMESPACE | kernel.NEW_UTS_NAMESPACE | kernel.NEW_NETWORK_NAMESPACE)
    # Gloo takes equal hostnames for one machine and would talk over 127.0.0.1.
    socket.sethostname(name)
    # Shows /sys/class/net of this node instead of the host's.
    kernel.mount("sysfs", Path("/sys"), "sysfs")
    mtu = ["mtu", str(spec.mtu)]
    command("ip", "link", "add", INTERFACE, *mtu, "type", "veth", "peer", "name", name, *mtu, "netns", "1")
    command("ip", "address", "add", f"{spec.address(index)}/{SUBNET_BITS}", "dev", INTERFACE)
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "set", INTERFACE, "up")
    shape(INTERFACE, spec.rate)
    for setting, value in NETWORK_SETTINGS.items():
        try:
            Path("/proc/sys/net/ipv4", setting).write_text(value, encoding="ascii")
        except OSError as error:
            raise SetupError(f"net.ipv4.{setting}={value} is refused: {error.strerror}") from error
    kernel.drop_ambient_capabilities()
    sshd = sshd_command(name)
    os.execv(sshd[0], sshd)
