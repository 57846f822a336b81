"""What the machine must have: Horovod for this torch, devices, hosts, disk, and the store of the runs."""

import importlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch

from pipelines.cluster import requirements
from pipelines.config.show import one_line
from pipelines.errors import UserError
from pipelines.tracking.store import check_store, store_uri

SSH_SECONDS = 5
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
LEAST_DISK_BYTES = 2**30
"""For results, figures, the MLflow store and DVC's cache; checkpoints come on top."""


def horovod_problem() -> str | None:
    """Say why Horovod cannot be used with the installed torch, or None."""
    way_out = "run `make setup` again (after removing its wheel from ~/.cache/gqbench, if that does not help)"
    try:
        horovod = importlib.import_module("horovod.torch")
    except (ImportError, OSError) as error:
        return f"Horovod cannot be used with the installed torch {torch.__version__} ({one_line(error)}); {way_out}"
    if not (horovod.gloo_built() or horovod.mpi_built()):
        return f"Horovod was built with neither Gloo nor MPI; {way_out}"
    return None


def device_problems(sections: dict[str, Any]) -> Iterator[str]:
    """Yield a line for every section that asks for a GPU where there is none."""
    for name in ("recipe", "evaluate"):
        section = sections.get(name)
        if section and section.device == "cuda" and not torch.cuda.is_available():
            yield f"{name}.device: 'cuda' is not allowed here: torch finds no GPU; allowed: auto, cpu"


def host_problems(sections: dict[str, Any]) -> Iterator[str]:
    """Yield a line for every host of `distributed.hosts` that ssh does not reach, and for an unknown interface."""
    distributed = sections.get("distributed")
    if distributed is None:
        return
    hosts = [entry.rpartition(":")[0] for entry in (distributed.hosts or "").split(",") if entry]
    remote = [host for host in hosts if host not in LOCAL_NAMES | {socket.gethostname()}]
    known = psutil.net_if_addrs()
    for interface in (distributed.network_interface or "").split(","):
        if interface and interface not in known:
            yield (
                f"distributed.network_interface: {interface!r} does not exist on this machine; "
                f"here are {', '.join(known)}"
            )
    if remote:
        with ThreadPoolExecutor(len(remote)) as pool:
            yield from filter(None, pool.map(_ssh_problem, remote))


def _ssh_problem(host: str) -> str | None:
    ssh = shutil.which("ssh")
    if ssh is None:
        return "distributed.hosts: the program ssh is missing (apt-get install openssh-client)"
    command = [ssh, "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSH_SECONDS}", host, "true"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return f"distributed.hosts: {host!r} is not reached by ssh without a password ({one_line(lines[-1])})"


def store_problem(sections: dict[str, Any]) -> str | None:
    """Say why the MLflow store cannot be used, or None."""
    tracking = sections.get("tracking")
    if tracking is None or not tracking.enabled:
        return None
    try:
        check_store(*store_uri(tracking))
    except UserError as error:
        return str(error)
    return None


def cluster_problem() -> str | None:
    """Say why this machine can carry no emulated cluster, or None."""
    try:
        requirements.check()
    except UserError as error:
        return str(error)
    return None


def disk_problem(folder: Path, checkpoint_bytes: int) -> str | None:
    """Say that `folder` has too little room, or cannot be written, for so many bytes of checkpoints; or None."""
    if not os.access(folder, os.W_OK):
        return f"{folder}: cannot be written; run in a checkout of your own"
    free, needed = shutil.disk_usage(folder).free, LEAST_DISK_BYTES + checkpoint_bytes
    if free >= needed:
        return None
    return f"{folder}: {_gib(free)} are free on the disk, about {_gib(needed)} are needed; make room"


def memory_problem(key: str, model: str, batch_size: int, workers: int, needed: int) -> str | None:
    """Say that a step of `model` needs more memory than is free, or None; `needed` is in bytes, of all workers."""
    free = psutil.virtual_memory().available
    if needed <= free:
        return None
    times = f" on each of {workers} workers" if workers > 1 else ""
    return (
        f"{key}: {batch_size} is not allowed: a step of {model}{times} takes about {_gib(needed)} of memory, "
        f"{_gib(free)} are free; lower it"
    )


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
