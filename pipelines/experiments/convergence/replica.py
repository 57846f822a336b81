"""One worker of a convergence run, over Horovod or among virtual workers."""

import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from horovod_gq.collectives import Collectives
from pipelines.data import Batches, PreparedData
from pipelines.errors import UserError
from pipelines.experiments.convergence.job import ConvergenceJob
from pipelines.models import build_model
from pipelines.parallel.run.replicas import average_buffers
from pipelines.parallel.strategies import build_strategy
from pipelines.parallel.strategy import Channel, Strategy
from pipelines.results import Row
from pipelines.training import (
    RecipeConfig,
    build_optimizer,
    learning_rate_at,
    predict_logits,
    set_learning_rate,
    settle_statistics,
)

CPU = torch.device("cpu")


def make_model(job: ConvergenceJob, seed: int, data: PreparedData) -> nn.Module:
    """Build the model that all workers of a run start from.

    Not for several threads at once: initial weights are drawn from torch's one global generator.
    """
    return build_model(
        job.model,
        num_channels=data.num_channels,
        num_classes=data.num_classes,
        image_size=data.image_size,
        densenet=job.densenet,
        seed=seed,
    ).train()


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
    Raises UserError where the loss stops being finite.
    """
    recipe = job.recipe_of(seed)
    strategy, _ = build_strategy(job.method, job.params)
    channel = Channel(collectives=collectives if virtual else None, scope=f"seed{seed}.")
    optimizer = strategy.attach(model, build_optimizer(model, recipe), channel)
    batches = make_batches(data, recipe, seed, collectives)
    rows: list[Row] = []
    sent_bytes, seconds = 0.0, 0.0
    for epoch in range(recipe.epochs):
        start = time.perf_counter()
        loss = train_epoch(model, optimizer, strategy, recipe, batches, epoch)
        seconds += time.perf_counter() - start
        sent_bytes += strategy.step_cost().sent_bytes
        settle_statistics(model, (images for images, _ in batches))
        average_buffers(model, collectives, f"seed{seed}.")
        if job.scores_every_epoch or epoch + 1 == recipe.epochs:
            row: Row = {"method": job.method, "workers": job.workers, "seed": seed}
            row |= {"epoch": epoch + 1, "steps": (epoch + 1) * len(batches)}
            row |= {"seconds": None if virtual else seconds, "sent_megabytes": sent_bytes / 1e6}
            rows.append(row | scores(model, data, loss, job))
    return rows


def make_batches(data: PreparedData, recipe: RecipeConfig, seed: int, collectives: Collectives) -> Batches:
    """Return this worker's part of the training images."""
    return Batches(
        data.train,
        recipe.batch_size,
        mean=data.mean,
        std=data.std,
        seed=seed,
        device=CPU,
        augment=recipe.augment,
        shuffle=True,
        drop_last=True,
        rank=collectives.rank,
        num_workers=collectives.workers,
    )


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    strategy: Strategy,
    recipe: RecipeConfig,
    batches: Batches,
    epoch: int,
) -> torch.Tensor:
    """Train `model` for one epoch, in place, until all is applied; returns the mean loss of its steps."""
    batches.set_epoch(epoch)
    losses = []
    for index, (images, labels) in enumerate(batches):
        set_learning_rate(optimizer, learning_rate_at(recipe, epoch + index / len(batches)))
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        strategy.wait()
        strategy.update()
        losses.append(loss.detach())
    strategy.flush()
    return torch.stack(losses).mean()


def scores(model: nn.Module, data: PreparedData, train_loss: torch.Tensor, job: ConvergenceJob) -> Row:
    """Return the losses and the test accuracy of a replica; UserError where the training diverged."""
    logits = predict_logits(model, data.test, data, batch_size=512, device=CPU)
    if not bool(torch.isfinite(train_loss)):
        raise UserError(
            f"the training loss of {job.name} became {float(train_loss)}; "
            f"lower recipe.learning_rate (now {job.recipe.learning_rate})"
        )
    return {
        "train_loss": float(train_loss),
        "test_loss": float(cross_entropy(logits, data.test.labels)),
        "test_accuracy": float((logits.argmax(1) == data.test.labels).double().mean()),
    }
