"""Ranks started by others than horovodrun: Gloo ranks by an MPI-like launcher, DDP ranks by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
from horovod.runner.gloo_run import create_slot_env_vars

from deploy.gloo_ranks import place_variables, rank_of
from tests.configs import UNCOMPILED
from tests.parallel.gq.test_examples import check_example, tiny_cifar
from tests.parallel.launch import ROOT, stop

__all__ = ["tiny_cifar"]  # a fixture

# Starts its arguments once a rank, as mpiexec does: with the variables of PMI. Fails where one of them fails.
FAKE_MPIEXEC = """
import os, subprocess, sys
ranks = [subprocess.Popen(sys.argv[1:], env=os.environ | {"PMI_RANK": str(r), "PMI_SIZE": "2"}) for r in range(2)]
sys.exit(max(rank.wait() for rank in ranks))
"""
PROGRAM = """
import horovod.torch as hvd
import torch
hvd.init()
total = hvd.allreduce(torch.tensor([hvd.rank() + 1.0]), op=hvd.Sum).item()
print(f"rank {hvd.rank()}/{hvd.size()} local {hvd.local_rank()}/{hvd.local_size()} sum {total}\\n", end="", flush=True)
hvd.shutdown()
"""


def run(command: list[str]) -> tuple[int, str]:
    """Run a command in the checkout with one thread a rank; end it with its ranks where the test ends early."""
    settings = {"OMP_NUM_THREADS": "1", **UNCOMPILED}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        stop(process)
        raise
    return process.returncode, output


@pytest.mark.parametrize("hosts", ["a:1", "a:4", "a:2,b:2", "a:3,b:1,c:2", "a:1,b:2,c:3"])
def test_ranks_find_their_places_as_horovodrun_gives_them(hosts: str) -> None:
    slots = parse_hosts(hosts)
    plan = get_host_assignments(slots, sum(host.slots for host in slots))
    names = [slot.hostname for slot in plan]
    for slot in plan:
        assert place_variables(slot.rank, names) == create_slot_env_vars(slot)


def test_ranks_may_lie_across_the_hosts_in_turn() -> None:
    """srun --distribution=cyclic, mpirun --map-by node: neighbours in rank are on different hosts."""
    places = [place_variables(rank, ["a", "b", "a", "b"]) for rank in range(4)]
    local = [(place["HOROVOD_LOCAL_RANK"], place["HOROVOD_CROSS_RANK"]) for place in places]
    assert local == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]


def test_launchers_are_known_by_their_variables() -> None:
    assert rank_of({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}) == (3, 4)
    # mpirun within a Slurm job: what started the rank itself counts.
    within = {
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "OMPI_COMM_WORLD_RANK": "2",
        "OMPI_COMM_WORLD_SIZE": "5",
    }
    assert rank_of(within) == (2, 5)
    with pytest.raises(SystemExit, match="error: the launcher has set none of OMPI_COMM_WORLD_RANK"):
        rank_of({})


def test_gloo_ranks_run_under_another_launcher(tmp_path: Path) -> None:
    mpiexec, program = tmp_path / "mpiexec.py", tmp_path / "program.py"
    mpiexec.write_text(FAKE_MPIEXEC)
    program.write_text(PROGRAM)
    python = sys.executable
    command = [python, "deploy/gloo_ranks.py", "-np", "2", "--address", "127.0.0.1", "--interface", "lo"]
    status, output = run([*command, python, str(mpiexec), "--", python, str(program)])
    assert status == 0, output
    ranks = sorted(line for line in output.splitlines() if line.startswith("rank"))
    assert ranks == ["rank 0/2 local 0/2 sum 3.0", "rank 1/2 local 1/2 sum 3.0"], output


def test_ddp_hook_learns_under_torchrun(tiny_cifar: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    status, output = run([*torchrun, "examples/cifar10_ddp.py", "--data", str(tiny_cifar), "--epochs", "3"])
    assert status == 0, output
    check_example(output)
