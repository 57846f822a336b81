"""Shifted test images: noise, blur, contrast and compression at five severities.

Strengths are those of CIFAR-10-C (Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations", their generator for images of 32 x 32 pixels). On smaller images a blur of so many
pixels is stronger; the same images are shown to every model.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.registry import Registry
from pipelines.torchvision_compat import torchvision

SEVERITIES = (1, 2, 3, 4, 5)
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)
"""Standard deviation, of pixels in 0..1."""
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)
"""Standard deviation in pixels."""
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
"""Part of the contrast that is left."""
QUALITY = (80, 65, 58, 50, 40)
"""JPEG quality of Pillow."""

Corruption = Callable[[Tensor, int, torch.Generator], Tensor]
CORRUPTIONS: Registry[Corruption] = Registry("corruption", "study.DATA.corruptions")


def corrupt(images: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """Return `images` uint8 [n, c, h, w] as the corruption `name` leaves them, of the same type and shape.

    `severity` is 1 to 5. What is drawn at random is fixed by `seed`, `name` and `severity`. Raises UserError for an
    unknown name.
    """
    entropy = (seed, severity, *name.encode())
    generator = torch.Generator()
    generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
    return CORRUPTIONS[name](images, severity, generator)


def with_noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return uint8 `images` of any shape plus independent normal noise of `deviation`, of pixels in 0..1."""
    noise = torch.empty(images.shape).normal_(0, deviation, generator=generator)
    return _pixels(images.float() / 255 + noise)


def with_blur(images: Tensor, sigma: float) -> Tensor:
    """Return uint8 `images` [n, c, h, w] blurred by a normal kernel of `sigma` pixels.

    It is cut off at four standard deviations and at the image's size; edges are reflected.
    """
    radius = min(int(4 * sigma + 0.5), images.shape[-1] - 1)
    blurred = torchvision.transforms.functional.gaussian_blur(images.float() / 255, 2 * radius + 1, sigma)
    return _pixels(blurred)


def through_jpeg(image: Tensor, quality: int) -> Tensor:
    """Return a uint8 image [c, h, w] after JPEG at Pillow's `quality`; unless c is 3, each channel by itself."""
    if image.shape[0] not in (1, 3):
        return torch.cat([through_jpeg(channel[None], quality) for channel in image])
    gray = image.shape[0] == 1
    pixels = image[0].numpy() if gray else image.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(buffer)))
    return decoded.unsqueeze(0) if gray else decoded.permute(2, 0, 1)


@CORRUPTIONS.register("gaussian_noise")
def gaussian_noise(images: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Add independent normal noise to every pixel and channel."""
    return with_noise(images, NOISE[severity - 1], generator)


@CORRUPTIONS.register("gaussian_blur")
def gaussian_blur(images: Tensor, severity: int, _: torch.Generator) -> Tensor:
    """Blur by a normal kernel."""
    return with_blur(images, BLUR[severity - 1])


@CORRUPTIONS.register("contrast")
def contrast(images: Tensor, severity: int, _: torch.Generator) -> Tensor:
    """Move every pixel towards the mean of its image and channel."""
    scaled = images.float() / 255
    mean = scaled.mean((2, 3), keepdim=True)
    return _pixels(mean + CONTRAST[severity - 1] * (scaled - mean))


@CORRUPTIONS.register("jpeg")
def jpeg(images: Tensor, severity: int, _: torch.Generator) -> Tensor:
    """Compress as JPEG and decompress."""
    return torch.stack([through_jpeg(image, QUALITY[severity - 1]) for image in images])


def _pixels(scaled: Tensor) -> Tensor:
    return (255 * scaled).round().clamp(0, 255).to(torch.uint8)
