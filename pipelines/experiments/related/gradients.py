"""What the gradients of a network are like: when they are ready, and how far those of several batches agree."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.data import PreparedData, training_batches

NUM_BATCHES = 10
BATCH_SIZE = 32


def backward(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Set the gradients of `network` to those of the mean cross-entropy of a batch, as its mode is."""
    network.zero_grad()
    functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]


def ready_position(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return when in the backward pass the gradients are ready, from 0, the first tensor, to 1, the last one.

    The mean over all values of the place in which its tensor's gradient is complete. A tensor that is used more than
    once is complete with its first use, at the end. What is ready early can be sent while the rest is computed.
    """
    ready: list[int] = []
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda one: ready.append(one.numel()))  # type: ignore[no-untyped-call]
        for parameter in parameters
    ]
    try:
        backward(network, images, labels)
    finally:
        for hook in hooks:
            hook.remove()
    last = max(1, len(ready) - 1)
    return sum(place / last * size for place, size in enumerate(ready)) / sum(ready)


def least_agreement(network: nn.Module, data: PreparedData, seed: int) -> float:
    """Return the least cosine between the gradients of any two of `NUM_BATCHES` training batches.

    Gradient confusion (Sankararaman et al. 2019, arXiv:1904.06963): the further below 0, the more do steps undo each
    other. In evaluation mode, over all values that are trained. nan never: a gradient of zero has the cosine 0.
    """
    batches = training_batches(data, min(BATCH_SIZE, len(data.train)), seed=seed, device="cpu", augment=None)
    gradients = []
    for images, labels in itertools.islice(batches, NUM_BATCHES):
        backward(network, images, labels)
        parts = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
        gradients.append(torch.cat(parts))
    cosines = [
        float(functional.cosine_similarity(one, other, 0))
        for one, other in itertools.combinations(gradients, 2)
    ]
    return min(cosines, default=1.0)
