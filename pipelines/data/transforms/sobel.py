"""Sobel's gradient magnitude, added to the image or as further channels: the classical edges."""

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.data.transforms.edges import add_edges, stack_edges
from pipelines.data.transforms.registry import TRANSFORMS

_DERIVATIVE = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
_SCALE = 4.0  # an edge from 0 to 255 along an axis has the magnitude 4 x 255


def sobel_magnitude(images: Tensor) -> Tensor:
    """Return float32 [n, c, h, w]: a quarter of the root of both squared derivatives, the border pixels repeated."""
    planes = functional.pad(images.float().flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    kernels = torch.stack([_DERIVATIVE, _DERIVATIVE.T])[:, None]
    magnitude = functional.conv2d(planes, kernels).square().sum(1).sqrt() / _SCALE
    return magnitude.view(images.shape)


@TRANSFORMS.register("sobel_added")
def sobel_added(images: Tensor) -> Tensor:
    """Return x + magnitude, clamped to 0..255."""
    return add_edges(images, sobel_magnitude(images))


@TRANSFORMS.register("sobel_stacked")
def sobel_stacked(images: Tensor) -> Tensor:
    """Return the image and the magnitudes of its channels, clamped to 0..255: twice the channels."""
    return stack_edges(images, sobel_magnitude(images))
