"""An emulated cluster on this machine: `up`, `run -- COMMAND`, `status`, `down` (docs/emulated_cluster.md)."""

import argparse
import signal
import sys
from types import FrameType

from pipelines.cluster import ClusterSpec, find_detached, start_detached, stop_detached
from pipelines.cluster.spec import UNSHAPED
from pipelines.command_line import stage_parser
from pipelines.entry import run_stage


def main() -> None:
    """Parse the command line and do what its first word says."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _terminate)
    if arguments.action == "up":
        _up(arguments)
    elif arguments.action == "run":
        _run(arguments)
    elif arguments.action == "status":
        _status()
    else:
        print(f"ended {stop_detached()} cluster(s)")


def _parser() -> argparse.ArgumentParser:
    parser = stage_parser(__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="start a cluster that stays until `down`")
    up.add_argument("--nodes", type=int, default=2, help="number of nodes (default: %(default)s)")
    up.add_argument("--rate", default="100mbit", help=f"link rate, or `{UNSHAPED}` (default: %(default)s)")
    up.add_argument(
        "--slots-per-node", type=int, default=1, help="workers a node takes (default: %(default)s)"
    )
    up.add_argument("--mtu", type=int, default=9000, help="largest packet in bytes (default: %(default)s)")
    run = actions.add_parser("run", help="run a command on node0 and pass its output and status on")
    run.add_argument("--np", type=int, help="start that many workers of the command through horovodrun")
    run.add_argument("command", nargs="+", metavar="COMMAND", help="after `--`")
    actions.add_parser("status", help="show the cluster's hosts, rate and byte counters")
    actions.add_parser("down", help="end the cluster and everything that runs in it")
    return parser


def _up(arguments: argparse.Namespace) -> None:
    spec = ClusterSpec(
        nodes=arguments.nodes,
        rate=None if arguments.rate == UNSHAPED else arguments.rate,
        slots_per_node=arguments.slots_per_node,
        mtu=arguments.mtu,
    )
    start_detached(spec)
    print(f"up: {spec.describe()}")


def _run(arguments: argparse.Namespace) -> None:
    cluster = find_detached()
    command = arguments.command
    if arguments.np is not None:
        command = cluster.horovodrun_command(arguments.np, command)
    with cluster.started(command, piped=False) as process:
        process.wait()
    sys.exit(process.returncode if process.returncode >= 0 else 128 - process.returncode)


def _status() -> None:
    cluster = find_detached()
    print(f"up: {cluster.spec.describe()}, supervisor {cluster.pid}")
    for index, name in enumerate(cluster.spec.node_names):
        counted = cluster.interface_bytes(index)
        print(f"{name} {cluster.spec.address(index)}: {counted.received} bytes received, {counted.sent} sent")


def _terminate(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # the shell's convention


if __name__ == "__main__":
    run_stage(main)
