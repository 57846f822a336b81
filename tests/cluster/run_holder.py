"""Holds a cluster with a command running on each node, for tests that end this process from outside."""

import json
import signal
import time
from pathlib import Path

from pipelines.cluster import EmulatedCluster
from pipelines.cluster.cluster import namespace_members


def sleeps(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii") == "sleep\n"
    except OSError:  # ended meanwhile
        return False


# A test suite that was started in the background ignores Ctrl-C, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
with EmulatedCluster() as cluster, cluster.started(["sh", "-c", "ssh node1 sleep 1000 & sleep 1000"]):
    members: list[int] = []
    while sum(map(sleeps, members)) < 2:
        time.sleep(0.1)
        members = [pid for pid, _ in namespace_members(cluster.pid)]
    print(json.dumps(members), flush=True)
    time.sleep(1000)
