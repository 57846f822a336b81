"""The one loop that trains an epoch, and the one step that computes gradients; every way of training uses both."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.data import Batches
from pipelines.errors import UserError
from pipelines.training.config import RecipeConfig
from pipelines.training.optimizer import set_learning_rate
from pipelines.training.schedule import learning_rate_at


class DivergedError(UserError):
    """The loss of a training run is no longer finite."""


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """What an objective may know of a step beside the batch."""

    indices: Tensor
    """Places of the batch's images in the training part, int64 [b], on their device."""
    epoch: int
    """Epochs that are finished."""


class StepObjective(ABC):
    """An objective that depends on which images are in the batch, too, or on how far the training is.

    What it keeps between steps has to follow from the arguments: a resumed run and other workers make their own.
    """

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor, images: Tensor, facts: StepFacts) -> Tensor:
        """Return what is minimised, a scalar."""


Objective = Callable[[Tensor, Tensor, Tensor], Tensor] | StepObjective
"""What is minimised, a scalar, of logits float32 [b, classes], labels int64 [b] and images as the model takes them.

A network may return more than logits in training, behind them in the same rows: what its objective needs."""


class Step(Protocol):
    """One training step; what differs between ways of training (clocks, exchange, scores) is in here."""

    def __call__(self, images: Tensor, labels: Tensor, *, facts: StepFacts, last: bool) -> Tensor:
        """Train on a batch and return its loss, detached, a scalar; `last`: the epoch ends with this step."""
        ...


def train_epoch(
    batches: Batches, optimizer: torch.optim.Optimizer, recipe: RecipeConfig, epoch: int, step: Step
) -> float:
    """Make one step a batch of epoch number `epoch`, from 0; return the mean loss of the steps.

    Sets the recipe's learning rate before each step, in place.
    """
    batches.set_epoch(epoch)
    losses = []
    for index, (indices, images, labels) in enumerate(batches.indexed(), start=1):
        set_learning_rate(optimizer, learning_rate_at(recipe, epoch + (index - 1) / len(batches)))
        facts = StepFacts(indices=indices, epoch=epoch)
        losses.append(step(images, labels, facts=facts, last=index == len(batches)))
    return float(torch.stack(losses).double().mean())


def compute_gradients(
    forward: Callable[[Tensor], Tensor] | nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    autocast: torch.autocast | None = None,
    objective: Objective | None = None,
    facts: StepFacts | None = None,
) -> tuple[Tensor, Tensor]:
    """Set the gradients to those of the mean cross-entropy of a batch, or of another objective.

    Args:
        forward: the model, or a compiled form of it; returns logits [b, classes].
        optimizer: owner of the parameters, whose old gradients are dropped.
        images: float [b, c, h, w], as the model takes them.
        labels: int64 [b].
        autocast: context of the forward pass; None: none.
        objective: what is minimised; None: the mean cross-entropy.
        facts: of the step; a `StepObjective` needs them.

    Returns the loss, float32, and the logits, both detached. Raises DivergedError where the loss is not finite: before
    the backward pass, so that nothing of it reaches a gradient, a parameter or another worker.
    """
    optimizer.zero_grad()
    if autocast is None:
        logits = forward(images)
    else:
        with autocast:
            logits = forward(images)
    if objective is None:
        loss = functional.cross_entropy(logits.float(), labels)
    elif isinstance(objective, StepObjective):
        assert facts is not None  # every step of a training has them
        loss = objective(logits.float(), labels, images, facts)
    else:
        loss = objective(logits.float(), labels, images)
    if not bool(torch.isfinite(loss)):
        raise DivergedError(f"the loss became {float(loss.detach())}")
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), logits.detach()


def check_gradients(model: nn.Module) -> None:
    """Raise DivergedError where a gradient of `model` is not finite, or too large for its norm to be."""
    norms = torch._foreach_norm([p.grad for p in model.parameters() if p.grad is not None])
    if not bool(torch.stack(list(norms)).isfinite().all()):
        raise DivergedError("a gradient is not finite")
