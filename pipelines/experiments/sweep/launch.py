"""Launch the measurements of one model on one link between emulated nodes."""

import os
from collections.abc import Sequence

from pipelines.errors import UserError
from pipelines.experiments.sweep.config import SweepConfig
from pipelines.experiments.sweep.job import SweepJob
from pipelines.experiments.sweep.rows import ALONE
from pipelines.models import find_factory
from pipelines.parallel.run import horovodrun
from pipelines.parallel.run.emulated import run_on_cluster
from pipelines.parallel.strategies import build_strategy
from pipelines.results import Row, read_json, write_json

CACHE_CAPACITY = 32768
"""Tensor names whose negotiation Horovod remembers. By default 1024: all methods together have more names, so each
would find that the others have displaced its own, and negotiate them at length again in every round."""


def run(job: SweepJob, program: Sequence[str]) -> None:
    """Be a worker of `job` where horovodrun has started this process; else launch the workers and wait for them.

    `program` is a worker's command line, as arguments of Python. See `launch`.
    """
    if horovodrun.is_worker():
        # Imported late: the launcher trains nothing.
        from pipelines.experiments.sweep.worker import run_worker

        run_worker(job)
    else:
        launch(job, program)


def launch(job: SweepJob, program: Sequence[str]) -> None:
    """Write the rows of `measure` to `job.result_file`."""
    write_json(job.result_file, measure(job, program))


def measure(job: SweepJob, program: Sequence[str]) -> list[Row]:
    """Time `job` with every number of workers and return all rows.

    `program` is the command line of a worker. Raises UserError where this machine can emulate no cluster, or
    with the line of the worker that failed.
    """
    find_factory(job.model)  # an unknown name would end here, not in the workers of a cluster
    for method in job.sweep.methods:
        build_strategy(method, job.params)
    rows: list[Row] = []
    for workers in timed_workers(job):
        _run(job, workers, program)
        part = read_json(job.part_file(workers))
        # One worker alone is timed in every run; the first, least crowded one counts.
        rows += [row for row in part if row["method"] != ALONE or not rows]
    return rows


def timed_workers(job: SweepJob) -> list[int]:
    """Return the numbers of workers for which there is a method to time, and say which ones are left out.

    Raises UserError where none is left.
    """
    workers = list(job.sweep.workers)
    timed = [number for number in workers if job.sweep.methods_of(number)]
    why = (
        f"more threads than this machine's {os.cpu_count()} cores, and "
        f"{job.section}.oversubscribed_methods is empty"
    )
    if not timed:
        raise UserError(
            f"{job.section}.workers: {workers} leave nothing to time: {why}; name methods there or fewer workers"
        )
    for number in workers:
        if number not in timed:
            print(f"{job.name}: {number} workers are left out ({why})", flush=True)
    return timed


def run_environment(sweep: SweepConfig, workers: int) -> dict[str, str]:
    """Return the environment for `horovodrun`: this one, with the threads of a worker and Horovod's settings."""
    environment = horovodrun.worker_environment(sweep.threads_per_worker)
    environment["HOROVOD_CYCLE_TIME"] = str(sweep.cycle_of(workers))
    environment["HOROVOD_CACHE_CAPACITY"] = str(CACHE_CAPACITY)
    return environment


def _run(job: SweepJob, workers: int, program: Sequence[str]) -> None:
    run_on_cluster(
        program,
        workers=workers,
        link=job.link,
        environment=run_environment(job.sweep, workers),
        description=f"{job.name}, {workers} workers",
    )
