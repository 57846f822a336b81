"""A real horovodrun over sshd and a shaped link."""

import json
import os
import sys

import pytest

from pipelines.cluster import EmulatedCluster
from tests.cluster.traces import host_state

pytestmark = pytest.mark.usefixtures("machine")

FLOATS = 1_000_000
REPEATS = 3


def test_sums_are_right_and_the_bytes_counted_are_those_of_the_payload() -> None:
    before = host_state()
    worker = [sys.executable, "-m", "tests.cluster.run_bytes", "allreduce"]
    options = ["--floats", str(FLOATS), "--repeats", str(REPEATS)]
    # Horovod's negotiation at its default of 1 ms is 0.3 MB/s, too much of so small a test's bytes.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOROVOD_CYCLE_TIME": "10"}
    with EmulatedCluster(nodes=2, rate="100mbit") as cluster:
        command = cluster.horovodrun_command(2, [*worker, *options])
        result = cluster.run(command, environment)
    assert result.returncode == 0, result.stdout
    rows = [
        json.loads(line.partition(">:")[2]) for line in result.stdout.splitlines() if "sent_bytes" in line
    ]
    assert sorted(row["host"] for row in rows) == ["node0", "node1"]
    # Each rank's vector is i mod 1024 plus its rank; integers below 2^24 are exact in float32.
    expected = sum(2 * (i % 1024) + 1 for i in range(FLOATS))
    for row in rows:
        assert row["sum"] == expected
        assert (row["threads"], row["cycle_time"]) == (1, "10")
        assert row["payload_bytes"] == 4 * FLOATS * REPEATS
        assert 1 <= row["sent_bytes"] / row["payload_bytes"] <= 1.05
        # 100 Mbit/s carry the 4 MB of a sum in 320 ms and no sooner: nothing went past the link.
        assert row["milliseconds"] > 310
    assert host_state() == before
