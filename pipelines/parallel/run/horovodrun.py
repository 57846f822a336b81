"""Run `horovodrun` and follow it: its progress as a bar, its failure as one line."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pipelines.parallel.run import heartbeat, progress
from pipelines.parallel.run.failure import Output, failure

GRACE_SECONDS = 10
GLOO_TIMEOUT_SECONDS = 300
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def is_worker() -> bool:
    """Tell whether this process was started by horovodrun (or mpirun) as one of the ranks."""
    return "HOROVOD_RANK" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ


def worker_environment(threads_per_worker: int) -> dict[str, str]:
    """Return the environment for `horovodrun`, which hands it on to the workers."""
    environment = dict(os.environ)
    # A fixed number of threads a worker: OpenMP would otherwise take every core in each of them.
    environment["OMP_NUM_THREADS"] = str(threads_per_worker)
    # Workers on a busy machine start further apart than Gloo's 30 s, after which the first one gives up.
    environment.setdefault("HOROVOD_GLOO_TIMEOUT_SECONDS", str(GLOO_TIMEOUT_SECONDS))
    environment[progress.ENVIRONMENT] = "1" if progress.wanted() else "0"
    return environment


def run(
    options: Sequence[str],
    program: Sequence[str],
    threads_per_worker: int,
    description: str,
    *,
    hosts: str = "",
    limits: heartbeat.Limits | None = None,
) -> None:
    """Run Python with the arguments `program` on every worker that horovodrun's `options` say, and wait for it.

    `hosts` are those of the options, for messages; with `limits` the workers have to give signs of life. Raises
    UserError with the workers' own line when they report a user's mistake, with the rank and host that ended or fell
    silent otherwise. Whatever ends this ends the workers.
    """
    # The horovodrun of this very environment, not another one on the PATH.
    horovodrun = str(Path(sys.executable).with_name("horovodrun"))
    environment = worker_environment(threads_per_worker)
    process = subprocess.Popen(
        [horovodrun, "--gloo", *options, sys.executable, *program],
        env=environment | ({heartbeat.ENVIRONMENT: "1"} if limits else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    output = Output(hosts)
    try:
        with contextlib.ExitStack() as stack:
            watch = None
            if limits is not None:
                give_up = functools.partial(stop, process)
                watch = stack.enter_context(heartbeat.Watch(limits, output.name_of, give_up))
            follow(process, description, output, watch)
    except BaseException:
        stop(process)
        raise
    check_status(process.returncode, description, output)


def _die_with_parent() -> None:
    """Let the kernel end this process when its parent does, however that ends: SIGKILL leaves no other way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)


def follow(
    process: subprocess.Popen[str],
    description: str,
    output: Output | None = None,
    watch: heartbeat.Watch | None = None,
) -> Output:
    """Read what a run prints until it ends: progress lines move a bar, the others go into `output`, which is returned.

    Signs of life go to `watch`.
    """
    output = Output() if output is None else output
    assert process.stdout is not None
    with tqdm(desc=description, unit="step", disable=None) as bar:
        for line in process.stdout:
            advance = progress.parse_progress(line)
            if advance is not None:
                bar.total = advance[1]
                bar.update(advance[0] - bar.n)
            else:
                _take(line, output, watch)
    process.wait()
    output.silence = watch.failure if watch is not None else None
    return output


def _take(line: str, output: Output, watch: heartbeat.Watch | None) -> None:
    """Hand a line to `output`; a sign of life, which may stand in the middle of a line, to `watch`."""
    sign, rank = heartbeat.PATTERN.search(line), output.rank_of(line)
    if sign is None or rank is None:
        output.add(line)
        return
    output.add(heartbeat.PATTERN.sub("", line))
    if watch is not None:
        watch.heard(rank, (sign[1], sign[2]))


def stop(process: subprocess.Popen[str]) -> None:
    """End horovodrun, which ends its workers; kill what is left after a grace period."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check_status(status: int, description: str, output: Output) -> None:
    """Raise UserError where a run failed, with the line of the worker that reported a user's mistake, or the rank.

    Failures of other kinds show first what the worker printed last.
    """
    error = failure(status, description, output)
    if error is not None:
        raise error
