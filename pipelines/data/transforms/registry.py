"""The registry of input transforms, and how one is applied."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.errors import UserError
from pipelines.registry import Registry

Transform = Callable[[Tensor], Tensor]
TRANSFORMS: Registry[Transform] = Registry("input transform", "prepare.transform")

COLOUR_CHANNELS = (1, 3)
IMAGES_AT_ONCE = 1024
"""Bounds the memory of a transform's intermediate values."""


def transform_images(images: Tensor, name: str | None) -> Tensor:
    """Return `images` [n, c, h, w], uint8, after the transform `name`: uint8 [n, c or more, h, w]; None: as they are.

    Raises UserError for an unknown name.
    """
    if name is None:
        return images
    transform = TRANSFORMS[name]
    changed = torch.cat([transform(chunk) for chunk in torch.split(images, IMAGES_AT_ONCE)])
    expected = (len(images), *images.shape[2:], torch.uint8)
    assert (len(changed), *changed.shape[2:], changed.dtype) == expected, f"{name} changes size or type"
    assert changed.shape[1] >= images.shape[1], f"{name} takes channels away"
    return changed


def image_channels(num_channels: int, name: str | None) -> int:
    """Return the colour channels, 1 or 3, of images that the transform `name` gives `num_channels` channels.

    Found by trying it. Raises UserError for an unknown name and where no image is turned into so many channels.
    """
    for number in COLOUR_CHANNELS:
        if transform_images(torch.zeros(1, number, 8, 8, dtype=torch.uint8), name).shape[1] == num_channels:
            return number
    raise UserError(
        f"prepare.transform: {name!r} turns no image into {num_channels} channels; allowed: the transform of the data"
    )
