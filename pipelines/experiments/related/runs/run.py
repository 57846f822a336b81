"""One system on one data set: train, measure, train on two workers, write the rows."""

import shutil
from collections.abc import Sequence
from functools import partial

from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.found import keep_found
from pipelines.experiments.related.runs.measure import measure
from pipelines.experiments.related.runs.searches import found_fields, search_rows
from pipelines.experiments.related.runs.trials import Trial, Trials, train_variants
from pipelines.experiments.related.runs.workers import run_workers, train_on_workers
from pipelines.experiments.study.runs.compare import tuning_row
from pipelines.experiments.study.runs.outcome import num_processes
from pipelines.experiments.study.runs.pool import kept_pool, run_all
from pipelines.experiments.study.runs.worker import load_once
from pipelines.parallel.run import horovodrun
from pipelines.results import Row, write_json


def run(job: RelatedJob, program: Sequence[str]) -> list[Row]:
    """Be a worker of `job` where horovodrun has started this process; else do all, and return the rows.

    `program` is a worker's command line, as arguments of Python. Writes `job.result_file`: a row a tried rate
    (experiment `tuning`, without test figures), one a variant and seed (`run`), those of its curve where it has one
    (`curve`), one a variant that could not be trained (`missing`) and one a generation of a search (`search`). The best
    network of each variant with a search goes to `found_folder(job)`. An interrupted call goes on from what stands in
    `job.checkpoints`, which is removed at the end.
    """
    if horovodrun.is_worker():
        run_workers(job)
        return []
    with kept_pool(num_processes([job.recipe.device, job.evaluate.device])):
        trials = train_variants(job)
        on_workers = train_on_workers(job, trials, program)
        all_measured = measure_all(job, trials)
    rows = _tuning_rows(job, trials)
    for key, measured in zip(trials.repeated, all_measured, strict=True):
        row = measured | on_workers.get(key, {}) | found_fields(trials.found.get(key))
        curve = row.pop("curve", [])
        own = {"system": job.system.name, "data": job.data, "variant": key[0], "seed": key[1]}
        rows += [row, *({"experiment": "curve"} | own | point for point in curve)]
    rows += [
        {
            "experiment": "missing",
            "system": job.system.name,
            "data": job.data,
            "variant": name,
            "reason": reason,
        }
        for name, reason in trials.missing.items()
    ]
    rows += search_rows(job, trials.found)
    keep_found(job, trials)
    # A data set that stands in for that of the job has another name of its own.
    rows = [row | {"data": job.data, "prepared": load_once(job.data_folder).name} for row in rows]
    write_json(job.result_file, rows)
    shutil.rmtree(job.checkpoints)
    return rows


def measure_all(job: RelatedJob, trials: Trials) -> list[Row]:
    """Return `measure` of every repeated training, in order; in parallel, so a network is timed on one of the cores."""
    return run_all(
        partial(measure, job),
        list(trials.repeated.values()),
        num_processes=num_processes([job.recipe.device, job.evaluate.device]),
        description=f"{job.name}: measures",
    )


def _tuning_rows(job: RelatedJob, trials: Trials) -> list[Row]:
    """Return a row a rate that was tried, `chosen` where it was the best of its variant."""

    def row(name: str, index: int, trial: Trial) -> Row:
        own = {"system": job.system.name, "variant": name}
        return tuning_row(trial.trained, chosen=trials.chosen.get(name) == index) | own

    return [
        row(name, index, trial) for name, tried in trials.tried.items() for index, trial in enumerate(tried)
    ]
