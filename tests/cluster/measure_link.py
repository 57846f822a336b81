"""Print how long raw TCP transfers over an emulated link take: `python -m tests.cluster.measure_link --rate 100mbit`.

`--burst BYTES` gives the links another token bucket first, to see what its size does (root only).
"""

import argparse
import statistics
import subprocess

from pipelines.cluster import Cluster, EmulatedCluster
from tests.cluster.transfer import transfer_seconds

SIZES = (20_000, 100_000, 200_000, 400_000, 1_000_000, 3_000_000, 25_000_000)
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", default="100mbit")
    parser.add_argument("--mtu", type=int, default=9000)
    parser.add_argument("--burst", type=int)
    arguments = parser.parse_args()
    rate = None if arguments.rate == "unshaped" else arguments.rate
    with EmulatedCluster(rate=rate, mtu=arguments.mtu) as cluster:
        if arguments.burst is not None:
            set_burst(cluster, arguments.burst)
        print("bytes      milliseconds  Mbit/s  sent/payload")
        for size in SIZES:
            before = cluster.interface_bytes(0).sent
            seconds = statistics.median(transfer_seconds(cluster, size, 0, 1) for _ in range(REPEATS))
            sent = (cluster.interface_bytes(0).sent - before) / REPEATS / size
            print(f"{size:<10} {1000 * seconds:12.2f} {8 * size / seconds / 1e6:7.1f} {sent:13.4f}")


def set_burst(cluster: Cluster, burst: int) -> None:
    assert cluster.spec.rate is not None, "an unshaped link has no bucket"
    bucket = ["root", "tbf", "rate", cluster.spec.rate, "burst", f"{burst}b", "latency", "50ms"]
    for node, name in enumerate(cluster.spec.node_names):
        result = cluster.run(["tc", "qdisc", "replace", "dev", "eth0", *bucket], node=node)
        assert result.returncode == 0, result.stdout
        bridge_end = ["nsenter", f"--net=/proc/{cluster.pid}/ns/net", "tc", "qdisc", "replace", "dev", name]
        subprocess.run([*bridge_end, *bucket], check=True)


if __name__ == "__main__":
    main()
