"""Edge enhancement by wavelet decomposition and limited reconstruction, after the abstract of arXiv:1809.00982.

The image is decomposed over one or two levels; what the details alone reconstruct are its edges at those scales. Names
are wavelet_<wavelet>_<levels>_<use>, such as wavelet_db2_1_stacked. <use> says what becomes of the edges:

    added: image + edges
    damped: the reconstruction with the approximation at `DAMPING` of its value
    stacked: the image, and the edges around mid-grey as further channels
"""

import warnings

import numpy as np
import pywt
import torch
from torch import Tensor

from pipelines.data.transforms.edges import add_edges, stack_edges, to_pixels
from pipelines.data.transforms.registry import TRANSFORMS

WAVELETS = {"haar": "haar", "db2": "db2", "bior": "bior2.2"}
LEVELS = (1, 2)
BOUNDARY = "symmetric"  # an image repeated periodically would have edges at its borders
DAMPING = 0.5
MID_GREY = 128.0


def limited_reconstruction(images: Tensor, wavelet: str, levels: int, damping: float) -> Tensor:
    """Return the reconstruction of uint8 [n, c, h, w] with the approximation times `damping`, float32, same shape.

    `wavelet` is a name of PyWavelets; `levels` decompositions; a `damping` of 0 leaves the details alone, 1 gives the
    image.
    """
    height, width = images.shape[-2:]
    with warnings.catch_warnings():
        # PyWavelets warns that two levels of an 8x8 image are full of its border, which is how it is.
        warnings.filterwarnings("ignore", message="Level value")
        approximation, *details = pywt.wavedec2(
            images.numpy().astype(np.float32), wavelet, mode=BOUNDARY, level=levels, axes=(-2, -1)
        )
    reconstruction = pywt.waverec2([damping * approximation, *details], wavelet, mode=BOUNDARY, axes=(-2, -1))
    # Odd sides come back with a pixel more.
    return torch.from_numpy(np.ascontiguousarray(reconstruction[..., :height, :width], dtype=np.float32))


def _register(short: str, wavelet: str, levels: int) -> None:
    prefix = f"wavelet_{short}_{levels}"

    @TRANSFORMS.register(f"{prefix}_added")
    def added(images: Tensor) -> Tensor:
        """Return image + edges, clamped to 0..255."""
        return add_edges(images, limited_reconstruction(images, wavelet, levels, 0.0))

    @TRANSFORMS.register(f"{prefix}_damped")
    def damped(images: Tensor) -> Tensor:
        """Return the reconstruction with a damped approximation, clamped to 0..255."""
        return to_pixels(limited_reconstruction(images, wavelet, levels, DAMPING))

    @TRANSFORMS.register(f"{prefix}_stacked")
    def stacked(images: Tensor) -> Tensor:
        """Return the image and its edges around mid-grey: twice the channels."""
        return stack_edges(images, limited_reconstruction(images, wavelet, levels, 0.0) + MID_GREY)


for _short, _wavelet in WAVELETS.items():
    for _levels in LEVELS:
        _register(_short, _wavelet, _levels)
