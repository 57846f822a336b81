"""Unsharp masking: what a blur takes away is added once more, so that edges stand out."""

import torch
from torch import Tensor

from pipelines.data.transforms.registry import TRANSFORMS
from pipelines.torchvision_compat import torchvision

KERNEL_PIXELS = 5
SIGMA_PIXELS = 1.0
AMOUNT = 1.0


@TRANSFORMS.register("unsharp_mask")
def unsharp_mask(images: Tensor) -> Tensor:
    """Return x + AMOUNT (x - blur(x)), clamped to 0..255, for uint8 [n, c, h, w]; the shape stays."""
    pixels = images.float()
    blurred = torchvision.transforms.functional.gaussian_blur(pixels, KERNEL_PIXELS, SIGMA_PIXELS)
    sharpened: Tensor = pixels + AMOUNT * (pixels - blurred)
    return sharpened.round().clamp(0, 255).to(torch.uint8)
