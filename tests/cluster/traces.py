"""What a cluster could leave behind on the machine, and ways to look for it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.cluster.protocol import SUPERVISOR


def host_state() -> dict[str, object]:
    """Return what must be the same before and after a cluster."""
    ssh = Path.home() / ".ssh"
    return {
        "links": sorted(os.listdir("/sys/class/net")),
        "mounts": sorted(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()),
        "run": sorted(os.listdir("/run")),
        "hosts": Path("/etc/hosts").read_bytes(),
        "hostname": os.uname().nodename,
        "ssh": sorted((file.name, file.stat().st_mtime_ns) for file in ssh.glob("*"))
        if ssh.exists()
        else None,
    }


def supervisors() -> set[int]:
    """Return every supervisor on this machine, with its parent `unshare`."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if SUPERVISOR.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Tell whether the process runs: one that is dead and waits for its parent's look does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for `condition`; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
