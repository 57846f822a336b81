"""What a cluster could leave behind on the machine, and ways to look for it."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

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
    """Return every supervisor, with its parent `unshare`, that this process has started; not those of other suites."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if SUPERVISOR in child.cmdline():
                found.add(child.pid)
    return found


def alive(pid: int) -> bool:
    """Tell whether the process runs: one that is dead and waits for its parent's look does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait until `condition` is true; pytest's time limit, which a busy machine does not reach, ends it."""
    while not condition():
        time.sleep(0.01)
    return True
