"""The one cluster a checkout that outlives its command: up, then run as often as wanted, then down.

No file says that it is up. It is found in the process table by its supervisor's command line, which names the
working folder: clusters of two checkouts do not meet, there is no record that could be stale, and nothing to clean but
processes.
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import psutil

from pipelines.cluster.cluster import Cluster, boot, inner_pid
from pipelines.cluster.protocol import DETACH, DETACHED_FLAG, STATE, SUPERVISOR
from pipelines.cluster.spec import ClusterSpec
from pipelines.errors import UserError

END_SECONDS = 60.0


def start_detached(spec: ClusterSpec) -> Cluster:
    """Start a cluster that stays up after this process; UserError where this folder has one up already."""
    if _supervisors():
        raise UserError("a cluster is up already: end it first with `python -m stages.cluster down`")
    process, cluster = boot(spec, DETACHED_FLAG, str(Path.cwd()))
    assert process.stdin is not None
    print(DETACH, file=process.stdin, flush=True)
    return cluster


def find_detached() -> Cluster:
    """Return the cluster that `start_detached` left up; UserError where there is none."""
    for pid in _supervisors():
        with contextlib.suppress(FileNotFoundError):  # still being built
            state = json.loads(Path(f"/proc/{pid}/root{STATE}").read_text(encoding="utf-8"))
            return Cluster(ClusterSpec.from_json(state["spec"]), pid, state["nodes"])
    raise UserError("no cluster is up: start one with `python -m stages.cluster up --nodes 2 --rate 100mbit`")


def stop_detached() -> int:
    """End every detached cluster of this folder, also one half built; return how many there were."""
    pids = _supervisors()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # The kernel ends all processes of a namespace before its first one is gone.
    deadline = time.monotonic() + END_SECONDS
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(pids)


def _runs(pid: int) -> bool:
    """Tell whether the process is there and is no zombie; while it ends, its command line is gone already."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def _supervisors() -> list[int]:
    """Return the supervisors of the detached clusters that this user has started in the present working folder."""
    wanted = [DETACHED_FLAG.encode(), os.fsencode(Path.cwd())]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            named = SUPERVISOR.encode() in arguments and arguments[-3:-1] == wanted  # the last one ends in \0
            if named and folder.stat().st_uid == os.getuid() and inner_pid(folder) == 1:
                found.append(int(folder.name))
    return found
