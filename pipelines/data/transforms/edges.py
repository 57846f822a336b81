"""What transforms do with the edges that they have found: add them to the image, or append them as channels."""

import torch
from torch import Tensor


def to_pixels(values: Tensor) -> Tensor:
    """Return float values rounded and clamped to uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)


def add_edges(images: Tensor, edges: Tensor) -> Tensor:
    """Return images uint8 [n, c, h, w] plus `edges`, float of the same shape, clamped to 0..255."""
    return to_pixels(images.float() + edges)


def stack_edges(images: Tensor, edges: Tensor) -> Tensor:
    """Return images uint8 [n, c, h, w] and `edges`, float of the same shape, clamped to 0..255: uint8 [n, 2c, h, w]."""
    return torch.cat([images, to_pixels(edges)], 1)
