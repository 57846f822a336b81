"""A Horovod worker that compares what a collective has to send with what the kernel counts on eth0.

`python -m tests.cluster.run_bytes allreduce|allgather|idle [--floats N] [--repeats N] [--seconds S]`, through
`python -m stages.cluster run --np 2 --`; every rank prints one line of JSON.
"""

import argparse
import json
import os
import socket
import time

import horovod.torch as hvd
import torch

from pipelines.cluster import InterfaceBytes, read_interface_bytes

# A socket holds some 100 kB here, 10 ms of 100 Mbit/s.
DRAIN_SECONDS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("collective", choices=["allreduce", "allgather", "idle"])
    parser.add_argument("--floats", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    hvd.init()
    vector = torch.arange(arguments.floats, dtype=torch.float32) % 1024 + hvd.rank()
    once(arguments.collective, vector)  # warm-up: connections, Horovod's response cache
    drain()
    before, start = read_interface_bytes(), time.perf_counter()
    result = vector
    for _ in range(arguments.repeats if arguments.collective != "idle" else 0):
        result = once(arguments.collective, vector)
    if arguments.collective == "idle":
        time.sleep(arguments.seconds)
    seconds = time.perf_counter() - start
    drain()
    after = read_interface_bytes()
    report(
        arguments, result, InterfaceBytes(after.received - before.received, after.sent - before.sent), seconds
    )


def drain() -> None:
    """Wait until every rank's sockets are empty: a collective returns when it has received, not when it has sent."""
    hvd.barrier()
    time.sleep(DRAIN_SECONDS)


def once(collective: str, vector: torch.Tensor) -> torch.Tensor:
    """Run the collective under one name, as a training step does."""
    if collective == "allgather":
        return hvd.allgather(vector, name="vector")
    return hvd.allreduce(vector, op=hvd.Sum, name="vector")


def report(
    arguments: argparse.Namespace, result: torch.Tensor, counted: InterfaceBytes, seconds: float
) -> None:
    # With N = 2 ranks a ring all-reduce sends 2 (N - 1) / N = 1 vector a rank, a ring all-gather N - 1 = 1.
    payload = 0 if arguments.collective == "idle" else 4 * arguments.floats * arguments.repeats
    row = {
        "rank": hvd.rank(),
        "host": socket.gethostname(),
        "threads": torch.get_num_threads(),
        "cycle_time": os.environ.get("HOROVOD_CYCLE_TIME"),
        "sent_bytes": counted.sent,
        "received_bytes": counted.received,
        "payload_bytes": payload,
        "sent_over_payload": round(counted.sent / payload, 4) if payload else None,
        "bytes_per_second": round(counted.sent / (seconds + DRAIN_SECONDS)),
        "milliseconds": round(1000 * seconds / max(arguments.repeats, 1), 1),
        "sum": result.double().sum().item(),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
