"""Edge enhancement by local modulus maxima of wavelet coefficients, after the abstract of arXiv:1809.00982.

The stationary Haar transform gives each pixel a horizontal and a vertical detail. Their modulus is kept where it is the
largest along the direction of the gradient (Mallat and Hwang 1992, section IV): thin edges.
"""

import numpy as np
import pywt
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.data.transforms.edges import add_edges, stack_edges
from pipelines.data.transforms.registry import TRANSFORMS

WAVELET = "haar"
# PyWavelets transforms periodic images with even sides: the border is repeated, and cut off afterwards.
_MARGIN = 2
# Offsets (row, column) of the neighbour in the directions 0, 45, 90 and 135 degrees.
_NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1))


def modulus_maxima(images: Tensor) -> Tensor:
    """Return the moduli of the maxima, zero elsewhere, float32 in the shape [n, c, h, w] of uint8 `images`."""
    height, width = images.shape[-2:]
    margins = (_MARGIN, _MARGIN + width % 2, _MARGIN, _MARGIN + height % 2)
    padded = functional.pad(images.float(), margins, mode="replicate").numpy()
    [(_, (along_columns, along_rows, _))] = pywt.swt2(padded, WAVELET, level=1, axes=(-2, -1))
    modulus = np.hypot(along_columns, along_rows)
    # In eighths of a turn; a direction and its opposite are one.
    direction = np.round(np.arctan2(along_columns, along_rows) / (np.pi / 4)).astype(int) % 4
    largest = np.zeros(modulus.shape, dtype=bool)
    for index, (row, column) in enumerate(_NEIGHBOURS):
        ahead = np.roll(modulus, (-row, -column), (-2, -1))
        behind = np.roll(modulus, (row, column), (-2, -1))
        # Of a plateau one side counts.
        largest |= (direction == index) & (modulus > behind) & (modulus >= ahead)
    maxima = np.where(largest, modulus, 0.0).astype(np.float32)
    inner = maxima[..., _MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width]
    return torch.from_numpy(np.ascontiguousarray(inner))


@TRANSFORMS.register("wavelet_maxima_added")
def wavelet_maxima_added(images: Tensor) -> Tensor:
    """Return image + maxima, clamped to 0..255."""
    return add_edges(images, modulus_maxima(images))


@TRANSFORMS.register("wavelet_maxima_stacked")
def wavelet_maxima_stacked(images: Tensor) -> Tensor:
    """Return the image and the maxima of its channels: twice the channels."""
    return stack_edges(images, modulus_maxima(images))
