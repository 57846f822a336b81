"""The registry of input transforms, and how one is applied."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.registry import Registry

Transform = Callable[[Tensor], Tensor]
TRANSFORMS: Registry[Transform] = Registry("input transform", "prepare.transform")

IMAGES_AT_ONCE = 1024
"""Bounds the memory of a transform's intermediate values."""


def transform_images(images: Tensor, name: str | None) -> Tensor:
    """Return `images` [n, c, h, w], uint8, after the transform `name`; None: as they are.

    Raises UserError for an unknown name.
    """
    if name is None:
        return images
    transform = TRANSFORMS[name]
    changed = torch.cat([transform(chunk) for chunk in torch.split(images, IMAGES_AT_ONCE)])
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8), f"{name} changes shape or type"
    return changed
