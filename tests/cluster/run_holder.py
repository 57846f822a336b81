"""Holds a cluster with a command running on its far node, for tests that end this process from outside."""

import json
import time

from pipelines.cluster import EmulatedCluster
from pipelines.cluster.cluster import namespace_members

with EmulatedCluster() as cluster, cluster.started(["sh", "-c", "ssh node1 sleep 1000 & sleep 1000"]):
    while (
        len(namespace_members(cluster.pid)) < 9
    ):  # supervisor, 2 sshds, sh, sleep, ssh, 2 of its session, sleep
        time.sleep(0.01)
    print(json.dumps([pid for pid, _ in namespace_members(cluster.pid)]), flush=True)
    time.sleep(1000)
