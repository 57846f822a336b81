"""The variants trained by two Horovod workers: real ranks, by the same worker as the main pipeline's runs.

One launch trains all that a system has on a data set, one after the other, so that the start of Horovod is paid once.
The workers read from a plan what to train: the choices of the runs before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.data import PreparedData
from pipelines.entry import NON_FINITE
from pipelines.errors import UserError
from pipelines.experiments.related.job import RelatedJob, VariantTraining
from pipelines.experiments.related.runs.measure import WORKERS
from pipelines.experiments.related.runs.searches import Key
from pipelines.experiments.related.runs.trials import Trial, Trials
from pipelines.experiments.study.runs.worker import load_once
from pipelines.parallel import DistributedConfig, Job
from pipelines.parallel.run import horovodrun
from pipelines.parallel.strategies import build_strategy
from pipelines.results import Row, read_json, write_json
from pipelines.tracking import TrackingConfig
from pipelines.training import Judge, Objective

WARMUP_STEPS = 2
UNTRACED = {"trace_batch_size": 1, "trace_warmup_steps": 0, "trace_steps": 1}
"""Of no effect: these runs record no trace."""
WAITS = {
    "silence_warning_seconds": 15,
    "silence_error_seconds": 45,
    "stall_warning_seconds": 60,
    "stall_error_seconds": 1800,
}
"""As in the section `distributed`, which is no parameter of this pipeline."""
KEPT = {
    "test_accuracy": "workers_test_accuracy",
    "test_loss": "workers_test_loss",
    "wire_bytes_per_step": "workers_bytes_per_step",
    "train_seconds": "workers_train_seconds",
    "step_seconds_median": "workers_step_seconds_median",
    "communication_seconds_median": "workers_communication_seconds_median",
}
"""What of the row of a distributed run goes into the variant's, by its name there."""


@dataclass(frozen=True, kw_only=True)
class VariantJob(Job):
    """One training of a variant by the workers."""

    training: VariantTraining
    folder: Path

    @property
    def name(self) -> str:
        """Name of the run, as in its files: VARIANT-SEED."""
        return f"{self.training.variant}-{self.training.recipe.seed}"

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of the rank checkpoints during the run and of the final weights after it."""
        return self.folder / self.name

    @property
    def result_file(self) -> Path:
        """JSON file of the run's row."""
        return self.folder / f"{self.name}.json"

    @property
    def history_file(self) -> Path:
        """CSV file with a row per epoch."""
        return self.folder / f"{self.name}.csv"

    @property
    def records_trace(self) -> bool:
        """Nobody simulates these runs."""
        return False

    def load_data(self) -> PreparedData:
        """Return the images after the variant's transform."""
        return self.training.inputs(load_once(self.data_folder))

    def build_model(self, data: PreparedData) -> nn.Module:
        """Build the network to train, the same on every worker."""
        return self.training.build(data)

    def objective(self, data: PreparedData) -> Objective | None:
        """Return what the steps minimise."""
        return self.training.objective(data)

    def judge(self, data: PreparedData) -> Judge | None:
        """Return what epochs are judged by."""
        return self.training.judge(data)

    def fingerprint(self, method_entry: dict[str, Any], data_checksum: str, num_workers: int) -> str:
        """Return a digest of all that a resumed run must share with the interrupted one."""
        own = super().fingerprint(method_entry, data_checksum, num_workers)
        data = self.load_data()
        key = self.training.key(self.build_model(data), data)
        return hashlib.sha256(f"{own} {key}".encode()).hexdigest()


def train_on_workers(job: RelatedJob, trials: Trials, program: Sequence[str]) -> dict[Key, Row]:
    """Train what `related.worker_seeds` say on two workers; return the fields for the rows by variant and seed.

    `program` is the command line of a worker, as arguments of Python. A variant whose training diverges gets
    `workers_reason` instead of numbers. Finished runs of an interrupted call are not trained again. Raises UserError
    where the workers fail otherwise.
    """
    planned = {
        key: trial
        for key, trial in trials.repeated.items()
        if key[1] in job.shared.worker_seeds
        and not trial.diverged
        and trial.training.declared.trains_on_workers
    }
    write_json(plan_file(job), [_entry(trial) for trial in planned.values()])
    jobs = [_job_of(job, trial.training) for trial in planned.values()]
    _drop_stale(jobs)
    while remaining := [one for one in jobs if not one.result_file.exists()]:
        try:
            hosts = f"localhost:{WORKERS}"
            horovodrun.run(["-np", str(WORKERS), "-H", hosts], program, 1, f"{job.name}: two workers")
        except UserError as error:
            failed = next((one for one in remaining if not one.result_file.exists()), None)
            if failed is None or not _diverged(failed, str(error)):
                raise
            write_json(failed.result_file, {"reason": str(error)} | _stamp(failed))
    return {key: _fields(read_json(one.result_file)) for key, one in zip(planned, jobs, strict=True)}


def run_workers(job: RelatedJob) -> None:
    """Be one rank: train all that the plan says and that is not finished, in its order."""
    import horovod.torch as hvd

    from pipelines.parallel.run.worker import train_worker

    hvd.init()
    jobs = [_job_of(job, _training_of(job, entry)) for entry in read_json(plan_file(job))]
    # Equal on both ranks: rank 0 writes the first result after it has trained that run with the other.
    for one in [one for one in jobs if not one.result_file.exists()]:
        train_worker(one)
        if hvd.rank() == 0:
            write_json(one.result_file, read_json(one.result_file) | _stamp(one))
    hvd.shutdown()


def plan_file(job: RelatedJob) -> Path:
    """Return the file that tells the workers what to train."""
    return job.checkpoints / "workers" / "plan.json"


def _entry(trial: Trial) -> Row:
    """Return what a training is determined by beside the parameter file, its source included."""
    training = trial.training
    entry: Row = {
        "variant": training.variant,
        "model": training.model,
        "seed": training.recipe.seed,
        "learning_rate": training.recipe.learning_rate,
        "source": None,
        "source_folder": None,
    }
    if training.source is not None:
        nested = Trial(training=training.source, trained=trial.trained)
        entry |= {"source": _entry(nested), "source_folder": str(training.source_folder)}
    return entry


def _training_of(job: RelatedJob, entry: Row) -> VariantTraining:
    """Return the training that `_entry` was made of."""
    return job.training(
        job.system.variant(entry["variant"]),
        model=entry["model"],
        seed=entry["seed"],
        learning_rate=entry["learning_rate"],
        source=_training_of(job, entry["source"]) if entry["source"] else None,
        source_folder=Path(entry["source_folder"]) if entry["source_folder"] else None,
    )


def _job_of(job: RelatedJob, training: VariantTraining) -> VariantJob:
    """Return the training as a distributed run with the same global batch, rate and epochs."""
    recipe = training.recipe
    distributed = DistributedConfig(
        models=(training.model,),
        methods=(job.shared.compressed,),
        workers=WORKERS,
        hosts=None,
        network_interface=None,
        batch_size=max(1, recipe.batch_size // WORKERS),
        epochs=recipe.epochs,
        warmup_steps=WARMUP_STEPS,
        local_steps=1,
        threads_per_worker=1,
        **UNTRACED,
        **WAITS,
    )
    return VariantJob(
        params=job.params,
        model=training.model,
        method=job.shared.compressed,
        distributed=distributed,
        tracking=TrackingConfig(enabled=False, experiment="gqbench", store="unused", log_models=False),
        recipe=recipe,
        densenet=training.densenet,
        data_folder=training.data_folder,
        training=training,
        folder=plan_file(job).parent,
    )


def _stamp(one: VariantJob) -> Row:
    """Return what tells whether a result is of this very run."""
    _, entry = build_strategy(one.method, one.params)
    return {"fingerprint": one.fingerprint(entry, one.load_data().checksum, WORKERS)}


def _drop_stale(jobs: Sequence[VariantJob]) -> None:
    """Remove results that an interrupted call with other parameters or data has left."""
    for one in jobs:
        if one.result_file.exists() and not _stamp(one).items() <= read_json(one.result_file).items():
            one.result_file.unlink()


def _diverged(failed: VariantJob, message: str) -> bool:
    """Tell whether the workers ended because a loss or a gradient of this run was not finite."""
    return message.startswith(f"{failed.name}, rank ") or message == NON_FINITE


def _fields(row: Row) -> Row:
    if "reason" in row:
        return {"workers_reason": row["reason"]}
    return {own: row[key] for key, own in KEPT.items()}
