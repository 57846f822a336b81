"""How much memory a training step takes, learnt from two images of the model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.models import DenseNetConfig, build_model

NATIVE_SIZES = {
    "digits": (1, 8, 10),
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
    "fashion_mnist": (1, 28, 10),
    "svhn": (3, 32, 10),
}
"""Channels, side in pixels and classes of the registered sets; a user's own are known only once they are read."""
PROBED_IMAGES = 2  # batch normalisation takes at least two
COPIES = 3  # weights, gradients, momentum


@dataclass(frozen=True)
class Footprint:
    """Bytes that a model's training takes."""

    parameter_bytes: int
    bytes_per_image: int
    """What a step keeps of one image for the backward pass."""

    def step_bytes(self, batch_size: int) -> int:
        """Return the bytes of a step: weights, gradients, momentum and what the backward pass needs."""
        return COPIES * self.parameter_bytes + self.bytes_per_image * batch_size

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of best.pt (weights), last.pt and previous.pt (weights and momentum) and of the logged model."""
        return 6 * self.parameter_bytes


def footprint(name: str, data: str, image_size: int | None, densenet: DenseNetConfig) -> Footprint | None:
    """Return what training `name` on the data set `data` takes; None where the data's shape is not known yet.

    Raises UserError where the model cannot be built for such images. The global random state is left alone.
    """
    if data not in NATIVE_SIZES:
        return None
    channels, size, classes = NATIVE_SIZES[data]
    size = image_size or size
    model = build_model(
        name, num_channels=channels, num_classes=classes, image_size=size, densenet=densenet, seed=0
    )
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    parameters: list[Any] = list(model.parameters())
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved),
    ):
        # The result keeps the graph, and with it all that was saved, alive until everything is counted.
        result = model.train()(torch.zeros(PROBED_IMAGES, channels, size, size))
        own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
        saved = sum(number for pointer, number in kept.items() if pointer not in own)
        del result
    return Footprint(sum(p.numel() * p.element_size() for p in parameters), saved // PROBED_IMAGES)
