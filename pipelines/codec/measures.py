"""What a coded image is worth: PSNR, MS-SSIM, how even its quality is, and what it costs in bits a pixel."""

import io
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from pipelines.codec.coding import Pixels
from pipelines.codec.masks import PEAK
from pipelines.codec.network import STRIDE

LEAST_SIDE = 161
"""Pixels that five scales of a window of 11 need: (11 - 1) * 2**4 of the side and one more (Wang et al. 2003)."""


def squared_error(first: Pixels, second: Pixels) -> float:
    """Return the mean squared difference of two images uint8 of one shape."""
    return float(np.square(first.astype(np.float64) - second).mean())


def psnr(error: float) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean squared error in grey levels of 0..255; inf for none."""
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def ms_ssim(first: Pixels, second: Pixels) -> float | None:
    """Return the multi-scale structural similarity of two images [c, h, w]; None for ones too small for five scales.

    Wang, Simoncelli and Bovik 2003, as `pytorch-msssim` computes it.
    """
    if min(first.shape[1:]) < LEAST_SIDE:
        return None
    # Late: nothing but this measure needs it.
    from pytorch_msssim import ms_ssim as measure

    images = (torch.tensor(one).unsqueeze(0).float() for one in (first, second))
    return float(measure(*images, data_range=PEAK))


def block_deviation(first: Pixels, second: Pixels) -> float:
    """Return the standard deviation over whole blocks of STRIDE x STRIDE pixels of their PSNR in dB.

    A block without an error counts as one with an error of one grey level in one pixel. 0 for images smaller than a
    block.
    """
    rows, columns = (side // STRIDE for side in first.shape[1:])
    if rows * columns == 0:
        return 0.0
    differences = np.square(first.astype(np.float64) - second)[:, : rows * STRIDE, : columns * STRIDE]
    blocks = differences.reshape(-1, rows, STRIDE, columns, STRIDE).mean(axis=(0, 2, 4))
    least = 1 / (len(first) * STRIDE**2)
    return float(np.std(10 * np.log10(np.maximum(blocks, least))))


def jpeg(pixels: Pixels, quality: int) -> tuple[bytes, Pixels]:
    """Return the image [c, h, w] as a JPEG file by Pillow, its tables optimised, and what it is decoded to."""
    file = io.BytesIO()
    as_picture(pixels).save(file, "JPEG", quality=quality, optimize=True)
    decoded = np.asarray(Image.open(file))
    return file.getvalue(), decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)


def as_picture(pixels: Pixels) -> Image.Image:
    """Return uint8 [c, h, w] of one or three channels as Pillow's image."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def rate_at(rates: Sequence[float], qualities: Sequence[float], wanted: float) -> float | None:
    """Return the least rate with at least the quality `wanted`, by straight lines between the points of a curve.

    None where no point has the quality. A curve whose least rate has more needs that rate.
    """
    order = np.argsort(rates, kind="stable")
    points = [(rates[index], qualities[index]) for index in order]
    if points[0][1] >= wanted:
        return float(points[0][0])
    for (rate, quality), (next_rate, next_quality) in itertools.pairwise(points):
        if quality < wanted <= next_quality:
            share = (wanted - quality) / (next_quality - quality)
            return float(rate + share * (next_rate - rate))
    return None
