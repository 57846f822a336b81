"""One worker (Horovod rank) of a distributed run: trains, times every step, rank 0 writes the row."""

import time
from dataclasses import asdict

import horovod.torch as hvd
import torch
from horovod.common.exceptions import HorovodInternalError

from horovod_gq.backend import HorovodCollectives
from pipelines.config.show import one_line
from pipelines.data import Split, training_batches
from pipelines.errors import UserError
from pipelines.models import count_parameters
from pipelines.parallel.metering.metered import seconds_now
from pipelines.parallel.metering.step_times import StepTimes
from pipelines.parallel.run import agreement, checkpoint, heartbeat, replicas
from pipelines.parallel.run.failure import LOST_THE_OTHERS
from pipelines.parallel.run.job import Job
from pipelines.parallel.run.local_steps import LocalReference
from pipelines.parallel.run.progress import report_progress
from pipelines.parallel.run.row import result_row
from pipelines.parallel.run.traces import write_traces
from pipelines.parallel.step import parallel_step
from pipelines.parallel.strategies import build_strategy
from pipelines.results import write_csv, write_json
from pipelines.tracking import NullTracker, Role, Tracker, open_run
from pipelines.tracking.vocabulary import DISTRIBUTED_METRICS, chosen, distributed_params, distributed_run
from pipelines.training import (
    DivergedError,
    StepFacts,
    build_optimizer,
    loss_and_score,
    plan_freezing,
    settle_statistics,
    train_epoch,
    training_mode,
)
from pipelines.training.checkpoint import generators_of, restore_generators

PEER_SECONDS = 5.0
"""How long a rank that has lost another one waits for the launcher to end it. Not longer: the other one may itself be
waiting for this one to end."""


class Worker:
    """The state of one rank: model, strategy, batches, and what was measured so far."""

    def __init__(self, job: Job) -> None:
        config = job.distributed
        self.job = job
        self.rank, self.num_workers = hvd.rank(), hvd.size()
        self.device = (
            torch.device("cuda", hvd.local_rank()) if torch.cuda.is_available() else torch.device("cpu")
        )
        torch.set_num_threads(config.threads_per_worker)
        self.data = job.load_data()
        _, self.method_entry = build_strategy(job.method, job.params)
        agreement.check(agreement.facts_of(job, self.method_entry, self.data.checksum))
        job.check_batch_size(len(self.data.train), self.num_workers)
        self.recipe = job.recipe_for(self.num_workers)
        self.model = job.build_model(self.data).to(self.device)
        self.objective, self.judge = job.objective(self.data), job.judge(self.data)
        self.batches = training_batches(
            self.data,
            config.batch_size,
            seed=self.recipe.seed,
            device=self.device,
            augment=self.recipe.augment,
            rank=self.rank,
            num_workers=self.num_workers,
        )
        replicas.start_alike(self.model, self.batches)
        self.num_parameters = count_parameters(self.model)
        self.freezing = plan_freezing(self.model, self.recipe)
        self.epoch = 0
        self.reference_seconds = 0.0  # of the epoch, spent on steps that are no training
        self.history: list[dict[str, float | int]] = []
        self.steps: list[StepTimes] = []
        self.bytes: list[tuple[int, float]] = []  # of each step: handed to the collectives, sent by a ring
        self.fingerprint = job.fingerprint(self.method_entry, self.data.checksum, self.num_workers)
        self.attach(epoch=0)

    def attach(self, epoch: int) -> None:
        """Begin to exchange the gradients of what epoch number `epoch`, from 0, trains of the model."""
        self.freezing.apply(self.model, epoch)
        self.reference = LocalReference(
            self.model,
            self.recipe,
            next(iter(self.batches.indexed())),
            objective=self.objective,
            num_steps=self.job.distributed.local_steps,
            first=min(self.first_timed_step, self.total_steps - 1),
            total=self.total_steps,
        )
        self.strategy, _ = build_strategy(self.job.method, self.job.params)
        self.optimizer = self.strategy.attach(self.model, build_optimizer(self.model, self.recipe))

    def release(self, epoch: int) -> None:
        """Begin the exchange anew where epoch number `epoch`, from 0, trains more layers than the one before.

        Weights, statistics and the optimizer's momentum go on; what a strategy keeps by itself, residuals, scales and
        choices, begins anew on every worker. Nothing is under way: an epoch ends with a flush.
        """
        if self.freezing.is_applied(self.model, epoch):
            return
        before, optimizer_state = self.model, self.optimizer.state_dict()
        # A model of its own: the old one has the hooks of the old strategy.
        self.model = self.job.build_model(self.data).to(self.device)
        self.model.load_state_dict(before.state_dict())
        states = {name: own.get_state() for name, own in generators_of(before).items()}
        restore_generators(self.model, states)
        self.attach(epoch)
        optimizer_state.pop("gq", None)  # its buckets are others now
        self.optimizer.load_state_dict(optimizer_state)

    def resume(self) -> None:
        """Continue after the last epoch that every rank has on disk, if there is one."""
        payload = checkpoint.load_common(self.job.checkpoint_folder, self.fingerprint)
        if payload is None:
            return
        self.release(payload["epoch"] - 1)  # what the run had released when it was saved
        self.model.load_state_dict(payload["model"])
        self.optimizer.load_state_dict(payload["optimizer"])
        self.strategy.load_state_dict(payload["strategy"])
        self.epoch = payload["epoch"]
        self.history = payload["history"]
        self.steps = [StepTimes(*step) for step in payload["steps"]]
        self.bytes = payload["bytes"]
        self.reference.recorder.samples = payload["local_samples"]

    def save(self) -> None:
        """Write this rank's checkpoint of the finished epoch."""
        payload = {
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "strategy": self.strategy.state_dict(),
            "epoch": self.epoch,
            "history": self.history,
            "steps": [tuple(asdict(step).values()) for step in self.steps],
            "bytes": self.bytes,
            "local_samples": self.reference.recorder.samples,
        }
        checkpoint.save(self.job.checkpoint_folder, self.epoch, payload)

    def train_epoch(self) -> dict[str, float | int]:
        """Train one epoch; returns its history row (losses averaged over the workers)."""
        self.release(self.epoch)
        training_mode(self.model)
        self.reference_seconds = 0.0
        begin = seconds_now(self.device)
        try:
            loss = train_epoch(self.batches, self.optimizer, self.recipe, self.epoch, self.train_step)
        except DivergedError as error:
            raise DivergedError(
                f"{self.job.name}, rank {self.rank}: {error} in epoch {self.epoch + 1}; "
                f"lower recipe.learning_rate (now {self.job.recipe.learning_rate})"
            ) from None
        seconds = seconds_now(self.device) - begin - self.reference_seconds
        settle_statistics(self.model, (images for images, _ in self.batches))
        mean_loss = hvd.allreduce(torch.tensor(loss, dtype=torch.float64), name="loss", op=hvd.Average)
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": float(mean_loss),
            "seconds": seconds,
        }

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.job.distributed.epochs * len(self.batches)

    @property
    def first_timed_step(self) -> int:
        """Index of the first step whose times and bytes count: those before are warm-up, or train fewer layers."""
        last_release = max(self.freezing.release_epochs, default=0)
        return last_release * len(self.batches) + self.job.distributed.warmup_steps

    def train_step(
        self, images: torch.Tensor, labels: torch.Tensor, *, facts: StepFacts, last: bool
    ) -> torch.Tensor:
        """Make one step and record its parts; returns the loss. The `last` of an epoch applies what is under way."""
        self.reference_seconds += self.reference.maybe_step(len(self.steps))
        start = seconds_now(self.device)
        loss = parallel_step(
            self.model,
            self.optimizer,
            self.strategy,
            images,
            labels,
            last=last,
            facts=facts,
            objective=self.objective,
        )
        end = seconds_now(self.device)
        cost = self.strategy.step_cost()
        communication = cost.communication_seconds
        self.steps.append(
            StepTimes(
                step=end - start,
                compute=end - start - cost.encode_seconds - cost.decode_seconds - communication,
                encode=cost.encode_seconds,
                communication=communication,
                decode=cost.decode_seconds,
            )
        )
        self.bytes.append((cost.wire_bytes, cost.sent_bytes))
        heartbeat.report_steps(len(self.steps))
        report_progress(self.rank, len(self.steps), self.total_steps)
        return loss

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return loss and accuracy of this rank's model on a split of the data; nan where it is no classifier."""
        return loss_and_score(
            self.model, split, self.data, batch_size=512, device=self.device, judge=self.judge
        )


def run_worker(job: Job) -> None:
    """Be this Horovod rank of `job`, with signs of life; see `train_worker`."""
    strategy, _ = build_strategy(job.method, job.params)
    hvd.init(process_sets="dynamic" if strategy.needs_process_sets else None)
    heartbeat.start()
    try:
        train_worker(job)
    finally:
        heartbeat.leave()
    hvd.shutdown()


def train_worker(job: Job) -> None:
    """Train `job` on this rank, Horovod being initialised; rank 0 writes the row, the history and the final weights.

    Writes `job.result_file`, `job.history_file`, the traces and `job.checkpoint_folder`/model.pt. Raises UserError
    where another rank has been lost.
    """
    try:
        _train(job)
    except HorovodInternalError as error:
        # The launcher ends this rank as soon as it has seen the other one end, and names that one.
        time.sleep(PEER_SECONDS)
        raise UserError(f"{job.name}: rank {hvd.rank()} {LOST_THE_OTHERS}: {one_line(error)}") from None


def _train(job: Job) -> None:
    worker = Worker(job)
    worker.resume()
    tags = {
        "model": job.model,
        "method": job.method,
        "seed": job.recipe.seed,
        "data_checksum": worker.data.checksum,
    }
    if worker.rank == 0:
        resumes = worker.epoch > 0
        with open_run(
            job.tracking, "distributed", job.name, tags, role=Role.METHOD, resumes=resumes
        ) as tracker:
            run(worker, tracker)
    else:
        run(worker, NullTracker())


def run(worker: Worker, tracker: Tracker) -> None:
    """Train what is left of the worker's run; rank 0 writes its results and logs them.

    Raises RuntimeError where the replicas of a synchronous run differ at the end; its checkpoints are removed.
    """
    job = worker.job
    tracker.log_dataset(worker.data.name, worker.data.checksum, worker.data.sizes, "training")
    tracker.log_params(
        distributed_params(
            model=job.model,
            method=job.method,
            entry=worker.method_entry,
            data=worker.data.name,
            workers=worker.num_workers,
            batch_size=job.distributed.batch_size,
            epochs=job.distributed.epochs,
            seed=worker.recipe.seed,
            learning_rate=worker.recipe.learning_rate,
        )
    )
    tracker.log_params(
        {
            "method": worker.method_entry,
            "distributed": asdict(job.distributed),
            "recipe": asdict(job.recipe),
        }
    )
    while worker.epoch < job.distributed.epochs:
        row = worker.train_epoch()
        replicas.average_buffers(worker.model, HorovodCollectives())
        row["validation_loss"], row["validation_accuracy"] = worker.evaluate(worker.data.validation)
        worker.history.append(row)
        worker.save()
        tracker.log_history(worker.history)
    identical = replicas.replicas_identical(worker.model)
    if worker.strategy.replicas_identical and not identical:
        checkpoint.discard(job.checkpoint_folder)  # going on from there could only end here again
        raise RuntimeError(f"{job.name}: the workers' parameters differ after a synchronous run")
    row = result_row(worker, identical)
    if worker.rank == 0:
        if job.records_trace:
            write_traces(worker)
        write_json(job.result_file, row)
        write_csv(job.history_file, worker.history)
        tracker.log_history(worker.history)
        tracker.log_params(distributed_run(row).params)
        tracker.log_metrics(chosen(row, DISTRIBUTED_METRICS))
    # Its barrier is where the others wait while rank 0 records what the codec costs.
    checkpoint.finish(job.checkpoint_folder, worker.model.state_dict())
