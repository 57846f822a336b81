"""Images degraded by a known parameter: 0 leaves them as they are, 1 is the worst.

A degraded image is a function of the image, the kind and the parameter, so an image is the same wherever it appears.

    jpeg: quality 110 - 100 x parameter of Pillow, so 100 at 0.1 and 10 at 1; below 0.1 none
    noise: normal noise of a standard deviation of 0.25 x parameter, of pixels in 0..1
    blur: a normal kernel of a standard deviation of 0.35 + 1.15 x parameter, in pixels; a narrower one changes nothing
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from pipelines.data.corruptions import through_jpeg, with_blur, with_noise

NOISE = 0.25
LEAST_BLUR_PIXELS = 0.35
MORE_BLUR_PIXELS = 1.15
BEST_QUALITY_AT = 0.1
LEVELS = tuple(range(0, 101, 10))
"""Parameters in percent that images are degraded by: clean, and the qualities 100 to 10."""


def _jpeg(image: Tensor, parameter: float) -> Tensor:
    return through_jpeg(image, round(110 - 100 * parameter)) if parameter >= BEST_QUALITY_AT else image


def _noise(image: Tensor, parameter: float) -> Tensor:
    generator = torch.Generator()
    generator.manual_seed(zlib.crc32(image.contiguous().numpy().tobytes()))
    return with_noise(image, NOISE * parameter, generator)


def _blur(image: Tensor, parameter: float) -> Tensor:
    return with_blur(image[None], LEAST_BLUR_PIXELS + MORE_BLUR_PIXELS * parameter)[0]


KINDS: dict[str, Callable[[Tensor, float], Tensor]] = {"jpeg": _jpeg, "noise": _noise, "blur": _blur}


def degrade(images: Tensor, kind: str, levels: Tensor) -> Tensor:
    """Return `images` uint8 [n, c, h, w], each degraded by its parameter in percent, `levels` int64 [n], 0 to 100."""
    change = KINDS[kind]
    return torch.stack(
        [
            change(image, level / 100) if level else image
            for image, level in zip(images, levels.tolist(), strict=True)
        ]
    )


def parameter_channel(images: Tensor, levels: Tensor) -> Tensor:
    """Return a constant channel a image, uint8 [n, 1, h, w]: its parameter, 255 for 1."""
    values = (255 * levels.double() / 100).round().to(torch.uint8)
    return values[:, None, None, None].expand(-1, 1, *images.shape[2:])
