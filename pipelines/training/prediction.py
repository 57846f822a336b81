"""What a network gives for a whole split, without gradients: logits of a classifier, the loss of any other one."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.data import PreparedData, Split, ordered_batches
from pipelines.training.freezing import training_mode


class Judge(Protocol):
    """The loss of a network that is no classifier on a split: what its epochs are judged by."""

    def __call__(
        self, model: nn.Module, split: Split, data: PreparedData, *, batch_size: int, device: torch.device
    ) -> float:
        """Return the mean loss over the images of `split`, the same at every call.

        `model` lies on `device`; its mode is restored.
        """
        ...


def loss_and_score(
    model: nn.Module,
    split: Split,
    data: PreparedData,
    *,
    batch_size: int,
    device: torch.device,
    judge: Judge | None = None,
) -> tuple[float, float]:
    """Return the loss of `model` on a split, and its accuracy; nan where a `judge` says that it is no classifier."""
    if judge is not None:
        return judge(model, split, data, batch_size=batch_size, device=device), float("nan")
    logits = predict_logits(model, split, data, batch_size=batch_size, device=device)
    return loss_and_accuracy(logits, split.labels)


def predict_logits(
    model: nn.Module, split: Split, data: PreparedData, *, batch_size: int, device: torch.device | None = None
) -> Tensor:
    """Return the logits float32 [n, classes], on the CPU, of all images of `split` in their order.

    `model` must lie on `device`, None: wherever it lies; it is put into evaluation mode for the pass, and back
    afterwards (`training_mode`). An autocast context of the caller applies.
    """
    batches = ordered_batches(split, data, batch_size, device or next(model.parameters()).device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return torch.cat([model(images).float() for images, _ in batches]).cpu()
    finally:
        if was_training:
            training_mode(model)


def predict_features(
    model: nn.Module, split: Split, data: PreparedData, *, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return the penultimate features float32 [n, d] of all images of `split`, and their logits as `predict_logits`.

    Features are what the last linear layer reads. ValueError for a model that has none.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no linear layer, whose input would be the features")
    read: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read.append(inputs[0].float().cpu())

    handle = linear[-1].register_forward_pre_hook(note)
    try:
        logits = predict_logits(model, split, data, batch_size=batch_size)
    finally:
        handle.remove()
    return torch.cat(read), logits


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean cross-entropy (natural logarithm) and top-1 accuracy (0..1) of logits [n, classes]."""
    loss = functional.cross_entropy(logits, labels)
    accuracy = (logits.argmax(1) == labels).double().mean()
    return float(loss), float(accuracy)
