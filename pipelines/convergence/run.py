"""Run all seeds of a job: on two Horovod workers, or on N virtual ones in this process."""

import copy
from collections.abc import Sequence

import torch
from tqdm import tqdm

from horovod_gq.collectives import Collectives
from pipelines.convergence.job import ConvergenceJob
from pipelines.convergence.replica import make_model, train_replica
from pipelines.data import PreparedData, load_prepared
from pipelines.parallel import horovodrun
from pipelines.parallel.progress import report_progress
from pipelines.parallel.strategy import build_strategy
from pipelines.parallel.virtual import run_workers
from pipelines.provenance import provenance
from pipelines.results import Row, write_json

HOROVOD_WORKERS = 2
"""More would share this machine's cores; they run as threads of one process instead."""


def run(job: ConvergenceJob, program: Sequence[str]) -> None:
    """Train every seed and write all rows to `job.result_file`; `program` is the command line of a worker.

    Raises UserError where a method cannot carry the workers, or with the line of the worker that failed.
    """
    build_strategy(job.method, job.params)
    data = load_prepared(job.data_folder)
    if job.workers == HOROVOD_WORKERS:
        hosts = f"localhost:{HOROVOD_WORKERS}"
        horovodrun.run(["-np", str(HOROVOD_WORKERS), "-H", hosts], program, 1, job.name)
        return
    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed in tqdm(job.seeds, desc=job.name, unit="run", disable=None):
        rows += train_virtual(job, seed, data)
    _write(job, rows)


def train_virtual(job: ConvergenceJob, seed: int, data: PreparedData) -> list[Row]:
    """Train one seed on virtual workers; returns the rows of the first."""
    model = make_model(job, seed, data)

    def work(collectives: Collectives) -> list[Row]:
        return train_replica(job, seed, data, copy.deepcopy(model), collectives, virtual=True)

    return run_workers(job.workers, work)[0]


def run_worker(job: ConvergenceJob) -> None:
    """Train every seed as one rank of a Horovod run; rank 0 writes the rows."""
    import horovod.torch as hvd

    from horovod_gq.backend import HorovodCollectives

    hvd.init()
    torch.set_num_threads(1)
    data = load_prepared(job.data_folder)
    rows: list[Row] = []
    for done, seed in enumerate(job.seeds, start=1):
        model = make_model(job, seed, data)
        rows += train_replica(job, seed, data, model, HorovodCollectives(), virtual=False)
        report_progress(hvd.rank(), done, len(job.seeds))
    if hvd.rank() == 0:
        _write(job, rows)
    hvd.shutdown()


def _write(job: ConvergenceJob, rows: list[Row]) -> None:
    facts = {"model": job.convergence.model, "global_batch_size": job.convergence.global_batch_size}
    write_json(job.result_file, [row | facts | provenance("cpu") for row in rows])
