"""Training a codec by the suite's own loop: what its steps minimise, what its epochs are judged by."""

import torch
from torch import Tensor, nn

from pipelines.codec.network import Codec, reconstruction_loss
from pipelines.data import PreparedData, Split, ordered_batches

JUDGED_SEED = 0
"""Of the masks that a codec is judged with: the same at every call."""


def objective(outputs: Tensor, labels: Tensor, images: Tensor) -> Tensor:  # noqa: ARG001 - of no use to a codec
    """Return the loss of a batch; `outputs` are those of `Codec.forward`."""
    return reconstruction_loss(outputs, images)


def judge(
    model: nn.Module, split: Split, data: PreparedData, *, batch_size: int, device: torch.device
) -> float:
    """Return the mean loss over a split, with signs in use instead of stochastic ones, masked as in training."""
    was_training = model.training
    model.eval()
    total = 0.0
    try:
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(JUDGED_SEED)
            for images, _ in ordered_batches(split, data, batch_size, device):
                total += len(images) * float(reconstruction_loss(model(images), images))
    finally:
        model.train(was_training)
    return total / len(split)


def as_codec(network: nn.Module) -> Codec:
    """Return `network`, which the caller knows to be a codec."""
    assert isinstance(network, Codec)
    return network
