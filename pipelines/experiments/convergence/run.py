"""Run all seeds of a job: on two Horovod workers, or on N virtual ones in this process."""

import copy
from collections.abc import Sequence

import torch
from tqdm import tqdm

from horovod_gq.collectives import Collectives
from pipelines.data import PreparedData, load_prepared
from pipelines.experiments.convergence.finished_seeds import FinishedSeeds
from pipelines.experiments.convergence.job import ConvergenceJob
from pipelines.experiments.convergence.replica import train_replica
from pipelines.models import build_model_for
from pipelines.parallel.run import horovodrun
from pipelines.parallel.run.emulated import run_on_cluster
from pipelines.parallel.run.progress import report_progress
from pipelines.parallel.virtual_cluster import run_workers
from pipelines.provenance import provenance
from pipelines.results import Row

HOROVOD_WORKERS = 2
"""More would share this machine's cores; they run as threads of one process instead."""


def run(job: ConvergenceJob, program: Sequence[str]) -> None:
    """Be a worker of `job` where horovodrun has started this process; else see `run_seeds`."""
    if horovodrun.is_worker():
        run_worker(job)
    else:
        run_seeds(job, program)


def run_seeds(job: ConvergenceJob, program: Sequence[str]) -> None:
    """Train every seed and write all rows to `job.result_file`; `program` is the command line of a worker.

    Seeds that an interrupted run of the same job has finished are not trained again.

    Raises UserError where a method cannot carry the workers, or with the line of the worker that failed.
    """
    train_missing(job, program).join()


def train_missing(job: ConvergenceJob, program: Sequence[str]) -> FinishedSeeds:
    """Train the seeds of `job` that are not finished, and return all that are; raises as `run_seeds`."""
    data = load_prepared(job.data_folder)
    parts = FinishedSeeds(job, data.checksum)
    parts.drop_stale()
    if job.workers == HOROVOD_WORKERS and parts.missing():
        _launch(job, program)
    elif job.workers != HOROVOD_WORKERS:
        torch.set_num_threads(1)
        for seed in tqdm(parts.missing(), desc=job.name, unit="run", disable=None):
            parts.write(seed, _with_facts(job, train_virtual(job, seed, data)))
    return parts


def _launch(job: ConvergenceJob, program: Sequence[str]) -> None:
    """Run the two workers with one thread each, on this machine or between emulated nodes."""
    if job.link is None:
        hosts = f"localhost:{HOROVOD_WORKERS}"
        horovodrun.run(["-np", str(HOROVOD_WORKERS), "-H", hosts], program, 1, job.name)
        return
    environment = horovodrun.worker_environment(1)
    if job.cycle_milliseconds is not None:
        environment["HOROVOD_CYCLE_TIME"] = str(job.cycle_milliseconds)
    run_on_cluster(
        program, workers=HOROVOD_WORKERS, link=job.link, environment=environment, description=job.name
    )


def train_virtual(job: ConvergenceJob, seed: int, data: PreparedData) -> list[Row]:
    """Train one seed on virtual workers; returns the rows of the first."""
    # Built once: initial weights are drawn from torch's one global generator, which threads would share.
    model = build_model_for(data, job.model, job.densenet, seed)

    def work(collectives: Collectives) -> list[Row]:
        return train_replica(job, seed, data, copy.deepcopy(model), collectives, virtual=True)

    return run_workers(job.workers, work)[0]


def run_worker(job: ConvergenceJob) -> None:
    """Train every seed that is missing as one rank of a Horovod run; rank 0 keeps the rows of each."""
    import horovod.torch as hvd

    from horovod_gq.backend import HorovodCollectives

    hvd.init()
    torch.set_num_threads(1)
    data = load_prepared(job.data_folder)
    parts = FinishedSeeds(job, data.checksum)
    # Equal on both ranks: rank 0 writes the first part after it has trained that seed with the other.
    seeds = parts.missing()
    for done, seed in enumerate(seeds, start=1):
        model = build_model_for(data, job.model, job.densenet, seed)
        rows = train_replica(job, seed, data, model, HorovodCollectives(), virtual=False)
        if hvd.rank() == 0:
            parts.write(seed, _with_facts(job, rows))
        report_progress(hvd.rank(), done, len(seeds))
    hvd.shutdown()


def _with_facts(job: ConvergenceJob, rows: list[Row]) -> list[Row]:
    facts = {"model": job.model, "global_batch_size": job.global_batch_size}
    return [row | facts | provenance("cpu") for row in rows]
