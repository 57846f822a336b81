"""Start Horovod's Gloo ranks by srun, mpirun or another launcher, instead of horovodrun's ssh; needs no MPI in Horovod.

    python deploy/gloo_ranks.py -np 4 srun --ntasks=4 -- python train.py
    python deploy/gloo_ranks.py -np 4 mpirun -np 4 --hostfile hosts -- python train.py

Before `--` stands the launcher, after it the program. The first process serves Horovod's rendezvous; each rank takes
its number from the launcher's variables and learns from the others which of them share its host, by host name. The
hosts need the same Python environment, this file and the program. As horovodrun's, the rendezvous asks for no
password: use a cluster's own network.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

# (rank, number of ranks) as Slurm, OpenMPI, and MPICH and Intel MPI (PMI) name them. srun sets PMI_* for some MPIs too.
LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
WAIT_SECONDS = 300.0


def place_variables(rank: int, hosts: Sequence[str]) -> dict[str, str]:
    """Return Horovod's variables for `rank`, where `hosts[i]` is the host name of rank i.

    Local: among the ranks of one host. Cross: among the hosts that have a rank of this local number.
    """
    host = hosts[rank]
    local_ranks = [hosts[:index].count(name) for index, name in enumerate(hosts)]
    peers = [index for index, local in enumerate(local_ranks) if local == local_ranks[rank]]
    return {
        "HOROVOD_HOSTNAME": host,
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(len(hosts)),
        "HOROVOD_LOCAL_RANK": str(local_ranks[rank]),
        "HOROVOD_LOCAL_SIZE": str(hosts.count(host)),
        "HOROVOD_CROSS_RANK": str(peers.index(rank)),
        "HOROVOD_CROSS_SIZE": str(len(peers)),
    }


def rank_of(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return rank and number of ranks, as the launcher says; exits with one line where none does."""
    for rank, size in LAUNCHERS:
        if rank in environment and size in environment:
            return int(environment[rank]), int(environment[size])
    known = ", ".join(rank for rank, _ in LAUNCHERS)
    sys.exit(f"error: the launcher has set none of {known}; start with srun or mpirun")


def exchange_hosts(server: str, rank: int, size: int) -> list[str]:
    """Tell the rendezvous this rank's host name; return those of all ranks, once all have told theirs."""
    url = f"http://{server}/gloo_ranks"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    name = socket.gethostname().encode()
    opener.open(urllib.request.Request(f"{url}/{rank}", data=name, method="PUT"), timeout=60).close()
    hosts: list[str] = []
    end = time.monotonic() + WAIT_SECONDS
    while len(hosts) < size:
        try:
            with opener.open(f"{url}/{len(hosts)}", timeout=60) as answer:
                hosts.append(answer.read().decode())
        except urllib.error.HTTPError:  # not there yet
            if time.monotonic() > end:
                sys.exit(f"error: rank {len(hosts)} of {size} did not start within {WAIT_SECONDS:.0f} s")
            time.sleep(0.1)
    return hosts


def be_rank(server: str, interface: str | None, program: Sequence[str]) -> None:
    """Become `program` with the variables of this rank."""
    rank, size = rank_of(os.environ)
    address, _, port = server.rpartition(":")
    variables = {
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": port,
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "PYTHONUNBUFFERED": "1",
    }
    variables |= place_variables(rank, exchange_hosts(server, rank, size))
    if interface is not None:
        variables["HOROVOD_GLOO_IFACE"] = interface
    os.execvpe(program[0], list(program), os.environ | variables)


def launch(arguments: argparse.Namespace, launcher: Sequence[str], program: Sequence[str]) -> int:
    """Serve the rendezvous while `launcher` runs the ranks; return its status."""
    from horovod.runner.common.util.hosts import SlotInfo
    from horovod.runner.http.http_server import RendezvousServer

    server = RendezvousServer()
    port = server.start()
    # Horovod clears what all ranks have finished with; it needs their number for that.
    server.init([SlotInfo("-", 0, 0, 0, arguments.workers, 1, 1)])
    address = arguments.address or socket.gethostbyname(socket.gethostname())
    rank = [sys.executable, str(Path(__file__).resolve()), "--rank-of", f"{address}:{port}"]
    if arguments.interface:
        rank += ["--interface", arguments.interface]
    try:
        return subprocess.run([*launcher, *rank, "--", *program], check=False).returncode
    finally:
        server.stop()


def main() -> int:
    """Be the first process, or with --rank-of a rank."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s -np N [--address A] [--interface I] LAUNCHER ... -- PROGRAM ...",
    )
    parser.add_argument("-np", dest="workers", type=int, default=0, help="number of ranks")
    parser.add_argument("--address", help="of this host, as ranks reach it; default: that of its name")
    parser.add_argument("--interface", help="network interface for Gloo on every host, such as eth0")
    parser.add_argument("--rank-of", metavar="SERVER", help=argparse.SUPPRESS)
    parser.add_argument("launcher", nargs=argparse.REMAINDER, help="srun or mpirun with its options")
    mine, program = sys.argv[1:], []
    if "--" in mine:
        mine, program = mine[: mine.index("--")], mine[mine.index("--") + 1 :]
    arguments = parser.parse_args(mine)
    if not program:
        parser.error("no program: write it after --")
    if arguments.rank_of:
        be_rank(arguments.rank_of, arguments.interface, program)
    if arguments.workers < 1 or not arguments.launcher:
        parser.error("give -np N with N at least 1, and the launcher before --")
    return launch(arguments, arguments.launcher, program)


if __name__ == "__main__":
    sys.exit(main())
