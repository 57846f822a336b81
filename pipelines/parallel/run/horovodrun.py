"""Run `horovodrun` and follow it: its progress as a bar, its failure as one line."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pipelines.errors import UserError
from pipelines.parallel.run import progress

RANK_PREFIX = re.compile(r"^\[(?:\d+,)?(\d+)\]<(?:stdout|stderr)>:")
LINES_KEPT = 30
GRACE_SECONDS = 10
GLOO_TIMEOUT_SECONDS = 300

Tails = dict[str, deque[str]]


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


def run(options: Sequence[str], program: Sequence[str], threads_per_worker: int, description: str) -> None:
    """Run Python with the arguments `program` on every worker that horovodrun's `options` say, and wait for it.

    Raises UserError with the workers' own line when they report a user's mistake, or after the last lines of
    their output when they fail otherwise. Whatever ends this ends the workers.
    """
    # The horovodrun of this very environment, not another one on the PATH.
    horovodrun = str(Path(sys.executable).with_name("horovodrun"))
    process = subprocess.Popen(
        [horovodrun, "--gloo", *options, sys.executable, *program],
        env=worker_environment(threads_per_worker),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        tails = follow(process, description)
    except BaseException:
        stop(process)
        raise
    check_status(process.returncode, description, tails)


def follow(process: subprocess.Popen[str], description: str) -> Tails:
    """Read the output until the run ends: progress lines move a bar, the last other lines a rank are returned."""
    tails: Tails = {}
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


def stop(process: subprocess.Popen[str]) -> None:
    """End horovodrun, which ends its workers; kill what is left after a grace period."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check_status(status: int, description: str, tails: Tails) -> None:
    """Raise UserError where a run failed, with the line of the worker that reported a user's mistake.

    Failures of other kinds show first what each worker printed last.
    """
    if status == 0:
        return
    for tail in tails.values():
        for line in tail:
            if line.startswith("error: "):
                raise UserError(line.removeprefix("error: "))
    for speaker, tail in sorted(tails.items()):
        print(f"--- {speaker}, last lines:", *tail, sep="\n", file=sys.stderr, flush=True)
    raise UserError(
        f"horovodrun ended with status {status} for {description}; the last lines of its workers stand above"
    )
