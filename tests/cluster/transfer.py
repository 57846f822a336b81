"""Raw TCP transfers between the nodes of a cluster."""

import contextlib
import subprocess
import sys

from pipelines.cluster import Cluster

FIRST_PORT = 5000
END = [sys.executable, "-m", "tests.cluster.run_transfer"]


def transfer_seconds(cluster: Cluster, num_bytes: int, source: int, target: int) -> float:
    """Send `num_bytes` from one node to another; return the seconds until the last byte is known to be there."""
    return transfers_seconds(cluster, num_bytes, [(source, target)])[0]


def transfers_seconds(cluster: Cluster, num_bytes: int, pairs: list[tuple[int, int]]) -> list[float]:
    """Send `num_bytes` between each pair of nodes (source, target) at the same time; return each one's seconds."""
    with contextlib.ExitStack() as stack:
        senders = []
        for port, (source, target) in enumerate(pairs, start=FIRST_PORT):
            arguments = [cluster.spec.address(target), str(port), str(num_bytes)]
            receiver = stack.enter_context(cluster.started([*END, "receive", *arguments], node=target))
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == "ready\n"
            senders.append((source, [*END, "send", *arguments]))
        running = [stack.enter_context(cluster.started(command, node=node)) for node, command in senders]
        return [_seconds(process) for process in running]


def _seconds(process: subprocess.Popen[str]) -> float:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return float(output)
