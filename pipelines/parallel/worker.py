"""One worker (Horovod rank) of a distributed run: trains, times every step, rank 0 writes the row."""

import os
from dataclasses import asdict, replace
from typing import Any

import horovod.torch as hvd
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from horovod_gq.backend import HorovodCollectives
from pipelines.data import Batches, PreparedData, load_prepared
from pipelines.errors import UserError
from pipelines.models import build_model, count_parameters
from pipelines.parallel import checkpoint, replicas, strategies  # noqa: F401  registers the strategies
from pipelines.parallel.job import Job
from pipelines.parallel.metered import seconds_now
from pipelines.parallel.progress import report_progress
from pipelines.parallel.reference import LocalReference
from pipelines.parallel.strategy import build_strategy
from pipelines.parallel.times import (
    StepTimes,
    as_array,
    interquartile_range,
    slowest_worker,
    summarise,
    window_means,
)
from pipelines.provenance import provenance
from pipelines.results import write_csv, write_json
from pipelines.tracking import NullTracker, Role, Tracker, open_run
from pipelines.tracking.vocabulary import DISTRIBUTED_METRICS, chosen, distributed_params, distributed_run
from pipelines.training import (
    build_optimizer,
    learning_rate_at,
    predict_logits,
    set_learning_rate,
    settle_statistics,
)


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
        self.data: PreparedData = load_prepared(job.data_folder)
        job.check_batch_size(len(self.data.train), self.num_workers)
        scale = job.learning_rate_scale(self.num_workers)
        self.recipe = replace(
            job.recipe.over(config.epochs),
            batch_size=config.batch_size,
            learning_rate=job.recipe.learning_rate * scale,
        )
        self.model = self._build_model()
        self.strategy, self.method_entry = build_strategy(job.method, job.params)
        self.batches = self._batches()
        self.epoch = 0
        self.history: list[dict[str, float | int]] = []
        self.steps: list[StepTimes] = []
        self.bytes: list[tuple[int, float]] = []  # of each step: handed to the collectives, sent by a ring
        self.reference = LocalReference(
            self.model,
            self.recipe,
            next(iter(self.batches)),
            num_steps=config.local_steps,
            first=min(config.warmup_steps, self.total_steps - 1),
            total=self.total_steps,
        )
        self.optimizer = self.strategy.attach(self.model, build_optimizer(self.model, self.recipe))
        self.fingerprint = job.fingerprint(self.method_entry, self.data.checksum, self.num_workers)

    def _build_model(self) -> nn.Module:
        model = build_model(
            self.job.model,
            num_channels=self.data.num_channels,
            num_classes=self.data.num_classes,
            image_size=self.data.image_size,
            densenet=self.job.densenet,
            seed=self.recipe.seed,
        ).to(self.device)
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        return model

    def _batches(self) -> Batches:
        return Batches(
            self.data.train,
            self.recipe.batch_size,
            mean=self.data.mean,
            std=self.data.std,
            seed=self.recipe.seed,
            device=self.device,
            augment=self.recipe.augment,
            shuffle=True,
            drop_last=True,
            rank=self.rank,
            num_workers=self.num_workers,
        )

    def resume(self) -> None:
        """Continue after the last epoch that every rank has on disk, if there is one."""
        payload = checkpoint.load_common(self.job.checkpoint_folder, self.fingerprint)
        if payload is None:
            return
        self.model.load_state_dict(payload["model"])
        self.optimizer.load_state_dict(payload["optimizer"])
        self.strategy.load_state_dict(payload["strategy"])
        self.epoch = payload["epoch"]
        self.history = payload["history"]
        self.steps = [StepTimes(*step) for step in payload["steps"]]
        self.bytes = payload["bytes"]
        self.reference.seconds = payload["local_seconds"]

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
            "local_seconds": self.reference.seconds,
        }
        checkpoint.save(self.job.checkpoint_folder, self.epoch, payload)

    def train_epoch(self) -> dict[str, float | int]:
        """Train one epoch; returns its history row (losses averaged over the workers)."""
        self.model.train()
        self.batches.set_epoch(self.epoch)
        total_loss = torch.zeros((), dtype=torch.float64)
        reference_seconds = 0.0
        begin = seconds_now(self.device)
        for index, (images, labels) in enumerate(self.batches):
            rate = learning_rate_at(self.recipe, self.epoch + index / len(self.batches))
            set_learning_rate(self.optimizer, rate)
            reference_seconds += self.reference.maybe_step(len(self.steps))
            total_loss += self.train_step(images, labels, last=index + 1 == len(self.batches))
            report_progress(self.rank, self.epoch * len(self.batches) + index + 1, self.total_steps)
        seconds = seconds_now(self.device) - begin - reference_seconds
        settle_statistics(self.model, (images for images, _ in self.batches))
        mean_loss = float(hvd.allreduce(total_loss / len(self.batches), name="loss", op=hvd.Average))
        if not np.isfinite(mean_loss):
            raise UserError(
                f"the training loss of {self.job.name} became {mean_loss} in epoch {self.epoch + 1}; "
                f"lower recipe.learning_rate (now {self.job.recipe.learning_rate})"
            )
        self.epoch += 1
        return {"epoch": self.epoch, "learning_rate": rate, "train_loss": mean_loss, "seconds": seconds}

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.job.distributed.epochs * len(self.batches)

    def train_step(self, images: torch.Tensor, labels: torch.Tensor, *, last: bool) -> float:
        """Make one step and record its parts; returns the loss. The `last` of an epoch applies what is under way."""
        start = seconds_now(self.device)
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.strategy.wait()
        self.strategy.update()
        if last:
            self.strategy.flush()
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
        return float(loss.detach())

    def evaluate(self, split: str) -> tuple[float, float]:
        """Return loss and accuracy of this rank's model on a split."""
        labels = getattr(self.data, split).labels
        logits = predict_logits(
            self.model, getattr(self.data, split), self.data, batch_size=512, device=self.device
        )
        accuracy = (logits.argmax(1) == labels).double().mean()
        return float(cross_entropy(logits, labels)), float(accuracy)


def run_worker(job: Job) -> None:
    """Train `job` on this Horovod rank; rank 0 writes the row, the history and the final weights.

    Writes `job.result_file`, `job.history_file` and `job.checkpoint_folder`/model.pt.
    """
    hvd.init()
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
            _run(worker, tracker)
    else:
        _run(worker, NullTracker())
    hvd.shutdown()


def _run(worker: Worker, tracker: Tracker) -> None:
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
        row["validation_loss"], row["validation_accuracy"] = worker.evaluate("validation")
        worker.history.append(row)
        worker.save()
        tracker.log_history(worker.history)
    identical = replicas.replicas_identical(worker.model)
    if worker.strategy.replicas_identical and not identical:
        raise RuntimeError(f"{job.name}: the workers' parameters differ after a synchronous run")
    row = result_row(worker, identical)
    if worker.rank == 0:
        write_json(job.result_file, row)
        write_csv(job.history_file, worker.history)
        tracker.log_history(worker.history)
        tracker.log_params(distributed_run(row).params)
        tracker.log_metrics(chosen(row, DISTRIBUTED_METRICS))
    checkpoint.finish(job.checkpoint_folder, worker.model.state_dict())


def result_row(worker: Worker, identical: bool) -> dict[str, Any]:
    """Assemble the run's flat row (a collective: the step times of all workers are gathered)."""
    config = worker.job.distributed
    warmup = min(config.warmup_steps, len(worker.steps) - 1)
    times = np.stack(hvd.allgather_object(as_array(worker.steps)))[:, warmup:]
    window = worker.strategy.steps_per_exchange
    local = np.stack(hvd.allgather_object(np.array(worker.reference.seconds))).max(axis=0).tolist()
    test_loss, test_accuracy = worker.evaluate("test")
    gradient_bytes = sum(p.numel() * p.element_size() for p in worker.model.parameters() if p.requires_grad)
    wire_bytes, sent_bytes = np.median(window_means(np.array(worker.bytes[warmup:]), window), axis=0).tolist()
    return {
        "model": worker.job.model,
        "method": worker.job.method,
        **worker.method_entry,
        "workers": worker.num_workers,
        "hosts": len(set(hvd.allgather_object(os.uname().nodename))),
        "batch_size_per_worker": config.batch_size,
        "threads_per_worker": torch.get_num_threads(),
        "epochs": config.epochs,
        "steps": len(worker.steps),
        "timed_steps": times.shape[1],
        **summarise(slowest_worker(window_means(times, window))),
        "local_step_seconds_median": float(np.median(local)),
        "local_step_seconds_iqr": interquartile_range(local),
        "wire_bytes_per_step": wire_bytes,
        "sent_bytes_per_step": sent_bytes,
        "gradient_bytes": gradient_bytes,
        "compression_ratio": gradient_bytes / wire_bytes,
        "num_parameters": count_parameters(worker.model),
        "train_seconds": float(sum(row["seconds"] for row in worker.history)),
        "train_loss": worker.history[-1]["train_loss"],
        "validation_accuracy": worker.history[-1]["validation_accuracy"],
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "replicas_identical": identical,
        "seed": worker.recipe.seed,
        "data": worker.data.name,
        "data_checksum": worker.data.checksum,
        **provenance(worker.device),
    }
