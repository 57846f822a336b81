"""Images of one data set in the shape of another, so that a network of the one can be used for the other."""

from dataclasses import replace

import torch
from torch import Tensor

from pipelines.data.config import PrepareConfig
from pipelines.data.preparation import assemble, with_images
from pipelines.data.prepared import PreparedData
from pipelines.data.roots import check_available
from pipelines.data.sources.cifar10 import CIFAR10
from pipelines.data.sources.cifar100 import CIFAR100
from pipelines.data.sources.fashion_mnist import FASHION_MNIST
from pipelines.data.sources.svhn import SVHN
from pipelines.errors import UserError

OFFICIAL = {official.name: official for official in (CIFAR10, CIFAR100, FASHION_MNIST, SVHN)}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L


def is_here(name: str, prepare: PrepareConfig) -> bool:
    """Tell whether the official set `name` is in the data root or was downloaded before; downloads nothing."""
    try:
        check_available(OFFICIAL[name], replace(prepare, name=name, path=None, download=False))
    except UserError:
        return False
    return True


def in_shape_of(data: PreparedData, name: str, prepare: PrepareConfig, num_images: int) -> PreparedData:
    """Return `num_images` images of the set `name`, validation included, with the channels and the side of `data`.

    Colours become luma, grey images three equal channels. The result is prepared as `data` would be, with statistics
    and a checksum of its own, without transform and label noise; its test part is as large as that of `data` or
    smaller. UserError where it is not here.
    """
    config = replace(
        prepare,
        name=name,
        path=None,
        download=False,
        train_limit=num_images,
        test_limit=len(data.test),
        image_size=data.image_size,
        transform=None,
        label_noise=None,
    )
    other, _ = assemble(config)
    return with_images(other, lambda images: with_channels(images, data.num_channels))


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Return uint8 images [n, 1 or 3, h, w] with 1 or 3 channels."""
    if images.shape[1] == channels:
        return images
    if channels == 1:
        weights = torch.tensor(LUMA).view(1, -1, 1, 1)
        return (images.float() * weights).sum(1, keepdim=True).round_().clamp_(0, 255).to(torch.uint8)
    return images.expand(-1, channels, -1, -1).contiguous()
