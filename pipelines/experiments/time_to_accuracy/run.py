"""Train a model by several methods in turn, seed by seed."""

from collections.abc import Sequence
from dataclasses import replace

from pipelines.config.show import show
from pipelines.data import load_prepared
from pipelines.errors import UserError
from pipelines.experiments.convergence.finished_seeds import FinishedSeeds
from pipelines.experiments.convergence.job import ConvergenceJob
from pipelines.experiments.convergence.run import run_worker, train_missing
from pipelines.parallel.run import horovodrun


def run(jobs: Sequence[ConvergenceJob], seed: int | None, program: Sequence[str]) -> None:
    """Be a worker of the one job and seed where horovodrun has started this process; else train what is missing.

    The methods take turns, so that a machine that is slower for an hour is so for all of them. A job's result is
    written once all its seeds are finished. `program` is this command line, which takes `--method` and `--seed`.

    Args:
        jobs: of one model, an entry a method, with the same seeds.
        seed: which one alone; None: all.
        program: as arguments of Python.

    Raises UserError for a seed that the jobs do not have, or with the line of the worker that failed.
    """
    seeds = jobs[0].seeds
    if seed is not None and seed not in seeds:
        known = ", ".join(map(str, seeds))
        raise UserError(f"--seed: {show(seed)} is not allowed; allowed: time_to_accuracy.seeds, {known}")
    chosen = seeds if seed is None else (seed,)
    if horovodrun.is_worker():
        (job,) = jobs
        run_worker(replace(job, seeds=chosen))
        return
    for one in chosen:
        for job in jobs:
            options = ["--method", job.method, "--seed", str(one)]
            train_missing(replace(job, seeds=(one,)), [*program, *options])
    checksum = load_prepared(jobs[0].data_folder).checksum
    for finished in (FinishedSeeds(job, checksum) for job in jobs):
        if not finished.missing():
            finished.join()
