"""For every strategy: the bytes that it reports are those that the kernel counts on the node's interface."""

import json
import os
import sys

import pytest

from pipelines.cluster import EmulatedCluster
from pipelines.config import load_section
from pipelines.experiments.sweep import SweepConfig
from pipelines.parallel.strategies import STRATEGIES, build_strategy
from tests.configs import UNCOMPILED
from tests.imports import ROOT

PARAMS = ROOT / "params.yaml"
FRAMING_BYTES = 20_000
"""Of a step's headers, and of what negotiation costs more than while nothing is under way."""
METHODS = load_section(SweepConfig, "sweep", PARAMS).methods
pytestmark = pytest.mark.usefixtures("machine")


def counted_and_reported(
    workers: int, methods: tuple[str, ...], workers_per_node: int = 1
) -> dict[str, tuple[float, float, float]]:
    """Return, by method, a step's bytes on a node's interface, in the strategy's report, and of negotiation alone.

    The largest of all workers. Negotiation, every 20 ms, costs bytes by the time that a busy machine takes for a step.
    """
    # A negotiation every 20 ms is little.
    settings = {"OMP_NUM_THREADS": "1", "HOROVOD_CYCLE_TIME": "20", **UNCOMPILED}
    nodes = workers // workers_per_node
    with EmulatedCluster(nodes=nodes, rate=None, slots_per_node=workers_per_node) as cluster:
        worker = [sys.executable, "-m", "tests.cluster.run_methods", *methods]
        command = cluster.horovodrun_command(workers, worker)
        result = cluster.run(command, os.environ | settings)
    assert result.returncode == 0, result.stdout
    lines = [line.partition(">:")[2] for line in result.stdout.splitlines() if "interface_bytes" in line]
    rows = {row["method"]: row for row in map(json.loads, lines)}
    assert tuple(rows) == methods
    keys = ("interface_bytes", "payload_bytes", "negotiation_bytes")
    return {name: tuple(row[key] for key in keys) for name, row in rows.items()}


def test_the_sweep_has_a_method_of_every_strategy() -> None:
    """All but the hierarchical one, which is `gq` where a node has one worker."""
    strategies = {build_strategy(method, PARAMS)[1]["strategy"] for method in METHODS}
    assert strategies == set(STRATEGIES) - {"gq_hierarchical"}


def check(workers: int, methods: tuple[str, ...], workers_per_node: int = 1) -> None:
    bytes_of = counted_and_reported(workers, methods, workers_per_node)
    for method, (counted, reported, negotiated) in bytes_of.items():
        # Headers, acknowledgements and negotiation come on top; nothing of a payload is missing.
        assert reported > 0, method
        allowed = max(0.05 * reported, FRAMING_BYTES)
        # On a busy machine a step's negotiation costs up to twice what it does while nothing is under way.
        assert 0 <= counted - reported <= 2 * negotiated + allowed, (method, counted, reported, negotiated)


def test_two_workers_send_what_their_strategy_reports() -> None:
    check(2, METHODS)


def test_three_workers_send_what_their_strategy_reports() -> None:
    """With more than two a ring passes on what came from others, and a scatter cuts a bucket in three."""
    check(3, ("sdp", "gq2", "topk"))


def test_between_hosts_of_two_workers_go_the_bytes_of_the_leaders() -> None:
    """And what stays inside a host never passes its interface: it would be eight times as much."""
    check(4, ("gq4_hierarchical",), 2)
