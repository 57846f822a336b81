"""The kernel's byte counters of a network interface."""

from pathlib import Path
from typing import NamedTuple


class InterfaceBytes(NamedTuple):
    """Bytes that an interface has received and sent, Ethernet, IP and TCP headers included."""

    received: int
    sent: int


def read_interface_bytes(interface: str = "eth0", table: Path = Path("/proc/net/dev")) -> InterfaceBytes:
    """Read the counters of `interface` in the calling process's own network namespace.

    `/proc/net` follows the reader's namespace always, `/sys/class/net` only where sysfs was mounted anew.

    Raises:
        ValueError: there is no such interface; the message names those that exist.
    """
    counters = dict(line.split(":", 1) for line in table.read_text(encoding="ascii").splitlines()[2:])
    by_name = {name.strip(): values.split() for name, values in counters.items()}
    if interface not in by_name:
        raise ValueError(f"network interface {interface!r} does not exist; here are {', '.join(by_name)}")
    # proc(5): eight columns on receiving, bytes first, then eight on sending.
    return InterfaceBytes(received=int(by_name[interface][0]), sent=int(by_name[interface][8]))
