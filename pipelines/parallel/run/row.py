"""The row of a distributed run: what it was, what its steps cost, what it learnt, where it ran."""

import math
import os
from typing import TYPE_CHECKING, Any

import horovod.torch as hvd
import numpy as np
import torch

from pipelines.parallel.metering.step_times import (
    as_array,
    interquartile_range,
    slowest_worker,
    summarise,
    window_means,
)
from pipelines.provenance import provenance

if TYPE_CHECKING:
    from pipelines.parallel.run.worker import Worker


def result_row(worker: "Worker", identical: bool) -> dict[str, Any]:
    """Assemble the run's flat row (a collective: the step times of all workers are gathered).

    Times and bytes are those of the steps after the warm-up, and where frozen layers are released after the last
    release; then `frozen_wire_bytes_per_step` are those before the first one.
    """
    config = worker.job.distributed
    warmup = min(worker.first_timed_step, len(worker.steps) - 1)
    times = np.stack(hvd.allgather_object(as_array(worker.steps)))[:, warmup:]
    window = worker.strategy.steps_per_exchange
    local = np.stack(hvd.allgather_object(np.array(worker.reference.seconds))).max(axis=0).tolist()
    test_loss, test_accuracy = worker.evaluate(worker.data.test)
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
        **_frozen_fields(worker),
        "num_parameters": worker.num_parameters,
        "train_seconds": float(sum(row["seconds"] for row in worker.history)),
        "train_loss": worker.history[-1]["train_loss"],
        "validation_accuracy": _known(worker.history[-1]["validation_accuracy"]),
        "test_loss": test_loss,
        "test_accuracy": _known(test_accuracy),
        "replicas_identical": identical,
        "seed": worker.recipe.seed,
        "data": worker.data.name,
        "data_checksum": worker.data.checksum,
        **provenance(worker.device),
    }


def _frozen_fields(worker: "Worker") -> dict[str, Any]:
    """Return what is said of layers that are frozen at first; nothing where none is."""
    if not worker.freezing.releases:
        return {}
    gradients = {name: p.numel() * p.element_size() for name, p in worker.model.named_parameters()}
    row: dict[str, Any] = {
        "frozen_gradient_bytes": sum(gradients[name] for name in worker.freezing.frozen_in(0))
    }
    first_release = min(worker.freezing.release_epochs, default=0) * len(worker.batches)
    if before := worker.bytes[worker.job.distributed.warmup_steps : first_release]:
        row["frozen_wire_bytes_per_step"] = float(np.median([handed for handed, _ in before]))
    return row


def _known(accuracy: float) -> float | None:
    """Return an accuracy, None for that of a network that is no classifier: JSON knows no nan."""
    return None if math.isnan(accuracy) else accuracy
