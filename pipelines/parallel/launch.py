"""Launch a distributed run with the real `horovodrun` and watch it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

from tqdm import tqdm

from pipelines.data import load_prepared
from pipelines.errors import UserError
from pipelines.models import build_model
from pipelines.parallel import progress, strategies  # noqa: F401  registers the strategies
from pipelines.parallel.job import Job
from pipelines.parallel.strategy import build_strategy

RANK_PREFIX = re.compile(r"^\[(?:\d+,)?(\d+)\]<(?:stdout|stderr)>:")
LINES_KEPT = 30
GRACE_SECONDS = 10


def is_worker() -> bool:
    """Tell whether this process was started by horovodrun (or mpirun) as one of the ranks."""
    return "HOROVOD_RANK" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ


def launch(job: Job) -> None:
    """Check everything that can be checked here, then run `job` on its workers and wait for it.

    Raises UserError with the workers' own line when they report a user's mistake, or with the last lines of
    their output when they fail otherwise.
    """
    check(job)
    environment = dict(os.environ)
    # A fixed number of threads a worker: OpenMP would otherwise take every core in each of them.
    environment["OMP_NUM_THREADS"] = str(job.distributed.threads_per_worker)
    environment[progress.ENVIRONMENT] = "1" if progress.wanted() else "0"
    process = subprocess.Popen(
        command(job),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        tails = _follow(process, job.name)
    except BaseException:
        _stop(process)
        raise
    if process.returncode != 0:
        raise UserError(_failure(job, process.returncode, tails))


def check(job: Job) -> None:
    """Raise UserError, before any worker starts, for parameters or data that would make them fail."""
    build_strategy(job.method, job.params)
    data = load_prepared(job.data_folder)
    job.check_batch_size(len(data.train), job.distributed.workers)
    build_model(
        job.model,
        num_channels=data.num_channels,
        num_classes=data.num_classes,
        image_size=data.image_size,
        densenet=job.densenet,
        seed=job.recipe.seed,
    )


def command(job: Job) -> list[str]:
    """Return the horovodrun command line of `job`; a user may run the same by hand."""
    config = job.distributed
    # The horovodrun of this very environment, not another one on the PATH.
    horovodrun = str(Path(sys.executable).with_name("horovodrun"))
    interface = ["--network-interfaces", config.network_interface] if config.network_interface else []
    worker = [sys.executable, "-m", "stages.distributed", "--model", job.model, "--method", job.method]
    return [
        *(horovodrun, "--gloo", "-np", str(config.workers), "-H", config.host_slots),
        *interface,
        *worker,
        *("--params", str(job.params)),
    ]


def _follow(process: subprocess.Popen[str], description: str) -> dict[str, deque[str]]:
    """Read the output until the run ends: progress lines move a bar, the last other lines a rank are returned."""
    tails: dict[str, deque[str]] = {}
    assert process.stdout is not None
    with tqdm(desc=description, unit="step", disable=None) as bar:
        for line in process.stdout:
            advance = progress.parse_progress(line)
            if advance is None:
                prefix = RANK_PREFIX.match(line)
                speaker = f"rank {prefix[1]}" if prefix else "horovodrun"
                tails.setdefault(speaker, deque(maxlen=LINES_KEPT)).append(RANK_PREFIX.sub("", line.rstrip()))
            else:
                bar.total = advance[1]
                bar.update(advance[0] - bar.n)
    process.wait()
    return tails


def _stop(process: subprocess.Popen[str]) -> None:
    """End horovodrun, which ends its workers; kill what is left after a grace period."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(job: Job, status: int, tails: dict[str, deque[str]]) -> str:
    """Return the line in which a worker reported a user's mistake; else show what each worker printed last."""
    for tail in tails.values():
        for line in tail:
            if line.startswith("error: "):
                return line.removeprefix("error: ")
    for speaker, tail in sorted(tails.items()):
        print(f"--- {speaker}, last lines:", *tail, sep="\n", file=sys.stderr, flush=True)
    return f"horovodrun ended with status {status} for {job.name}; the last lines of its workers stand above"
