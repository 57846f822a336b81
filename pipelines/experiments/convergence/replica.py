"""One worker of a convergence run, over Horovod or among virtual workers."""

import time
from functools import partial

import torch
from torch import nn

from horovod_gq.collectives import Collectives
from pipelines.data import PreparedData, Split, training_batches
from pipelines.experiments.convergence.job import ConvergenceJob
from pipelines.parallel.run.replicas import average_buffers
from pipelines.parallel.step import parallel_step
from pipelines.parallel.strategies import build_strategy
from pipelines.parallel.strategy import Channel
from pipelines.results import Row
from pipelines.training import (
    DivergedError,
    build_optimizer,
    loss_and_accuracy,
    predict_logits,
    settle_statistics,
    train_epoch,
)

CPU = torch.device("cpu")


def train_replica(
    job: ConvergenceJob,
    seed: int,
    data: PreparedData,
    model: nn.Module,
    collectives: Collectives,
    *,
    virtual: bool,
) -> list[Row]:
    """Train one worker's replica `model`, in place; returns a row a scored epoch (equal scores on all workers).

    A row's `sent_megabytes` is what this worker has sent so far, `seconds` the time since the first step,
    `train_loss` the mean over the epoch of this worker's own batches.
    Raises DivergedError where the loss stops being finite.
    """
    recipe = job.recipe_of(seed)
    strategy, _ = build_strategy(job.method, job.params)
    channel = Channel(collectives=collectives if virtual else None, scope=f"seed{seed}.")
    optimizer = strategy.attach(model, build_optimizer(model, recipe), channel)
    batches = training_batches(
        data,
        recipe.batch_size,
        seed=seed,
        device=CPU,
        augment=recipe.augment,
        rank=collectives.rank,
        num_workers=collectives.workers,
    )
    step = partial(parallel_step, model, optimizer, strategy)
    rows: list[Row] = []
    sent_bytes, seconds = 0.0, 0.0
    for epoch in range(recipe.epochs):
        start = time.perf_counter()
        try:
            loss = train_epoch(batches, optimizer, recipe, epoch, step)
        except DivergedError as error:
            rate = job.recipe.learning_rate
            raise DivergedError(f"{job.name}: {error}; lower {job.rate_key} (now {rate})") from None
        seconds += time.perf_counter() - start
        sent_bytes += strategy.step_cost().sent_bytes
        settle_statistics(model, (images for images, _ in batches))
        average_buffers(model, collectives, f"seed{seed}.")
        if job.scores_every_epoch or epoch + 1 == recipe.epochs:
            row: Row = {"method": job.method, "workers": job.workers, "seed": seed}
            row |= {"epoch": epoch + 1, "steps": (epoch + 1) * len(batches)}
            row |= {"seconds": None if virtual else seconds, "sent_megabytes": sent_bytes / 1e6}
            rows.append(row | {"train_loss": loss} | scores(model, data, collectives, f"seed{seed}."))
    return rows


def scores(model: nn.Module, data: PreparedData, collectives: Collectives, scope: str = "") -> Row:
    """Return the loss and the accuracy on the test part, of which each worker predicts a share by its equal replica.

    One collective, named `scope` + "logits": call it on all.
    """
    test = data.test
    first, last = (
        len(test) * place // collectives.workers for place in (collectives.rank, collectives.rank + 1)
    )
    share = Split(images=test.images[first:last], labels=test.labels[first:last])
    logits = torch.zeros(len(test), data.num_classes)
    if len(share):
        logits[first:last] = predict_logits(model, share, data, batch_size=512, device=CPU)
    logits = collectives.start_sum(logits, f"{scope}logits").wait()
    loss, accuracy = loss_and_accuracy(logits, test.labels)
    return {"test_loss": loss, "test_accuracy": accuracy}
